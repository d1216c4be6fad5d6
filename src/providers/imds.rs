//! The instance metadata service, version 2 only: a metadata request without a token is what a
//! downgrade attack wants.
//!
//! EC2 User Guide, "Use the Instance Metadata Service", and the SDK specification of the extended
//! path, which adds the account id.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{Request, StatusCode, Uri};

use super::survey::{Finding, Found};
use super::{Context, Provider, Providing, Unprovided, providing, refused};
use crate::aws::formats::Answer;
use crate::aws::imds_endpoint::{self, Settings};
use crate::aws::profile_file::{self, Locations};
use crate::clock::BootInstant;
use crate::credentials::{Credentials, Failure, Principal, Provided, Renewal, described};
use crate::http::{HttpError, Limits, Response, Route};
use crate::metrics::Service as Upstream;

/// What credd.toml says of the service. What it leaves out comes from the environment, then from
/// the profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Config {
    pub endpoint: Option<String>,
    /// `IPv4` or `IPv6`.
    pub endpoint_mode: Option<String>,
    /// The instance profile's role, where it need not be discovered.
    pub instance_profile_name: Option<String>,
}

/// Connect and read deadlines of the Rust SDK (`aws-config` `imds/client.rs`); body limit of the
/// C SDK (`aws_imds_client.c`). Any address may be asked: the endpoint is the operator's word.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(1),
    read: Duration::from_secs(1),
    total: Duration::from_secs(5),
    body_bytes: 65_535,
    plain: |_| true,
};

const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";

const TOKEN_TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";

/// The longest life that IMDS gives a token, in seconds.
const TOKEN_TTL: u64 = 21_600;

/// A token is replaced this long before its end (Rust SDK, `imds/client/token.rs`).
const TOKEN_MARGIN: Duration = Duration::from_mins(2);

/// What the provider learns and keeps from one attempt to the next.
pub(super) struct ImdsProvider {
    config: Config,
    context: Context,
    token: Option<Token>,
    path: Path,
    discovered: Option<String>,
    /// Settings that once made sense: a profile file that breaks later must not take the
    /// credentials of an instance with it.
    service: Option<Arc<Service>>,
}

struct Token {
    value: HeaderValue,
    replace_at: BootInstant,
}

/// Which path lists roles here. Once known it stays.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Path {
    Unknown,
    Extended,
    Legacy,
}

impl Path {
    fn as_str(self) -> &'static str {
        match self {
            Self::Unknown | Self::Extended => "/latest/meta-data/iam/security-credentials-extended",
            Self::Legacy => "/latest/meta-data/iam/security-credentials",
        }
    }

    fn once_it_answered(self) -> Self {
        if self == Self::Unknown {
            Self::Extended
        } else {
            self
        }
    }
}

/// Where to ask and, if configured, for whom.
struct Service {
    endpoint: Uri,
    profile_name: Option<String>,
}

impl ImdsProvider {
    pub(super) fn new(config: Config, context: Context) -> Self {
        Self {
            config,
            context,
            token: None,
            path: Path::Unknown,
            discovered: None,
            service: None,
        }
    }

    async fn attempt(&mut self) -> Result<Provided, Unprovided> {
        let service = self.service().await?;
        // The profile may be swapped between its listing and its reading, so a name that was
        // discovered gets a second chance, once.
        for _ in 0..2 {
            let name = match service.profile_name.as_ref().or(self.discovered.as_ref()) {
                Some(name) => name.clone(),
                None => self.discover(&service.endpoint).await?,
            };
            let response = self.ask(&service.endpoint, &format!("/{name}")).await?;
            if response.status == StatusCode::NOT_FOUND {
                self.name_is_gone(&service, &name)?;
                continue;
            }
            if !response.status.is_success() {
                return Err(refused("instance metadata", &response).into());
            }
            self.path = self.path.once_it_answered();
            return read(&response, &name);
        }
        let problem = "instance metadata lists a role whose credentials it does not have";
        Err(Failure::transient(problem).into())
    }

    async fn service(&mut self) -> Result<Arc<Service>, Unprovided> {
        if self.context.environment.is_true(DISABLED) {
            let why = format!("{DISABLED} is true");
            return Err(Unprovided::NotConfigured(why));
        }
        Ok(match &self.service {
            Some(service) => Arc::clone(service),
            None => Arc::clone(self.service.insert(Arc::new(self.settings().await?))),
        })
    }

    /// The role that it has credentials of.
    async fn role(&mut self) -> Result<String, Unprovided> {
        let service = self.service().await?;
        let listed = self.discover(&service.endpoint).await?;
        Ok(service.profile_name.clone().unwrap_or(listed))
    }

    /// Decides what a 404 in a profile's place means: another path to try, a name to forget, or
    /// an error.
    fn name_is_gone(&mut self, service: &Service, name: &str) -> Result<(), Unprovided> {
        let is_configured = service.profile_name.is_some();
        if is_configured && self.path == Path::Unknown {
            self.path = Path::Legacy;
        } else if is_configured {
            // Not known to be the legacy path after all: nothing answered on either.
            self.path = Path::Unknown;
            let problem = format!(
                "invalid profile: instance metadata knows no instance profile `{name}`; correct \
                 or remove the configured name"
            );
            return Err(Failure::misconfigured(problem).into());
        } else {
            self.discovered = None;
        }
        Ok(())
    }

    /// Asks with a slash at the end, as botocore and the Rust SDK do: EC2 takes either form, what
    /// stands in for it may not.
    async fn discover(&mut self, endpoint: &Uri) -> Result<String, Unprovided> {
        let mut response = self.ask(endpoint, "/").await?;
        if response.status == StatusCode::NOT_FOUND && self.path == Path::Unknown {
            self.path = Path::Legacy;
            response = self.ask(endpoint, "/").await?;
            if response.status == StatusCode::NOT_FOUND {
                // No role now says nothing about the path that will list one later.
                self.path = Path::Unknown;
            }
        }
        if response.status == StatusCode::NOT_FOUND {
            let why = "received 404 from IMDS: this instance may not have an IAM role associated";
            return Err(Unprovided::NotConfigured(why.to_owned()));
        }
        if !response.status.is_success() {
            return Err(refused("instance metadata", &response).into());
        }
        let name = profile_name(&response.body).ok_or_else(|| {
            Failure::transient("instance metadata listed no usable instance profile name")
        })?;
        self.path = self.path.once_it_answered();
        self.discovered = Some(name.clone());
        Ok(name)
    }

    /// One metadata request, with one new token if the old one is not taken.
    async fn ask(&mut self, endpoint: &Uri, below: &str) -> Result<Response, Failure> {
        let uri = imds_endpoint::below(endpoint, &format!("{}{below}", self.path.as_str()));
        for _ in 0..2 {
            let token = self.token(endpoint).await?;
            let request = Request::get(&uri)
                .header(TOKEN_HEADER, token)
                .body(Bytes::new())
                .map_err(|error| {
                    Failure::misconfigured(format!("cannot ask instance metadata: {error}"))
                })?;
            let response = self.send(request).await?;
            if response.status != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            self.token = None;
        }
        Err(Failure::transient(
            "instance metadata takes none of the tokens it gives",
        ))
    }

    async fn token(&mut self, endpoint: &Uri) -> Result<HeaderValue, Failure> {
        let now = self.context.clock.boot();
        if let Some(token) = self.token.as_ref().filter(|token| now < token.replace_at) {
            return Ok(token.value.clone());
        }
        let request = Request::put(imds_endpoint::below(endpoint, "/latest/api/token"))
            .header(TOKEN_TTL_HEADER, TOKEN_TTL)
            .body(Bytes::new())
            .map_err(|error| {
                Failure::misconfigured(format!("cannot ask instance metadata: {error}"))
            })?;
        let response = self.send(request).await?;
        match response.status.as_u16() {
            200 => {}
            403 => {
                return Err(Failure::misconfigured(
                    "request forbidden: IMDS is disabled; enable it for the instance, or set \
                     AWS_EC2_METADATA_DISABLED=true",
                ));
            }
            404 | 405 => {
                return Err(Failure::misconfigured(
                    "the instance metadata service gives no IMDSv2 tokens; credd does not use \
                     IMDSv1",
                ));
            }
            _ => return Err(refused("the IMDS token request", &response)),
        }
        let mut value = HeaderValue::from_bytes(&response.body)
            .ok()
            .filter(|value| !value.is_empty())
            .ok_or_else(|| {
                Failure::transient("instance metadata sent a token no header can hold")
            })?;
        value.set_sensitive(true);
        let lifetime = response
            .headers
            .get(TOKEN_TTL_HEADER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .unwrap_or(TOKEN_TTL)
            .min(TOKEN_TTL);
        let lifetime = Duration::from_secs(lifetime).saturating_sub(TOKEN_MARGIN);
        self.token = Some(Token {
            value: value.clone(),
            replace_at: now.after(lifetime),
        });
        Ok(value)
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response, Failure> {
        self.context
            .ask(Upstream::Imds, request, LIMITS, Route::LOCAL)
            .await
            .map_err(unreachable)
    }

    /// Settings, strongest first: credd.toml, the environment, the profile.
    async fn settings(&self) -> Result<Service, Failure> {
        let environment = &self.context.environment;
        let locations = Locations::of(environment);
        let profiles = profile_file::load(&locations)
            .await
            .map_err(|error| Failure::misconfigured(described(&error)))?;
        let profile = |key| {
            profiles
                .profile(&locations.profile)?
                .property(key)
                .filter(|value| !value.is_empty())
        };
        let endpoint = imds_endpoint::endpoint(&Settings {
            explicit_endpoint: self.config.endpoint.as_deref(),
            environment_endpoint: environment.variable("AWS_EC2_METADATA_SERVICE_ENDPOINT"),
            profile_endpoint: profile("ec2_metadata_service_endpoint"),
            explicit_mode: self.config.endpoint_mode.as_deref(),
            environment_mode: environment.variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"),
            profile_mode: profile("ec2_metadata_service_endpoint_mode"),
        })
        .map_err(Failure::misconfigured)?;
        let profile_name = self
            .config
            .instance_profile_name
            .as_deref()
            .or_else(|| environment.variable("AWS_EC2_INSTANCE_PROFILE_NAME"))
            .or_else(|| profile("ec2_instance_profile_name"))
            .map(str::to_owned);
        Ok(Service {
            endpoint,
            profile_name,
        })
    }
}

/// Which role the instance has, by the list of roles alone.
pub(super) async fn survey(config: Config, context: Context) -> Finding {
    match ImdsProvider::new(config, context).role().await {
        Ok(role) => Finding::Found(Found {
            what: format!("role {role}"),
            removal: format!("set {DISABLED}=true in credd's environment"),
            is_long_lived: false,
            mfa_serial: None,
        }),
        Err(unprovided) => unprovided.into(),
    }
}

impl Provider for ImdsProvider {
    fn provide(&mut self) -> Providing<'_> {
        providing(self.attempt())
    }
}

/// The hop limit of many hosts swallows the reply to a bridged container, which looks like this.
fn unreachable(error: HttpError) -> Failure {
    if !error.is_unreachable() {
        return error.into();
    }
    Failure::transient(format!(
        "instance metadata is out of reach: {error}; on an EC2 instance check that IMDS is enabled \
         and, in a container, that its hop limit is 2; elsewhere configure another source"
    ))
}

/// The first line of a listing, where it can stand in a path: `[\w+=,.@-]+`, the letters of IAM
/// role names (IAM API reference).
fn profile_name(listing: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(listing).ok()?.lines().next()?.trim();
    let is_fit = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte));
    is_fit.then(|| name.to_owned())
}

fn read(response: &Response, name: &str) -> Result<Provided, Unprovided> {
    match Answer::parse(&response.body) {
        Ok(Answer::Credentials {
            credentials,
            issued,
        }) => Ok(Provided {
            credentials: Credentials {
                principal: Principal::Role,
                ..credentials
            },
            renewal: Renewal::WatchStable,
            issued,
            source: "instance metadata".into(),
        }),
        Ok(Answer::Refusal { code, message }) => {
            let problem = format!(
                "error retrieving credentials of role `{name}` from IMDS: {code} {message}"
            );
            Err(if code == "AssumeRoleUnauthorizedAccess" {
                let hint = "Does this role have a trust relationship with EC2?";
                Failure::denied(format!("{problem}; {hint}")).into()
            } else {
                // EC2's own trouble, in which static stability applies.
                Failure::transient(problem).into()
            })
        }
        Err(problem) => Err(Failure::transient(format!("instance metadata sent {problem}")).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_listing_is_the_name() {
        assert_eq!(profile_name(b"my-role\nother").as_deref(), Some("my-role"));
        assert_eq!(profile_name(b" my-role \r\n").as_deref(), Some("my-role"));
        for listing in [&b""[..], b"\n", b"a/b", b"../x", b"a b", b"\xff", b"<html>"] {
            assert_eq!(profile_name(listing), None);
        }
    }
}
