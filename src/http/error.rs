//! What can go wrong in an exchange, and what that calls for.

use std::net::SocketAddr;

use hyper::StatusCode;

use crate::credentials::{Failure, described};

/// A failed exchange. Shows scheme and authority of the URL, never its path: an ECS path is a
/// bearer secret.
#[derive(Debug)]
pub struct HttpError {
    /// `http://169.254.170.2`
    pub asked: String,
    pub stage: Stage,
}

/// How far the exchange came.
#[derive(Debug)]
pub enum Stage {
    /// The URL has no host or a scheme other than http and https.
    Url,
    Resolve(std::io::Error),
    /// The address is one that credd itself serves.
    OwnEndpoint(SocketAddr),
    /// Without TLS, an address that such a source must not have.
    NotAllowed(SocketAddr),
    Connect(std::io::Error),
    Tls(std::io::Error),
    /// The certificate roots could not be read.
    Roots(String),
    Exchange(hyper::Error),
    BodyTooLarge(usize),
    /// The variable that names the proxy makes no sense.
    ProxySetting(String),
    /// The proxy could not be asked for a tunnel, or gave none.
    Proxy(Box<HttpError>),
    /// A proxy's own answer to CONNECT.
    NoTunnel(StatusCode),
    /// The named deadline passed.
    Deadline(&'static str),
}

impl std::fmt::Display for HttpError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let asked = &self.asked;
        match &self.stage {
            Stage::Url => write!(
                formatter,
                "`{asked}` is not an http or https URL with a host"
            ),
            Stage::Resolve(error) => {
                write!(formatter, "cannot resolve the host of {asked}: {error}")
            }
            Stage::OwnEndpoint(address) => write!(
                formatter,
                "{asked} is credd's own endpoint ({address}), and credd cannot be its own source; \
                 name another one, and remove AWS_CONTAINER_CREDENTIALS_* and \
                 AWS_EC2_METADATA_SERVICE_* from its environment if they lead there"
            ),
            Stage::NotAllowed(address) => write!(
                formatter,
                "{asked} is at {address}, which may not be asked without TLS; use https, a \
                 loopback address, 169.254.170.2, 169.254.170.23 or [fd00:ec2::23]"
            ),
            Stage::Connect(error) => write!(formatter, "cannot connect to {asked}: {error}"),
            Stage::Tls(error) => write!(
                formatter,
                "cannot make a TLS connection to {asked}: {error}"
            ),
            Stage::Roots(problem) => {
                write!(
                    formatter,
                    "cannot read the certificate roots needed for {asked}: {problem}"
                )
            }
            Stage::Exchange(error) => {
                write!(
                    formatter,
                    "the exchange with {asked} broke off: {}",
                    described(error)
                )
            }
            Stage::BodyTooLarge(limit) => {
                write!(
                    formatter,
                    "the answer of {asked} is larger than {limit} bytes"
                )
            }
            Stage::ProxySetting(problem) => {
                write!(formatter, "cannot ask {asked} through a proxy: {problem}")
            }
            Stage::Proxy(error) => through_proxy(formatter, asked, error),
            Stage::NoTunnel(status) => {
                write!(formatter, "{asked} answered CONNECT with {status}")
            }
            Stage::Deadline(what) => write!(formatter, "{asked} did not {what} in time"),
        }
    }
}

impl std::error::Error for HttpError {}

fn through_proxy(
    formatter: &mut std::fmt::Formatter<'_>,
    asked: &str,
    error: &HttpError,
) -> std::fmt::Result {
    write!(formatter, "no way to {asked} through its proxy: ")?;
    let proxy = &error.asked;
    match &error.stage {
        Stage::OwnEndpoint(address) => write!(
            formatter,
            "{proxy} is credd's own endpoint ({address}); name a proxy in HTTPS_PROXY"
        ),
        Stage::NoTunnel(StatusCode::PROXY_AUTHENTICATION_REQUIRED) => write!(
            formatter,
            "{error}; it wants other credentials than HTTPS_PROXY holds, as in \
             http://user:password@proxy.example.com:3128"
        ),
        _ => write!(
            formatter,
            "{error}; see to the proxy, to HTTPS_PROXY, or name the host in NO_PROXY if it needs \
             none"
        ),
    }
}

impl HttpError {
    /// Whether nothing at all answered: no route, no listener, no reply.
    pub fn is_unreachable(&self) -> bool {
        match &self.stage {
            Stage::Connect(_) | Stage::Deadline(_) | Stage::Resolve(_) => true,
            Stage::Proxy(error) => error.is_unreachable(),
            _ => false,
        }
    }

    /// Whether this host's configuration, or that of its proxy, has to change.
    fn is_misconfigured(&self) -> bool {
        match &self.stage {
            Stage::Url
            | Stage::OwnEndpoint(_)
            | Stage::NotAllowed(_)
            | Stage::Roots(_)
            | Stage::ProxySetting(_) => true,
            // A certificate that does not verify is no passing fault, and insisting invites a
            // moment of carelessness at the other end.
            Stage::Tls(cause) => cause.kind() == std::io::ErrorKind::InvalidData,
            Stage::Proxy(error) => error.is_misconfigured(),
            // 5xx is the word for a host that the proxy cannot reach now.
            Stage::NoTunnel(status) => {
                let may_pass = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
                !status.is_server_error() && !may_pass.contains(status)
            }
            _ => false,
        }
    }
}

impl HttpError {
    /// Whether the request surely never left this host.
    pub fn is_unsent(&self) -> bool {
        !matches!(
            self.stage,
            Stage::Exchange(_) | Stage::BodyTooLarge(_) | Stage::Deadline(_)
        )
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        if error.is_misconfigured() {
            Self::misconfigured(error.to_string())
        } else {
            Self::transient(error.to_string())
        }
    }
}
