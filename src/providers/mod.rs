//! The ways to obtain credentials, one file each. No provider retries, caches or spawns.

pub mod assume_role;
pub mod chain;
pub mod container;
pub mod definition;
mod environment;
pub mod imds;
pub mod keys;
mod mfa_code;
mod mfa_session;
mod mfa_verdict;
pub mod process;
pub mod profile;
mod served;
pub mod session_name;
pub mod session_token;
pub mod shared_session;
pub mod source;
pub mod sts;
pub mod survey;
pub mod web_identity;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Request;

use crate::challenge::{Challenges, UsedCodes};
use crate::clock::SharedClock;
use crate::credentials::{Failure, Provided, Warnings};
use crate::environment::Environment;
use crate::http::{HttpError, Limits, Response, Route, Transport};
use crate::identity::IdentityName;
use crate::metrics::{Label, Metrics, Service};
use crate::random;
use crate::secret_place::SecretPlaceError;

use shared_session::SharedSessions;
use sts::UpstreamTime;

pub use source::{News, Source, SourceIdentity, Sources};

/// One way to obtain credentials. Its refresher is its only caller, one call at a time.
pub trait Provider: Send {
    fn provide(&mut self) -> Providing<'_>;

    /// Completes when an attempt is worth making at once, whatever the schedule says: the source
    /// identity whose failure was the last one's cause has changed, or a person has answered.
    /// Dropping it loses nothing.
    fn news(&mut self) -> News<'_> {
        Box::pin(std::future::pending())
    }

    /// Says that the next attempt is to bring another set, although the last one may be good for a
    /// while: somebody ordered it, or AWS does not take that one any more. Sources that fail are
    /// asked anew.
    fn renew(&mut self) {}

    /// Drops what was obtained so far, as `credd forget` asks.
    fn forget(&mut self) {}

    /// Whether attempts count against a quota that other hosts share, as those at STS do: then a
    /// fleet that boots together spreads its first attempts.
    fn draws_on_shared_quota(&self) -> bool {
        false
    }
}

/// An attempt under way. Dropping it abandons the attempt and nothing else.
pub type Providing<'a> = Pin<Box<dyn Future<Output = Result<Provided, Unprovided>> + Send + 'a>>;

/// Why a provider gave nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Unprovided {
    /// This host does not use the source; the only outcome after which a chain goes on. Says what
    /// would configure it.
    NotConfigured(String),
    Failed(Failure),
}

impl From<Failure> for Unprovided {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// All that providers may look at besides their own configuration.
#[derive(Debug, Clone)]
pub struct Context {
    /// The identity that the provider serves, or is a hop of.
    pub identity: IdentityName,
    pub surroundings: Surroundings,
    pub sources: Arc<dyn Sources>,
}

/// What all providers share.
#[derive(Debug, Clone)]
pub struct Surroundings {
    pub environment: Arc<Environment>,
    pub transport: Arc<dyn Transport>,
    pub clock: SharedClock,
    pub upstream_time: UpstreamTime,
    /// Whether this host is an EC2 instance, where long-lived keys have no business.
    pub is_on_ec2: bool,
    pub challenges: Arc<Challenges>,
    pub shared_sessions: SharedSessions,
    pub metrics: Arc<Metrics>,
}

impl Surroundings {
    /// With challenges that nobody hears of, and that leave nothing behind.
    pub fn new(
        environment: Arc<Environment>,
        transport: Arc<dyn Transport>,
        clock: SharedClock,
    ) -> Self {
        let used = UsedCodes::in_memory(random::bytes());
        let challenges = Challenges::new(used, Arc::clone(&clock), Warnings::default());
        Self {
            environment,
            transport,
            clock,
            upstream_time: UpstreamTime::default(),
            is_on_ec2: false,
            challenges,
            shared_sessions: SharedSessions::default(),
            metrics: Arc::default(),
        }
    }

    /// The same with these challenges.
    #[must_use]
    pub fn with_challenges(self, challenges: Arc<Challenges>) -> Self {
        Self { challenges, ..self }
    }

    /// Asks an upstream; timed, and named in the log.
    async fn ask(
        &self,
        service: Service,
        request: Request<Bytes>,
        limits: Limits,
        route: Route,
    ) -> Result<Response, HttpError> {
        let begun = self.clock.boot();
        let outcome = self.transport.send(request, limits, route).await;
        let took = begun.until(self.clock.boot());
        self.metrics.asked(service, took);
        let response = outcome.as_ref().ok();
        let request_id = response.and_then(Response::request_id);
        tracing::Span::current().record("request_id", request_id);
        tracing::debug!(
            service = service.as_str(),
            status = response.map(|it| it.status.as_u16()),
            duration_ms = took.as_millis(),
            request_id,
            "upstream asked"
        );
        outcome
    }
}

impl Context {
    /// For a chain that stands alone.
    pub fn alone(surroundings: Surroundings) -> Self {
        Self {
            identity: IdentityName::default(),
            surroundings,
            sources: Arc::new(source::NoSources),
        }
    }
}

impl std::ops::Deref for Context {
    type Target = Surroundings;

    fn deref(&self) -> &Surroundings {
        &self.surroundings
    }
}

/// What an answer without credentials calls for, by its status.
fn refused(asked: &str, response: &Response) -> Failure {
    let said = crate::aws::formats::error_text(&response.body)
        .map(|text| format!(": {text}"))
        .unwrap_or_default();
    let message = format!("{asked} answered {}{said}", response.status);
    match response.status.as_u16() {
        429 => Failure::throttled(message, response.retry_after()),
        408 | 500.. => Failure {
            retry_after: response.retry_after(),
            ..Failure::transient(message)
        },
        401 | 403 => Failure::denied(message),
        300..=399 => Failure::misconfigured(format!("{message}; credd does not follow redirects")),
        _ => Failure::misconfigured(message),
    }
}

/// What a secret that could not be read calls for.
fn unreadable(error: &SecretPlaceError) -> Failure {
    if error.may_pass() {
        Failure::transient(error.to_string())
    } else {
        Failure::misconfigured(error.to_string())
    }
}

/// Boxes an attempt.
fn providing<'a>(
    attempt: impl Future<Output = Result<Provided, Unprovided>> + Send + 'a,
) -> Providing<'a> {
    Box::pin(attempt)
}
