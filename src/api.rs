//! What credd's own commands and the daemon say to each other.

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// `GET` on the public sockets: the caller's only or default identity.
pub const CREDENTIALS: &str = "/v1/credentials";

/// `GET` on the public Unix socket: [`EndpointReport`]. With `/` and an identity after it, the
/// token is one for that.
pub const ENDPOINT: &str = "/v1/endpoint";

/// `POST` on the public Unix socket: [`LeaseRequest`] for one line of [`LeaseReport`], after which
/// the answer stays open, and the token valid, until either side closes.
pub const LEASE: &str = "/v1/lease";

/// `GET` on the admin socket: [`StatusReport`].
pub const STATUS: &str = "/v1/status";

/// `POST` on the admin socket: [`WhichIdentity`], for a [`StatusReport`] of those meant once each
/// has made an attempt.
pub const REFRESH: &str = "/v1/refresh";

/// `POST` on the admin socket: [`WhichIdentity`], for a [`StatusReport`] of those meant.
pub const FORGET: &str = "/v1/forget";

/// `POST` on the admin socket: [`WhichIdentity`], for an [`ExplainReport`] on those meant.
pub const EXPLAIN: &str = "/v1/explain";

/// `GET` on the admin socket, and on those of `[serve.metrics]`: what a monitoring system counts, as
/// Prometheus reads it.
pub const METRICS: &str = "/metrics";

/// `GET` there: whether credd is at work.
pub const LIVE: &str = "/livez";

/// `GET` there: whether every identity is ready. With `/` and an identity after it, whether that is.
pub const READY: &str = "/readyz";

/// `GET` on the admin socket: [`LogReport`]. `POST`: [`LogOrder`], for the same afterwards.
pub const LOG: &str = "/v1/log";

/// `GET` on the admin socket: [`ChallengesReport`].
pub const CHALLENGES: &str = "/v1/challenges";

/// `POST` on the admin socket: [`MfaAnswer`], for an [`AnswerReport`] once the code was tried,
/// which takes 35 s at the longest.
pub const MFA: &str = "/v1/mfa";

/// `GET` on the admin socket: [`TokensReport`].
pub const TOKENS: &str = "/v1/tokens";

/// `POST` on the admin socket: [`WhichToken`], for a [`TokensReport`] of the one that replaces it.
/// The one before is honoured for the overlap of its settings.
pub const ROTATE_TOKEN: &str = "/v1/tokens/rotate";

/// The same, but those before are refused from then on.
pub const REVOKE_TOKEN: &str = "/v1/tokens/revoke";

/// Names an identity, or means all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WhichIdentity {
    pub identity: Option<String>,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LogReport {
    /// In force: a level, or levels by target.
    pub filter: String,
    /// That of the start.
    pub initial: String,
}

/// Says what to log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LogOrder {
    /// That of the start if absent.
    pub filter: Option<String>,
}

/// Names a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WhichToken {
    pub token: String,
}

/// Reads the config anew: POST, nothing.
pub const RELOAD: &str = "/v1/reload";

/// What `credd reload --json` prints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReloadReport {
    /// Whether the config as it is now is in force. If not, the one before is, whole.
    pub applied: bool,
    /// Why not: every problem of the config as `credd check` cites them, or what stands against
    /// using it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    pub identities: IdentityChanges,
    /// Served ones that could not be resolved yet, each with why.
    pub unresolved: Vec<Unresolved>,
    pub listeners: ListenerChanges,
    pub tokens: TokenChanges,
    /// What else is other than before: `rules`, `limits`, `imds`, `metrics`, `mfa`, `audit`.
    pub settings: Vec<String>,
}

/// Names of identities, by what a reload has done to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct IdentityChanges {
    pub started: Vec<String>,
    /// Their definitions have changed, or those of what they are derived from.
    pub restarted: Vec<String>,
    /// With all that they hold.
    pub kept: Vec<String>,
    pub ended: Vec<String>,
}

/// An identity that has no credentials yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Unresolved {
    pub identity: String,
    pub why: String,
}

/// Sockets, by what a reload has done to them: `http 127.0.0.1:9169`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ListenerChanges {
    pub opened: Vec<String>,
    pub kept: Vec<String>,
    pub closed: Vec<String>,
}

/// Names of tokens, by what a reload has done to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TokenChanges {
    pub added: Vec<String>,
    /// They have another group, mode or rotation.
    pub changed: Vec<String>,
    pub kept: Vec<String>,
    pub removed: Vec<String>,
}

/// What `credd token --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TokensReport {
    pub tokens: Vec<TokenReport>,
}

/// One token, and nothing of its text. Times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TokenReport {
    pub name: String,
    pub file: String,
    /// The number of the group that may read it, if any besides the daemon's user may.
    pub group: Option<u32>,
    /// Of the file, in octal digits.
    pub mode: String,
    pub made: String,
    pub age_seconds: u64,
    pub next_rotation: Option<String>,
    pub next_rotation_seconds: Option<u64>,
    /// Until when the last one before it is honoured, where it still is.
    pub previous_valid_until: Option<String>,
}

/// How a program reaches the HTTP endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EndpointReport {
    /// `http://127.0.0.1:9169`, where the daemon listens on TCP.
    pub url: Option<String>,
    /// The file of a token that the caller may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
}

/// Asks for a token that lives as long as the connection.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LeaseRequest {
    /// The only or default identity if absent.
    pub identity: Option<String>,
    /// A token from an earlier lease, to be valid again after a restart of the daemon.
    pub token: Option<String>,
}

impl std::fmt::Debug for LeaseRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { identity, token: _ } = self;
        formatter
            .debug_struct("LeaseRequest")
            .field("identity", identity)
            .finish()
    }
}

/// The leased token and where it opens what.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LeaseReport {
    pub identity: String,
    pub token: String,
    /// `http://127.0.0.1:9169/v1/credentials/billing`
    pub url: String,
}

impl std::fmt::Debug for LeaseReport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            identity,
            url,
            token: _,
        } = self;
        formatter
            .debug_struct("LeaseReport")
            .field("identity", identity)
            .field("url", url)
            .finish()
    }
}

/// What `credd status --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StatusReport {
    pub version: String,
    pub pid: u32,
    /// RFC 3339, by the daemon's wall clock.
    pub now: String,
    pub identities: Vec<IdentityStatus>,
    /// Those that wait for a person now.
    #[serde(default)]
    pub challenges: Vec<ChallengeReport>,
}

/// What `credd explain --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExplainReport {
    pub identities: Vec<Explanation>,
}

/// Why an identity is the one that it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Explanation {
    pub name: String,
    /// `environment (AWS_ACCESS_KEY_ID) shadows instance metadata (role app)`
    pub conclusion: String,
    /// What to do about that, where there is something.
    pub remedy: Option<String>,
    /// What is better done otherwise on this host.
    pub warning: Option<String>,
    /// The chain, in its order.
    pub links: Vec<LinkReport>,
    pub status: IdentityStatus,
}

/// One link of a chain, by a look at it that asked nobody for credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LinkReport {
    /// `instance metadata`
    pub name: String,
    /// `chosen`, `skipped`, `failed` or `shadowed`.
    pub outcome: String,
    /// What it has to give, or why it has nothing.
    pub finding: String,
    /// The link that comes before it and is chosen, where it has something to give.
    pub shadowed_by: Option<String>,
    /// The links that it keeps from being chosen.
    pub shadows: Vec<String>,
}

/// What `credd mfa --list --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChallengesReport {
    pub challenges: Vec<ChallengeReport>,
}

/// One session that a person can renew. Times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChallengeReport {
    pub identity: String,
    /// Other identities that use the session.
    pub shared_by: Vec<String>,
    /// Of the MFA device.
    pub serial: String,
    /// Since when a code is wanted.
    pub pending_since: Option<String>,
    /// When the session in hand ends or ended, if there was one.
    pub ends: Option<String>,
    pub seconds_left: Option<u64>,
    pub is_being_tried: bool,
    /// What came of the last code.
    pub last: Option<LastAnswer>,
}

impl ChallengeReport {
    /// Whether a person may mean it by that.
    pub fn answers_to(&self, name: &str) -> bool {
        self.identity == name || self.serial == name || self.shared_by.iter().any(|it| it == name)
    }
}

/// What came of a code, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LastAnswer {
    pub at: String,
    #[serde(flatten)]
    pub answer: AnswerReport,
}

/// A code that a person has typed. Wiped when dropped.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MfaAnswer {
    /// An identity or the serial of a device. The only one, or the only one that wants a code, if
    /// absent.
    pub identity: Option<String>,
    pub code: String,
}

impl Drop for MfaAnswer {
    fn drop(&mut self) {
        self.code.zeroize();
    }
}

impl std::fmt::Debug for MfaAnswer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("MfaAnswer")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// What came of a code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AnswerReport {
    /// [`ACCEPTED`], or the name of what was in the way: `refused`, `already-used`, `busy`, …
    pub outcome: String,
    /// For people.
    pub message: String,
    /// When the session ends.
    pub until: Option<String>,
}

/// The outcome of a code that AWS has taken.
pub const ACCEPTED: &str = "accepted";

/// One identity. Times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct IdentityStatus {
    pub name: String,
    /// `warming`, `fresh`, `late`, `stale`, `expired` or `failed`.
    pub state: String,
    /// Whether clients get credentials.
    pub is_served: bool,
    /// Whether it holds long-lived keys, from which others are derived and which nobody gets.
    pub is_source_only: bool,
    /// `instance metadata`, `profile ops`, …
    pub source: Option<String>,
    /// The last four of the access key id.
    pub key: Option<String>,
    pub account_id: Option<String>,
    pub expiry: Option<String>,
    pub seconds_left: Option<u64>,
    /// When the source last gave something good.
    pub refreshed: Option<String>,
    pub next_refresh: Option<String>,
    pub next_refresh_seconds: Option<u64>,
    pub failure: Option<FailureReport>,
}

/// What has gone wrong since the last success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FailureReport {
    /// `transient`, `throttled`, `denied`, `misconfigured` or `needs-person`.
    pub class: String,
    pub message: String,
    /// How many in a row.
    pub count: u32,
    pub since: String,
}
