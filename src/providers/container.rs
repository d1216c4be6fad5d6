//! The container credentials endpoint as a source: ECS tasks, EKS Pod Identity, Greengrass.
//!
//! AWS SDKs and Tools Reference Guide, "Container credential provider".

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use hyper::{Request, Uri};

use super::survey::{Finding, Found};
use super::{Context, Provider, Providing, Unprovided, providing, refused};
use crate::aws::formats::Answer;
use crate::credentials::{Failure, Provided, Renewal};
use crate::environment::Environment;
use crate::http::{Limits, Route};
use crate::metrics::Service;
use crate::os::files;
use crate::secret::Secret;

const RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

/// Where relative URIs lead: the ECS agent.
const ECS: &str = "http://169.254.170.2";

/// Deadlines of the Rust SDK (`aws-config` `http_credential_provider.rs`); a body as large as an
/// endpoint may send, which is more than the 10,000 bytes that the C SDK accepts.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(2),
    read: Duration::from_secs(5),
    total: Duration::from_secs(15),
    body_bytes: 64 * 1024,
    plain: may_be_asked_without_tls,
};

/// A token file as EKS projects it is about 1 KiB; a service account token has no defined limit.
const TOKEN_BYTES: usize = 64 * 1024;

/// What credd.toml says of the endpoint. What it leaves out comes from the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Config {
    pub uri: Option<String>,
    pub token_file: Option<PathBuf>,
}

pub(super) struct ContainerProvider {
    config: Config,
    context: Context,
}

impl ContainerProvider {
    pub(super) fn new(config: Config, context: Context) -> Self {
        Self { config, context }
    }

    async fn attempt(&self) -> Result<Provided, Unprovided> {
        let uri = uri(&self.config, &self.context.environment)?;
        let mut request = Request::get(&uri).header(ACCEPT, "application/json");
        if let Some(token) = self.token().await? {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Bytes::new()).map_err(|error| {
            Failure::misconfigured(format!("cannot ask the container endpoint: {error}"))
        })?;
        let response = self
            .context
            .ask(Service::Container, request, LIMITS, Route::LOCAL)
            .await
            .map_err(Failure::from)?;
        let asked = "the container endpoint";
        if !response.status.is_success() {
            return Err(refused(asked, &response).into());
        }
        match Answer::parse(&response.body) {
            Ok(Answer::Credentials {
                credentials,
                issued,
            }) => Ok(Provided {
                credentials,
                renewal: Renewal::Watch,
                issued,
                source: "container endpoint".into(),
            }),
            Ok(Answer::Refusal { code, message }) => {
                Err(Failure::denied(format!("{asked} answered {code}: {message}")).into())
            }
            Err(problem) => Err(Failure::transient(format!("{asked} sent {problem}")).into()),
        }
    }

    /// Read anew for each request: EKS rotates the file.
    async fn token(&self) -> Result<Option<HeaderValue>, Failure> {
        // Those of the environment are for the endpoint that it names, and for no other.
        let is_named_there = self.config.uri.is_none();
        let variable = |name| {
            self.context
                .environment
                .variable(name)
                .filter(|_| is_named_there)
        };
        let file = self.config.token_file.clone();
        let file = file.or_else(|| variable(TOKEN_FILE).map(PathBuf::from));
        let (token, origin) = if let Some(path) = file {
            let origin = format!("the token file {}", path.display());
            let text = files::read_text(path, TOKEN_BYTES)
                .await
                .map_err(|error| Failure::transient(format!("cannot read {origin}: {error}")))?;
            // A file made with `echo` ends in a newline, which no header can hold.
            let text = text.trim_end_matches(['\r', '\n']);
            if text.is_empty() {
                return Err(Failure::transient(format!("{origin} is empty")));
            }
            (Secret::from(text.to_owned()), origin)
        } else if let Some(token) = variable(TOKEN) {
            (Secret::from(token.to_owned()), TOKEN.to_owned())
        } else {
            return Ok(None);
        };
        let mut header = HeaderValue::from_str(token.expose()).map_err(|_| {
            Failure::misconfigured(format!(
                "{origin} holds what no HTTP header can: use one line"
            ))
        })?;
        header.set_sensitive(true);
        Ok(Some(header))
    }
}

impl Provider for ContainerProvider {
    fn provide(&mut self) -> Providing<'_> {
        providing(self.attempt())
    }
}

/// Which variable or key names an endpoint. It is not asked, since it would answer with
/// credentials; and its path is not shown, since that alone opens the one of ECS.
pub(super) fn survey(config: &Config, environment: &Environment) -> Finding {
    let uri = match uri(config, environment) {
        Ok(uri) => uri,
        Err(unprovided) => return unprovided.into(),
    };
    let host = uri.host().unwrap_or_default();
    let variable = [RELATIVE_URI, FULL_URI]
        .into_iter()
        .find(|name| config.uri.is_none() && environment.variable(name).is_some());
    let (origin, removal) = match variable {
        Some(name) => (name, format!("unset {name} in credd's environment")),
        None => ("`uri`", "give the identity another provider".to_owned()),
    };
    Finding::Found(Found {
        what: format!("{host} by {origin}, which was not asked"),
        removal,
        is_long_lived: false,
        mfa_serial: None,
    })
}

/// The URI to ask. The relative variable wins over the full one, as in all SDKs but Go's.
fn uri(config: &Config, environment: &Environment) -> Result<Uri, Unprovided> {
    let (text, origin) = if let Some(uri) = &config.uri {
        (uri.clone(), "`uri`")
    } else if let Some(path) = environment.variable(RELATIVE_URI) {
        if !path.starts_with('/') {
            let problem = format!("{RELATIVE_URI} does not start with `/`");
            return Err(Failure::misconfigured(problem).into());
        }
        (format!("{ECS}{path}"), RELATIVE_URI)
    } else if let Some(uri) = environment.variable(FULL_URI) {
        (uri.to_owned(), FULL_URI)
    } else {
        let problem = format!("neither {RELATIVE_URI} nor {FULL_URI} is set");
        return Err(Unprovided::NotConfigured(problem));
    };
    let uri: Uri = text.parse().map_err(|error| {
        Failure::misconfigured(format!(
            "the container endpoint in {origin} is no URI: {error}"
        ))
    })?;
    if uri.host().is_none_or(str::is_empty) {
        let problem = format!("the container endpoint in {origin} names no host");
        return Err(Failure::misconfigured(problem).into());
    }
    Ok(uri)
}

/// Loopback, the ECS agent, and the EKS Pod Identity agent: the list that all SDKs share.
fn may_be_asked_without_tls(address: IpAddr) -> bool {
    const ECS: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);
    const EKS: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 23);
    const EKS_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x23);
    match address {
        IpAddr::V4(address) => address.is_loopback() || address == ECS || address == EKS,
        IpAddr::V6(address) => address.is_loopback() || address == EKS_IPV6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(variables: &[(&str, &str)]) -> Result<String, Unprovided> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        uri(&Config::default(), &variables.collect()).map(|uri| uri.to_string())
    }

    #[test]
    fn a_relative_uri_wins_over_a_full_one_and_keeps_its_query() {
        let both = [
            (RELATIVE_URI, "/v2/id?x=1"),
            (FULL_URI, "http://127.0.0.1/other"),
        ];
        assert_eq!(resolved(&both).unwrap(), "http://169.254.170.2/v2/id?x=1");
        assert_eq!(resolved(&both[1..]).unwrap(), "http://127.0.0.1/other");
    }

    #[test]
    fn without_either_variable_the_chain_goes_on_and_with_a_bad_one_it_stops() {
        assert!(matches!(resolved(&[]), Err(Unprovided::NotConfigured(_))));
        for bad in [
            (RELATIVE_URI, "id"),
            (FULL_URI, "not a uri"),
            (FULL_URI, "/path"),
        ] {
            assert!(
                matches!(resolved(&[bad]), Err(Unprovided::Failed(_))),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn only_the_sdks_hosts_may_be_asked_without_tls() {
        for allowed in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "169.254.170.2",
            "169.254.170.23",
        ] {
            assert!(
                may_be_asked_without_tls(allowed.parse().unwrap()),
                "{allowed}"
            );
        }
        assert!(may_be_asked_without_tls("fd00:ec2::23".parse().unwrap()));
        for refused in [
            "0.0.0.0",
            "::",
            "169.254.169.254",
            "169.254.170.3",
            "10.0.0.1",
            "8.8.8.8",
        ] {
            assert!(
                !may_be_asked_without_tls(refused.parse().unwrap()),
                "{refused}"
            );
        }
    }
}
