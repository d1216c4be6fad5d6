//! Credentials and the ways of not getting any.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::secret::Secret;

/// A set of AWS credentials.
#[derive(Debug)]
pub struct Credentials {
    pub access_key_id: AccessKeyId,
    pub secret_access_key: Secret,
    /// Absent only in long-lived keys.
    pub session_token: Option<Secret>,
    /// When AWS stops honouring the set, where the source says so.
    pub expiry: Option<Timestamp>,
    pub account_id: Option<String>,
    pub role_arn: Option<String>,
    pub principal: Principal,
}

/// Who credentials act as, as far as it matters to what STS does with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Principal {
    /// A user's keys, or a session that `GetSessionToken` made of them.
    User,
    /// A role's session: a role assumed with it lives for an hour at most ("role chaining", STS
    /// API reference).
    Role,
    #[default]
    Unknown,
}

impl Principal {
    /// All that keys tell by themselves: a user has long-lived ones.
    pub fn of_keys(is_long_lived: bool) -> Self {
        if is_long_lived {
            Self::User
        } else {
            Self::Unknown
        }
    }
}

impl Credentials {
    /// The same credentials once more, for a session that several identities share. Each copy is
    /// wiped by itself.
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = |secret: &Secret| Secret::from(secret.expose().to_owned());
        Self {
            access_key_id: self.access_key_id.clone(),
            secret_access_key: copy(&self.secret_access_key),
            session_token: self.session_token.as_ref().map(copy),
            expiry: self.expiry,
            account_id: self.account_id.clone(),
            role_arn: self.role_arn.clone(),
            principal: self.principal,
        }
    }

    /// Keys that no expiry ends: AWS gives every temporary set a session token.
    pub fn is_long_lived(&self) -> bool {
        self.session_token.is_none()
    }
}

/// An access key id. Not secret, but enough to look for its owner: it prints as its last four.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AccessKeyId(String);

impl AccessKeyId {
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn last_four(&self) -> &str {
        let cut = self
            .0
            .char_indices()
            .rev()
            .nth(3)
            .map_or(0, |(index, _)| index);
        // A name this short would be printed whole.
        if cut < 4 {
            ""
        } else {
            self.0.get(cut..).unwrap_or("")
        }
    }
}

impl From<String> for AccessKeyId {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Display for AccessKeyId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "…{}", self.last_four())
    }
}

impl std::fmt::Debug for AccessKeyId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, formatter)
    }
}

/// What a provider obtained.
#[derive(Debug)]
pub struct Provided {
    pub credentials: Credentials,
    pub renewal: Renewal,
    /// When the set's life began, where the source says so.
    pub issued: Option<Timestamp>,
    /// Where it came from, for people: `environment`, `profile ops`, `instance metadata`.
    pub source: Cow<'static, str>,
}

/// How a source comes by its next set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Asking makes a new set, with a new life.
    Mint,
    /// Asking reads this host's own files or variables, at no cost to anyone, and a person may
    /// change them at any moment.
    Reread,
    /// Asking shows the current set; a new one appears when the source sees fit.
    Watch,
    /// Like `Watch`, and AWS keeps honouring a set past its expiry while the source cannot renew
    /// it: IMDS static stability.
    WatchStable,
    /// Asking takes a person, who is asked this long before the end, and once more.
    Ask(Warnings),
}

/// How long before the end of a session the person who can renew it is asked for that: once, and
/// once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Warnings {
    pub first: Duration,
    /// Shorter than the first.
    pub last: Duration,
}

impl Warnings {
    /// The same for a session that lives for `life`: one too short for them has the first in its
    /// last quarter, so that nobody is asked again as soon as they have answered, and the last
    /// halfway from there.
    #[must_use]
    pub fn of_life(self, life: Duration) -> Self {
        let first = self.first.min(life / 4);
        Self {
            first,
            last: self.last.min(first / 2),
        }
    }
}

impl Default for Warnings {
    fn default() -> Self {
        Self {
            first: Duration::from_hours(1),
            last: Duration::from_mins(10),
        }
    }
}

/// Why there is no (new) set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub class: FailureClass,
    /// For clients: the `code` of the error body.
    pub code: &'static str,
    /// For clients: what to do. Never holds anything that an upstream said.
    pub advice: Cow<'static, str>,
    /// For the log and for operators: what was attempted, on what, and what came of it.
    pub message: String,
    /// The upstream's own word on when to come back.
    pub retry_after: Option<Duration>,
    /// What a person is asked, where only that helps: the serial of an MFA device.
    pub challenge: Option<Arc<str>>,
}

/// What a failure calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// Try again soon.
    Transient,
    /// Try again more slowly.
    Throttled,
    /// AWS says no; only a change there will better it.
    Denied,
    /// The configuration of this host says something that cannot work.
    Misconfigured,
    /// Only a person can go on: an MFA code, a login page.
    NeedsPerson,
}

impl FailureClass {
    /// Its name in logs and in `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::Misconfigured => "misconfigured",
            Self::NeedsPerson => "needs-person",
        }
    }

    /// Whether asking again, and nothing else, may help.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Transient | Self::Throttled)
    }
}

/// `code` of answers that a client may retry: old Go SDKs retry on this word alone.
pub const CODE_RETRY: &str = "RequestTimeout";

/// `code` of answers that wait for an MFA code.
pub const CODE_MFA: &str = "MfaRequired";

impl Failure {
    pub fn transient(message: impl Into<String>) -> Self {
        let advice = "credentials are not available yet; credd keeps trying, so ask again";
        Self::new(FailureClass::Transient, CODE_RETRY, advice, message.into())
    }

    pub fn throttled(message: impl Into<String>, retry_after: Option<Duration>) -> Self {
        let advice = "AWS asked credd to slow down; credd keeps trying, so ask again later";
        Self {
            retry_after,
            ..Self::new(FailureClass::Throttled, CODE_RETRY, advice, message.into())
        }
    }

    pub fn denied(message: impl Into<String>) -> Self {
        let advice = "the upstream refused to give credentials; an operator sees why in \
                      `credd status`";
        Self::new(FailureClass::Denied, "AccessDenied", advice, message.into())
    }

    pub fn misconfigured(message: impl Into<String>) -> Self {
        let advice = "credd's configuration cannot work; an operator sees why in `credd status`";
        Self::new(
            FailureClass::Misconfigured,
            "ConfigurationError",
            advice,
            message.into(),
        )
    }

    /// Long-lived keys are what others are derived from, and nothing to hand out.
    pub fn long_lived(source: &str) -> Self {
        let advice = "this identity has long-lived keys, which feed others and are never handed \
                      out; ask for an identity that is derived from it";
        let message = format!(
            "{source} holds long-lived keys (no session token), which never leave credd; ask for \
             an identity that is derived from it"
        );
        Self::new(
            FailureClass::Misconfigured,
            "LongLivedCredentials",
            advice,
            message,
        )
    }

    /// A session takes an MFA code that only a person has.
    pub fn mfa_required(identity: &str, serial: &str) -> Self {
        let advice = format!("an MFA code is needed: run `credd mfa {identity}` on this host");
        let message = format!(
            "a code of MFA device {serial} is needed; run `credd mfa {identity}` and type it in"
        );
        Self {
            advice: advice.into(),
            challenge: Some(serial.into()),
            ..Self::new(FailureClass::NeedsPerson, CODE_MFA, "", message)
        }
    }

    fn new(class: FailureClass, code: &'static str, advice: &'static str, message: String) -> Self {
        Self {
            class,
            code,
            advice: advice.into(),
            message,
            retry_after: None,
            challenge: None,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// An error with its causes, for a message.
pub fn described(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_key_id_prints_as_its_last_four() {
        let printed = |text: &str| format!("{:?}", AccessKeyId::from(text.to_owned()));
        assert_eq!(printed("ASIAIOSFODNN7EXAMPLE"), "…MPLE");
        assert_eq!(printed("short"), "…");
        assert_eq!(printed(""), "…");
        assert_eq!(printed("ééééééééé"), "…éééé");
    }

    #[test]
    fn a_short_session_is_warned_of_in_its_last_quarter() {
        let minutes = |warnings: Warnings| (warnings.first.as_secs(), warnings.last.as_secs());
        let of_life = |hours| minutes(Warnings::default().of_life(Duration::from_hours(hours)));
        assert_eq!(of_life(12), (3600, 600));
        assert_eq!(of_life(4), (3600, 600));
        assert_eq!(of_life(1), (900, 450));
        assert_eq!(of_life(0), (0, 0));
    }

    #[test]
    fn printed_credentials_hold_no_secret() {
        let credentials = Credentials {
            access_key_id: AccessKeyId::from("ASIAIOSFODNN7EXAMPLE".to_owned()),
            secret_access_key: Secret::from("CANARY".to_owned()),
            session_token: Some(Secret::from("CANARY".to_owned())),
            expiry: None,
            account_id: None,
            role_arn: None,
            principal: Principal::Unknown,
        };
        let printed = format!("{credentials:?}");
        assert!(
            !printed.contains("CANARY") && !printed.contains("ASIA"),
            "{printed}"
        );
    }
}
