//! What can go wrong in an exchange, and what that calls for.

use std::net::SocketAddr;

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
                 remove AWS_CONTAINER_CREDENTIALS_* from its environment or name another source"
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
            Stage::Deadline(what) => write!(formatter, "{asked} did not {what} in time"),
        }
    }
}

impl std::error::Error for HttpError {}

impl HttpError {
    /// Whether nothing at all answered: no route, no listener, no reply.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self.stage,
            Stage::Connect(_) | Stage::Deadline(_) | Stage::Resolve(_)
        )
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        match error.stage {
            Stage::Url | Stage::OwnEndpoint(_) | Stage::NotAllowed(_) | Stage::Roots(_) => {
                Self::misconfigured(error.to_string())
            }
            // A certificate that does not verify is no passing fault, and insisting invites a
            // moment of carelessness at the other end.
            Stage::Tls(ref cause) if cause.kind() == std::io::ErrorKind::InvalidData => {
                Self::misconfigured(error.to_string())
            }
            _ => Self::transient(error.to_string()),
        }
    }
}
