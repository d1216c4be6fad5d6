//! What is written down of one decision.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::clock::Timestamp;
use crate::credentials::AccessKeyId;

/// Bytes of a text: as much as tells one from another. Paths and role ARNs are within it.
const LONGEST: usize = 1024;

/// Bytes of what a caller says of itself. The SDKs' longest tell about 200.
const LONGEST_USER_AGENT: usize = 256;

/// Bytes of a name that may be none: an identity's has no more.
const LONGEST_NAME: usize = 64;

/// One decision on one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    pub decision: Decision<'a>,
    /// As the policy names it: `allow[2]`, `owner`, `token default`. Of a denial, the one that was
    /// nearest.
    pub rule: Option<Cow<'a, str>>,
    /// One that credd keeps.
    pub identity: Option<Cow<'a, str>>,
    /// What the request called it, whether there is such a one or not.
    pub asked: Option<Cow<'a, str>>,
    /// The ARN of the role whose session is handed out.
    pub role: Option<Cow<'a, str>>,
    pub access_key: Option<KeyTail>,
    /// When what is handed out ends.
    pub expiry: Option<Timestamp>,
    pub caller: Caller<'a>,
    /// `unix`, `http`, `imds`, or the name of a socket.
    pub listener: Cow<'a, str>,
    pub user_agent: Option<Cow<'a, str>>,
    pub request: RequestId,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<'a> {
    Granted,
    /// And why.
    Denied(Cow<'a, str>),
}

/// Who asked, as far as the kernel or a token proves it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller<'a> {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub pid: Option<i32>,
    pub executable: Option<Cow<'a, str>>,
    pub unit: Option<Cow<'a, str>>,
    pub container: Option<Cow<'a, str>>,
    /// The name of the token that was shown.
    pub token: Option<Cow<'a, str>>,
}

/// The last four of an access key id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyTail([u8; 4]);

impl KeyTail {
    /// Nothing of an id so short that this would be all of it.
    pub fn of(id: &AccessKeyId) -> Option<Self> {
        id.last_four().as_bytes().try_into().ok().map(Self)
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// One request among all that this process and others before it have answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId {
    pub(super) process: u32,
    pub(super) number: u64,
}

/// `3f9ac21b-000000002a`: of one process, later ones sort after earlier ones.
impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { process, number } = self;
        write!(formatter, "{process:08x}-{number:010x}")
    }
}

impl Event<'_> {
    /// Whether `other` is the same decision for the same caller. What a caller may vary at will
    /// does not count: it could drown its own deeds in lines.
    pub(super) fn is_like(&self, other: &Event<'_>) -> bool {
        self.decision == other.decision
            && self.rule == other.rule
            && self.identity == other.identity
            && self.role == other.role
            && self.access_key == other.access_key
            && self.expiry == other.expiry
            && self.is_by_the_caller_of(other)
            && self.listener == other.listener
    }

    /// Whoever is denied can come as a new process each time, and would fill the log with that.
    fn is_by_the_caller_of(&self, other: &Event<'_>) -> bool {
        let (own, other) = (&self.caller, &other.caller);
        match self.decision {
            Decision::Granted => own == other,
            Decision::Denied(_) => {
                (own.uid, own.gid, &own.token) == (other.uid, other.gid, &other.token)
            }
        }
    }

    /// The same for any two that are alike, and seldom for others.
    pub(super) fn likeness(&self) -> u64 {
        // No caller gains by making two of them equal: each then has a line of its own.
        let mut hasher = DefaultHasher::new();
        let Caller {
            uid, pid, token, ..
        } = &self.caller;
        // What tells callers and sets apart; each more would cost every repeat.
        (uid, self.access_key, &self.identity, token).hash(&mut hasher);
        match &self.decision {
            Decision::Granted => pid.hash(&mut hasher),
            Decision::Denied(why) => why.hash(&mut hasher),
        }
        hasher.finish()
    }

    /// What is kept of it.
    pub(super) fn retained(&self) -> Event<'static> {
        let caller = &self.caller;
        Event {
            decision: match &self.decision {
                Decision::Granted => Decision::Granted,
                Decision::Denied(why) => Decision::Denied(kept(why, LONGEST)),
            },
            rule: text(self.rule.as_deref()),
            identity: text(self.identity.as_deref()),
            asked: self.asked.as_deref().map(|it| kept(it, LONGEST_NAME)),
            role: text(self.role.as_deref()),
            access_key: self.access_key,
            expiry: self.expiry,
            caller: Caller {
                uid: caller.uid,
                gid: caller.gid,
                pid: caller.pid,
                executable: text(caller.executable.as_deref()),
                unit: text(caller.unit.as_deref()),
                container: text(caller.container.as_deref()),
                token: text(caller.token.as_deref()),
            },
            listener: kept(&self.listener, LONGEST),
            user_agent: self
                .user_agent
                .as_deref()
                .map(|it| kept(it, LONGEST_USER_AGENT)),
            request: self.request,
        }
    }
}

fn text(text: Option<&str>) -> Option<Cow<'static, str>> {
    text.map(|it| kept(it, LONGEST))
}

fn kept(text: &str, longest: usize) -> Cow<'static, str> {
    let end = text.floor_char_boundary(longest);
    Cow::Owned(text.get(..end).unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_cut_between_letters() {
        assert_eq!(kept("short", 64), "short");
        assert_eq!(kept(&"é".repeat(100), 63).len(), 62);
        assert_eq!(kept("", 0), "");
    }

    #[test]
    fn of_an_access_key_id_four_letters_are_kept_at_most() {
        let tail = |id: &str| KeyTail::of(&AccessKeyId::from(id.to_owned()));
        assert_eq!(tail("ASIAIOSFODNN7EXAMPLE").unwrap().as_str(), "MPLE");
        for id in ["", "MPLE", "XAMPLE", "ASIAIOSFODNN7EXAMPLÉ"] {
            assert_eq!(tail(id), None, "{id}");
        }
    }

    #[test]
    fn request_ids_of_a_process_sort_as_they_were_given() {
        let id = |number| RequestId { process: 7, number }.to_string();
        assert_eq!(id(42), "00000007-000000002a");
        assert!(id(9) < id(10) && id(0xffff_ffff) < id(0x1_0000_0000));
    }
}
