//! The memory that the service manager keeps, and what is in it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use zeroize::Zeroizing;

use super::Contents;
use super::format::{Malformed, decode, encode};
use super::slots::{Region, Slots, Unreadable};
use crate::os::host;
use crate::os::lasting_memory::{Foreign, LastingMemory, SIZE};
use crate::os::secret_memory::Kind;

/// The version of the form. Another one's contents are not read: raise it when a meaning changes.
/// What is only added needs no other version: what is not known is passed over.
const VERSION: u32 = 1;

/// The memory, for as long as this process writes to it.
#[derive(Debug)]
pub struct Store {
    slots: Slots<LastingMemory>,
    kind: Kind,
    /// Whether it has been said that not everything fits.
    is_full: bool,
}

/// Why a descriptor that the service manager has kept is of no use.
#[derive(Debug)]
pub enum Discarded {
    Foreign(Foreign),
    Unreadable(Unreadable),
    Malformed(Malformed),
    /// Written before the host was started again.
    AnotherBoot,
}

impl fmt::Display for Discarded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(why) => why.fmt(formatter),
            Self::Unreadable(why) => why.fmt(formatter),
            Self::Malformed(why) => why.fmt(formatter),
            Self::AnotherBoot => formatter.write_str("it is from before the host was started"),
        }
    }
}

impl std::error::Error for Discarded {}

impl Store {
    /// A new one, and the descriptor to keep.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let (memory, descriptor) = LastingMemory::new()?;
        let kind = memory.kind();
        let (slots, _) = Slots::open(memory, VERSION).map_err(io::Error::other)?;
        let store = Self {
            slots,
            kind,
            is_full: false,
        };
        Ok((store, descriptor))
    }

    /// The one that an earlier process has made, and what is in it; nothing if that process ended
    /// before it wrote anything.
    pub fn open(descriptor: &impl AsFd) -> Result<(Self, Option<Contents>), Discarded> {
        let memory = LastingMemory::adopt(descriptor).map_err(Discarded::Foreign)?;
        let kind = memory.kind();
        let (slots, payload) = Slots::open(memory, VERSION).map_err(Discarded::Unreadable)?;
        let contents = match payload {
            Some(payload) => Some(decode(&payload).map_err(Discarded::Malformed)?),
            None => None,
        };
        let boot = contents.as_ref().and_then(|it| it.boot.clone());
        if boot
            .zip(host::boot_id())
            .is_some_and(|(then, now)| then != now)
        {
            return Err(Discarded::AnotherBoot);
        }
        let store = Self {
            slots,
            kind,
            is_full: false,
        };
        Ok((store, contents))
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Writes `contents` in the place of what was there, or as much of it as there is room for: MFA
    /// sessions, which cost a person something, before sets.
    pub fn save(&mut self, mut contents: Contents) {
        let (sets, sessions) = (contents.sets.len(), contents.sessions.len());
        loop {
            if self.slots.put(&encode(&contents)) {
                break;
            }
            let (many, few) = (contents.sets.len(), contents.sessions.len());
            contents.sets.truncate(many * 3 / 4);
            if many == 0 {
                contents.sessions.truncate(few * 3 / 4);
            }
            if many == 0 && few == 0 {
                break;
            }
        }
        let left = (sets - contents.sets.len()) + (sessions - contents.sessions.len());
        if left > 0 && !self.is_full {
            tracing::warn!(
                left,
                bytes = self.slots.capacity(),
                "there is no room to keep all sets of credentials for the next start; those left \
                 are obtained anew then"
            );
        }
        self.is_full = left > 0;
    }
}

impl Region for LastingMemory {
    fn size(&self) -> usize {
        SIZE
    }

    fn read(&self, at: usize, length: usize) -> Zeroizing<Vec<u8>> {
        Self::read(self, at, length)
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        Self::write(self, at, bytes);
    }

    fn wipe(&mut self, at: usize, length: usize) {
        Self::wipe(self, at, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::credentials::{AccessKeyId, Credentials, Principal, Renewal};
    use crate::random::Draw;
    use crate::secret::Secret;
    use crate::state::{KeptSession, KeptSet, Keys, Marker};
    use std::sync::Arc;

    /// Contents with as many sets, each with a token of a KiB, and one session.
    fn contents(sets: usize) -> Contents {
        let mark = Marker::new(&[1; 32]).mark(&"thing");
        let instant = Timestamp::from_unix_millis(1_800_000_000_000);
        let credentials = Arc::new(Credentials {
            access_key_id: AccessKeyId::from("ASIAEXAMPLE".to_owned()),
            secret_access_key: Secret::from("secret".to_owned()),
            session_token: Some(Secret::from("t".repeat(1024))),
            expiry: Some(instant),
            account_id: None,
            role_arn: None,
            principal: Principal::Unknown,
        });
        let set = KeptSet {
            identity: Some(mark),
            definition: mark,
            credentials: Arc::clone(&credentials),
            at_the_latest: None,
            source: "role billing".to_owned(),
            renewal: Renewal::Mint,
            issued: None,
            obtained: instant,
            draw: Draw::new(0.5),
            due: None,
        };
        Contents {
            sets: vec![set; sets],
            sessions: vec![KeptSession {
                owner: mark,
                credentials,
                issued: instant,
                ends: instant,
                users: Vec::new(),
            }],
            ..Contents::of(Keys::random())
        }
    }

    #[test]
    fn what_is_saved_is_there_for_whoever_opens_it_later() {
        let (mut store, descriptor) = Store::new().unwrap();
        assert!(Store::open(&descriptor).unwrap().1.is_none());
        for sets in [3, 1, 0, 1000] {
            store.save(contents(sets));
            let (_, kept) = Store::open(&descriptor).unwrap();
            let kept = kept.unwrap();
            assert_eq!((kept.sets.len(), kept.sessions.len()), (sets, 1));
        }
    }

    #[test]
    fn where_there_is_no_room_for_all_sessions_go_before_sets() {
        let (mut store, descriptor) = Store::new().unwrap();
        store.save(contents(3000));
        assert!(store.is_full);
        let (_, kept) = Store::open(&descriptor).unwrap();
        let kept = kept.unwrap();
        assert_eq!(kept.sessions.len(), 1);
        assert!(
            (1000..3000).contains(&kept.sets.len()),
            "{}",
            kept.sets.len()
        );
        store.save(contents(1));
        assert!(!store.is_full);
    }

    #[test]
    fn what_was_written_before_the_host_was_started_is_dropped() {
        let (mut store, descriptor) = Store::new().unwrap();
        let boot = |boot: Option<String>| Contents {
            boot,
            ..contents(1)
        };
        // A sandbox may hide it.
        for same in [host::boot_id(), None] {
            store.save(boot(same));
            assert!(Store::open(&descriptor).is_ok());
        }
        if host::boot_id().is_some() {
            store.save(boot(Some("another".to_owned())));
            let outcome = Store::open(&descriptor);
            assert!(matches!(outcome, Err(Discarded::AnotherBoot)));
        }
    }
}
