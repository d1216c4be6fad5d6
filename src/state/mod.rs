//! What a daemon knows that the next one should: sessions and sets of credentials, in memory that
//! the service manager keeps while no daemon runs. Never long-lived keys, and nothing on a disk.

mod format;
mod marks;
mod slots;
mod store;

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::clock::{BootInstant, Timestamp};
use crate::credentials::{Credentials, Renewal};
use crate::random::{self, Draw};

pub use format::{Malformed, decode, encode};
pub use marks::{Mark, Marker};
pub use slots::{Region, Slots, Unreadable};
pub use store::{Discarded, Store};

/// What the service manager calls the descriptor.
pub const NAME: &str = "credd-state";

/// All of it.
#[derive(Debug)]
pub struct Contents {
    /// The host's start in which it was written, where that is known: instants since then mean
    /// nothing in another.
    pub boot: Option<String>,
    pub keys: Keys,
    /// AWS's time when the host started, in ms since the Unix epoch, where it has been learnt and is
    /// not this host's: so a clock that is set in between makes no difference.
    pub upstream_at_boot: Option<i64>,
    pub sets: Vec<KeptSet>,
    pub sessions: Vec<KeptSession>,
}

impl Contents {
    /// Those of a first start.
    pub fn of(keys: Keys) -> Self {
        Self {
            boot: None,
            keys,
            upstream_at_boot: None,
            sets: Vec::new(),
            sessions: Vec::new(),
        }
    }
}

/// Bytes of a key.
pub const KEY: usize = 32;

/// Made of chance once, and kept as long as what they are for.
#[derive(Clone)]
pub struct Keys {
    /// Of all marks.
    pub marks: Zeroizing<[u8; KEY]>,
    /// Seals the session tokens of the IMDS endpoint.
    pub imds: Zeroizing<[u8; KEY]>,
}

impl Keys {
    pub fn random() -> Self {
        Self {
            marks: Zeroizing::new(random::bytes()),
            imds: Zeroizing::new(random::bytes()),
        }
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Keys")
    }
}

/// A set of temporary credentials that an identity holds.
#[derive(Debug, Clone)]
pub struct KeptSet {
    /// Of its name; absent for a hop that nobody named.
    pub identity: Option<Mark>,
    /// Of all that decided which set this is.
    pub definition: Mark,
    /// Never long-lived.
    pub credentials: Arc<Credentials>,
    /// When the set ends at the latest, where its source does not say when it ends.
    pub at_the_latest: Option<Timestamp>,
    pub source: String,
    pub renewal: Renewal,
    pub issued: Option<Timestamp>,
    pub obtained: Timestamp,
    pub draw: Draw,
    /// When the next was to be asked for.
    pub due: Option<BootInstant>,
}

impl KeptSet {
    /// When AWS stops honouring it, as far as anyone knows; the instant it was obtained for one of
    /// which nothing is known.
    pub fn ends(&self) -> Timestamp {
        let expiry = self.credentials.expiry.or(self.at_the_latest);
        expiry.unwrap_or(self.obtained)
    }

    /// Whether it is of use at `now`: AWS goes on honouring those of instance metadata.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        now < self.ends() || self.renewal == Renewal::WatchStable
    }
}

/// A session that was made with an MFA code.
#[derive(Debug, Clone)]
pub struct KeptSession {
    /// Of the keys and the device that it is a session of.
    pub owner: Mark,
    /// Never long-lived.
    pub credentials: Arc<Credentials>,
    pub issued: Timestamp,
    pub ends: Timestamp,
    /// Of the names of the identities that use it; hops without one have those of the log.
    pub users: Vec<Mark>,
}
