//! HTTP as credd asks for it: one bounded exchange at a time, no redirects, no proxy.
//!
//! Nothing credd asks today lies beyond this host's own links or needs a proxy: metadata services
//! must not be reached through one.

mod client;
mod error;
mod exchange;
mod tls;
pub mod unix;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use hyper::{HeaderMap, Request, StatusCode};
use zeroize::Zeroizing;

pub use client::Client;
pub use error::{HttpError, Stage};
pub use tls::Roots;

/// An answer, whole.
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Wiped when dropped: it may hold credentials.
    pub body: Zeroizing<Vec<u8>>,
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
}

/// Not the body, and of the headers only how many: either may hold a token.
impl std::fmt::Debug for Response {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers.len())
            .field("body", &self.body.len())
            .finish()
    }
}

/// The bounds of one exchange.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For reaching one address, TLS included.
    pub connect: Duration,
    /// For the head of the answer, and between two pieces of its body.
    pub read: Duration,
    /// For everything, from the name lookup to the last byte.
    pub total: Duration,
    /// Of the answer's body.
    pub body_bytes: usize,
    /// Which addresses may be asked without TLS.
    pub plain: fn(IpAddr) -> bool,
}

/// Whoever can carry a request out: the network, or a scripted AWS in a simulation.
pub trait Transport: Send + Sync + std::fmt::Debug {
    fn send(&self, request: Request<Bytes>, limits: Limits) -> Sending<'_>;
}

/// An exchange under way.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<Response, HttpError>> + Send + 'a>>;
