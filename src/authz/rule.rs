//! Rules: who may have what.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::caller::{Caller, Facts, ListenerName, Process, Transport};
use super::tokens::{Bearer, Presented};
use crate::identity::IdentityName;

/// A rule's name in the log: `allow[2]` for the second of the config, `owner`, `token default`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleName(Arc<str>);

impl RuleName {
    /// The rule of the config that stands there, counted from one.
    pub fn of_config(position: usize) -> Self {
        Self(format!("allow[{position}]").into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for RuleName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The name of a token, and of its directory: as an identity's.
pub type TokenName = IdentityName;

/// Who may have what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub name: RuleName,
    pub caller: Conditions,
    pub opens: Opens,
}

/// What must be true of a caller: all of it. Numbers, not names, are compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    pub user: Option<u32>,
    /// The primary group or a supplementary one.
    pub group: Option<u32>,
    pub unit: Option<Arc<str>>,
    pub executable: Option<PathBuf>,
    pub container: Option<Arc<str>>,
    pub token: Option<TokenName>,
    /// Any but those of `[serve.unix.NAME]` if absent.
    pub listener: Option<ListenerName>,
    /// Whether a caller on TCP may come without a token.
    pub tcp_without_token: bool,
}

/// One of the conditions, by the key that the config has for it.
pub type Key = &'static str;

/// Whether a caller who presents that meets one condition, or there is no such condition.
type Check = fn(&Conditions, &Caller, &Presented) -> bool;

/// All of them, those first that most callers fail.
const CHECKS: [(Key, Check); 8] = [
    ("listener", |wanted, caller, _| match &wanted.listener {
        Some(listener) => *listener == caller.listener,
        None => !caller.listener.is_own(),
    }),
    ("user", |wanted, caller, _| {
        let user = caller.user.as_ref();
        let is_it = |uid| user.is_some_and(|user| user.uid == uid);
        wanted.user.is_none_or(is_it)
    }),
    ("group", |wanted, caller, _| {
        let user = caller.user.as_ref();
        let is_in = |group| user.is_some_and(|user| user.is_in(group));
        wanted.group.is_none_or(is_in)
    }),
    ("token", |wanted, _, presented| {
        let token = match presented {
            Presented::Bearer(Bearer::Token(name)) => Some(name),
            _ => None,
        };
        wanted.token.is_none() || wanted.token.as_ref() == token
    }),
    ("tcp", |wanted, caller, _| {
        caller.transport == Transport::Unix || wanted.token.is_some() || wanted.tcp_without_token
    }),
    ("unit", |wanted, caller, _| {
        let process = caller.process.as_ref();
        wanted.unit.is_none() || process.is_some_and(|process| process.unit == wanted.unit)
    }),
    ("container", |wanted, caller, _| {
        let process = caller.process.as_ref();
        let is_it = |process: &Process| process.container == wanted.container;
        wanted.container.is_none() || process.is_some_and(is_it)
    }),
    ("executable", |wanted, caller, _| {
        let process = caller.process.as_ref();
        let is_it = |process: &Process| process.executable == wanted.executable;
        wanted.executable.is_none() || process.is_some_and(is_it)
    }),
];

impl Conditions {
    pub(super) fn are_met(&self, caller: &Caller, presented: &Presented) -> bool {
        let mut checks = CHECKS.iter();
        checks.all(|(_, is_met)| is_met(self, caller, presented))
    }

    /// The keys of those that are not met.
    pub(super) fn unmet(&self, caller: &Caller, presented: &Presented) -> Vec<Key> {
        let unmet = CHECKS.iter();
        let unmet = unmet.filter(|(_, is_met)| !is_met(self, caller, presented));
        unmet.map(|(key, _)| *key).collect()
    }

    /// What must be found out about callers, so that these can be judged.
    pub fn facts(&self) -> Facts {
        Facts {
            tcp_user: self.user.is_some() && (self.token.is_some() || self.tcp_without_token),
            executable: self.executable.is_some(),
            cgroup: self.unit.is_some() || self.container.is_some(),
        }
    }
}

/// The identities that a rule opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opens {
    All,
    Only(Vec<Opening>),
}

/// One identity that is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The name that callers ask for.
    pub identity: IdentityName,
    /// The one that they get: the same, or one that is narrowed for them.
    pub served: IdentityName,
}

impl Opening {
    /// The identity as it is.
    pub fn of(identity: IdentityName) -> Self {
        Self {
            served: identity.clone(),
            identity,
        }
    }
}
