//! Asking STS: where, signed with what, by which time, and what its refusals call for.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Context;
use super::Surroundings;
use crate::aws::region::Region;
use crate::aws::service_endpoint::{EndpointSettings, Service, ServiceEndpoint, endpoint};
use crate::aws::sigv4;
use crate::aws::skew::ClockOffset;
use crate::aws::sts::{
    self, CallerIdentity, DecodeAuthorizationMessage, DecodedMessage, GetSessionToken,
    MalformedAnswer, Refusal, Request,
};
use crate::clock::{BootInstant, Clock, Timestamp};
use crate::credentials::{Credentials, Failure};
use crate::environment::Environment;
use crate::http::{HttpError, Limits, Response, Route};
use crate::metrics::Service as Upstream;

/// What the AWS SDKs allow an attempt at STS, rounded up: connect 3.1 s (Rust and Go), and an
/// answer within what a person at a terminal waits for.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    read: Duration::from_secs(10),
    total: Duration::from_secs(20),
    body_bytes: 64 * 1024,
    plain: is_local,
};

/// Without TLS only on this host: a stand-in for AWS, for tests and development.
fn is_local(address: IpAddr) -> bool {
    address.is_loopback()
}

/// Which STS is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Settings {
    /// That of the environment's variables, but for what is said here.
    Environment {
        region: Option<Region>,
        endpoint_url: Option<String>,
    },
    /// That of a profile, the environment's variables included.
    Profile(EndpointSettings),
}

impl Default for Settings {
    fn default() -> Self {
        Self::Environment {
            region: None,
            endpoint_url: None,
        }
    }
}

impl Settings {
    fn resolved(&self, environment: &Environment) -> Result<EndpointSettings, Failure> {
        match self {
            Self::Profile(settings) => Ok(settings.clone()),
            Self::Environment {
                region,
                endpoint_url,
            } => {
                let ambient = EndpointSettings::of(Service::Sts, environment, None)
                    .map_err(|problem| Failure::misconfigured(problem.to_string()))?;
                Ok(EndpointSettings {
                    region: region.clone().or(ambient.region),
                    endpoint_url: endpoint_url.clone().or(ambient.endpoint_url),
                    ..ambient
                })
            }
        }
    }
}

/// AWS's time, as far as its answers have shown it. One for all that ask, since AWS has one time.
#[derive(Debug, Clone, Default)]
pub struct UpstreamTime(Arc<Mutex<ClockOffset>>);

impl UpstreamTime {
    /// As an earlier process has learnt it: AWS's time when the host started.
    pub fn lasting(at_boot: Option<i64>, clock: &dyn Clock) -> Self {
        let offset = at_boot.map(|at_boot| {
            let here = at_boot_here(clock);
            ClockOffset::between(here, Timestamp::from_unix_millis(at_boot))
        });
        Self(Arc::new(Mutex::new(offset.unwrap_or_default())))
    }

    /// AWS's time when the host started, in ms since the Unix epoch, where any has been learnt.
    pub fn at_boot(&self, clock: &dyn Clock) -> Option<i64> {
        let offset = self.offset();
        let is_learnt = offset != ClockOffset::default();
        is_learnt.then(|| offset.applied_to(at_boot_here(clock)).unix_millis())
    }

    /// AWS's time when it is `now` here.
    fn at(&self, now: Timestamp) -> Timestamp {
        self.offset().correct(now)
    }

    fn offset(&self) -> ClockOffset {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns from an answer that arrived at `now`: over verified TLS only, or anybody could put
    /// credd out of time.
    fn learn(&self, response: &Response, now: Timestamp) {
        if !response.is_verified_tls {
            return;
        }
        let Some(offset) = ClockOffset::learnt(&response.headers, now, response.took) else {
            return;
        };
        let before = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *known, offset)
        };
        if offset.size() >= NOTICEABLE && before.size() < NOTICEABLE {
            tracing::warn!(
                seconds = offset.size().as_secs(),
                direction = if offset.is_behind() {
                    "behind"
                } else {
                    "ahead"
                },
                "this host's clock is off, by what AWS says; set it, since programs that use \
                 credentials sign with it"
            );
        }
    }
}

/// This host's time when it started, by what its clocks say now.
fn at_boot_here(clock: &dyn Clock) -> Timestamp {
    let since_boot = BootInstant::since_boot(Duration::ZERO).until(clock.boot());
    clock.now().minus(since_boot)
}

/// A clock that is off by this much is worth a warning.
const NOTICEABLE: Duration = Duration::from_mins(1);

/// One STS, as one identity asks it.
#[derive(Debug)]
pub struct Sts {
    settings: Settings,
    surroundings: Surroundings,
}

/// Why STS has given nothing.
#[derive(Debug)]
pub struct Unanswered {
    pub failure: Failure,
    /// STS's own word, where it has spoken.
    pub refusal: Option<Refusal>,
    /// Whether STS may have seen the request: then an MFA code in it is spent.
    pub was_sent: bool,
}

impl Unanswered {
    pub(super) fn is_expired_signer(&self) -> bool {
        self.refusal
            .as_ref()
            .is_some_and(Refusal::is_expired_signer)
    }

    fn unsent(failure: Failure) -> Self {
        Self {
            failure,
            refusal: None,
            was_sent: false,
        }
    }
}

impl Sts {
    pub(super) fn new(settings: &Settings, context: &Context) -> Self {
        Self {
            settings: settings.clone(),
            surroundings: context.surroundings.clone(),
        }
    }

    /// That of the environment's variables.
    pub fn of_environment(surroundings: Surroundings) -> Self {
        Self {
            settings: Settings::default(),
            surroundings,
        }
    }

    /// Whose credentials these are: `GetCallerIdentity`, which no policy can forbid.
    pub async fn caller_identity(
        &self,
        credentials: &Credentials,
    ) -> Result<CallerIdentity, Failure> {
        let request = Request::GetCallerIdentity;
        let response = self.ask(&request, Some(credentials)).await;
        let response = response.map_err(|unanswered| unanswered.failure)?;
        sts::caller_identity(&response.body).map_err(|problem| malformed(&request, &problem))
    }

    /// What an encoded authorization failure says, in JSON: `DecodeAuthorizationMessage`.
    pub async fn decoded_message(
        &self,
        encoded_message: String,
        credentials: &Credentials,
    ) -> Result<DecodedMessage, Failure> {
        let request =
            Request::DecodeAuthorizationMessage(DecodeAuthorizationMessage { encoded_message });
        let response = self.ask(&request, Some(credentials)).await;
        let response = response.map_err(|unanswered| unanswered.failure)?;
        sts::decoded_message(&response.body).map_err(|problem| malformed(&request, &problem))
    }

    /// Makes a session of a user's long-lived keys: `GetSessionToken`.
    pub(super) async fn session(
        &self,
        keys: &Credentials,
        duration: Option<Duration>,
        mfa: Option<sts::Mfa>,
    ) -> Result<Credentials, Unanswered> {
        let request = Request::GetSessionToken(GetSessionToken { duration, mfa });
        let credentials = self.mint(&request, Some(keys)).await?;
        Ok(Credentials {
            // Its answer names no account.
            account_id: keys.account_id.clone(),
            ..credentials
        })
    }

    /// Asks for a session. The role in the request decides the region where nothing else does.
    pub(super) async fn mint(
        &self,
        request: &Request,
        signer: Option<&Credentials>,
    ) -> Result<Credentials, Unanswered> {
        let response = self.ask(request, signer).await?;
        sts::minted(&response.body, request.role_arn()).map_err(|problem| Unanswered {
            failure: malformed(request, &problem),
            refusal: None,
            was_sent: true,
        })
    }

    /// Asks for anything. The answer is one of success.
    pub(super) async fn ask(
        &self,
        request: &Request,
        signer: Option<&Credentials>,
    ) -> Result<Response, Unanswered> {
        let settings = self
            .settings
            .resolved(&self.surroundings.environment)
            .map_err(Unanswered::unsent)?;
        let region = settings.region_for(request.role_arn());
        let endpoint = endpoint(Service::Sts, Some(&region), &settings)
            .map_err(|problem| Unanswered::unsent(Failure::misconfigured(problem.to_string())))?;
        let route = Route {
            ca_bundle: settings.ca_bundle,
            ..Route::BEYOND
        };
        let before = self.upstream_now();
        let first = self.exchange(request, signer, &endpoint, &route).await?;
        if first.status.is_success() {
            return Ok(first);
        }
        let refusal = Refusal::read(first.status, &first.body);
        // Not a retry but another question, signed by AWS's own time.
        let has_new_time = before
            .until(self.upstream_now())
            .max(self.upstream_now().until(before))
            >= NOTICEABLE;
        let may_be_asked_again = signer.is_some() && !request.shows_mfa_code();
        if !(refusal.is_skew() && has_new_time && may_be_asked_again) {
            return Err(unanswered(request, refusal, &endpoint, &first));
        }
        let again = self.exchange(request, signer, &endpoint, &route).await?;
        if again.status.is_success() {
            return Ok(again);
        }
        let refusal = Refusal::read(again.status, &again.body);
        Err(unanswered(request, refusal, &endpoint, &again))
    }

    /// AWS's time, as far as it is known.
    pub(super) fn upstream_now(&self) -> Timestamp {
        if self.surroundings.environment.is_true(NO_CORRECTION) {
            return self.now();
        }
        self.surroundings.upstream_time.at(self.now())
    }

    fn now(&self) -> Timestamp {
        self.surroundings.clock.now()
    }

    async fn exchange(
        &self,
        request: &Request,
        signer: Option<&Credentials>,
        endpoint: &ServiceEndpoint,
        route: &Route,
    ) -> Result<Response, Unanswered> {
        let mut message = request.http(endpoint);
        if let Some(signer) = signer {
            sigv4::sign(&mut message, signer, endpoint.scope(), self.upstream_now()).map_err(
                |problem| {
                    let problem = format!("cannot sign what STS is asked: {problem}");
                    Unanswered::unsent(Failure::misconfigured(problem))
                },
            )?;
        }
        let sending = self
            .surroundings
            .ask(Upstream::Sts, message, LIMITS, route.clone());
        let response = sending.await.map_err(|error: HttpError| Unanswered {
            was_sent: !error.is_unsent(),
            refusal: None,
            failure: error.into(),
        })?;
        self.surroundings.upstream_time.learn(&response, self.now());
        Ok(response)
    }
}

/// Turns the correction of signatures off, as in the SDKs.
const NO_CORRECTION: &str = "AWS_DISABLE_CLOCK_SKEW_CORRECTION";

fn malformed(request: &Request, problem: &MalformedAnswer) -> Failure {
    let action = request.action();
    Failure::transient(format!("STS answered {action} with {problem}"))
}

fn unanswered(
    request: &Request,
    refusal: Refusal,
    endpoint: &ServiceEndpoint,
    response: &Response,
) -> Unanswered {
    let (action, host) = (request.action(), endpoint.url.host().unwrap_or_default());
    let asked = match request.role_arn() {
        Some(role) => format!("{action} of {role} at {host}"),
        None => format!("{action} at {host}"),
    };
    Unanswered {
        failure: refusal.failure(&asked, response.retry_after()),
        refusal: Some(refusal),
        was_sent: true,
    }
}
