//! HTTP as credd asks for it: one bounded exchange at a time, no redirects, and a proxy only where
//! the request says so.
//!
//! STS lies beyond this host and may need a proxy; metadata services and container endpoints are
//! on its own links and must not be reached through one.

mod client;
mod error;
mod exchange;
mod proxy;
mod stream;
mod target;
mod tls;
mod tunnel;
pub mod unix;

use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use hyper::{HeaderMap, Request, StatusCode};
use zeroize::Zeroizing;

pub use client::{Client, OwnAddresses};
pub use error::{HttpError, Stage};
pub use proxy::Proxies;
pub use tls::Roots;

/// An answer, whole.
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Wiped when dropped: it may hold credentials.
    pub body: Zeroizing<Vec<u8>>,
    /// Whether a certificate proved who answered: what such an answer says of the time may be
    /// believed.
    pub is_verified_tls: bool,
    /// From the first byte of the request to the last of the answer, connecting apart: its `Date`
    /// was written in that time.
    pub took: Duration,
}

impl Response {
    /// The server's own word on when to come back: `Retry-After` in seconds (RFC 9110 section
    /// 10.2.3) or `x-amz-retry-after` in milliseconds (AWS SDK retry rules of 2026). The date form
    /// is passed over: it would have to be read by a clock that may be wrong.
    pub fn retry_after(&self) -> Option<Duration> {
        let number = |name: &str| self.headers.get(name)?.to_str().ok()?.trim().parse().ok();
        number("x-amz-retry-after")
            .map(Duration::from_millis)
            .or_else(|| number("retry-after").map(Duration::from_secs))
    }

    /// What AWS's support asks for: the name that the service gave the request. Nothing where it
    /// is no plain word.
    pub fn request_id(&self) -> Option<&str> {
        const LONGEST: usize = 64;
        let id = self.headers.get("x-amzn-requestid")?.to_str().ok()?;
        let is_word = id.bytes().all(|byte| byte.is_ascii_graphic());
        (is_word && (1..=LONGEST).contains(&id.len())).then_some(id)
    }
}

/// Not the body, and of the headers only how many: either may hold a token.
impl std::fmt::Debug for Response {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers.len())
            .field("body", &self.body.len())
            .field("is_verified_tls", &self.is_verified_tls)
            .field("took", &self.took)
            .finish()
    }
}

/// The bounds of one exchange.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For reaching one address, for a proxy's too, and for each TLS handshake.
    pub connect: Duration,
    /// For the head of the answer, for a proxy's too, and between two pieces of its body.
    pub read: Duration,
    /// For everything, from the name lookup to the last byte.
    pub total: Duration,
    /// Of the answer's body.
    pub body_bytes: usize,
    /// Which addresses may be asked without TLS.
    pub plain: fn(IpAddr) -> bool,
}

/// How a request travels, and whom to trust at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Whether a proxy may carry it, if it is https and the environment names one. Loopback and
    /// link-local addresses are asked directly all the same.
    pub may_be_proxied: bool,
    /// Who alone vouches for the host, instead of the client's own roots: a PEM file, as the
    /// `ca_bundle` of a profile names one. `AWS_CA_BUNDLE` outranks that in every SDK, so whoever
    /// sets this has looked there.
    pub ca_bundle: Option<PathBuf>,
}

impl Route {
    /// To what is on this host or its links.
    pub const LOCAL: Self = Self {
        may_be_proxied: false,
        ca_bundle: None,
    };

    /// To the internet.
    pub const BEYOND: Self = Self {
        may_be_proxied: true,
        ca_bundle: None,
    };
}

/// Whoever can carry a request out: the network, or a scripted AWS in a simulation.
pub trait Transport: Send + Sync + std::fmt::Debug {
    fn send(&self, request: Request<Bytes>, limits: Limits, route: Route) -> Sending<'_>;
}

/// An exchange under way.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<Response, HttpError>> + Send + 'a>>;
