//! What clients and operators connect to: listeners, connections, and the endpoints behind them.

mod activity;
mod admin;
mod challenges;
mod connection;
mod ecs;
mod explain;
mod guard;
mod lease;
mod listener;
mod metrics;
mod question;
mod refusal;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};

use crate::authz::{Caller, Policy, Tokens};
use crate::challenge::Challenges;
use crate::clock::{BootInstant, SharedClock};
use crate::identity::IdentityName;
use crate::refresh::SnapshotReader;

pub use admin::Admin;
pub use ecs::Public;
pub use lease::LeaseBody;
pub use listener::{BindError, Connections, Listener, serve};
pub use refusal::Refusal;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Loopback addresses of the HTTP endpoint; none switches it off.
    pub http: Vec<SocketAddr>,
    /// A public Unix socket besides `credd.sock` in the runtime directory.
    pub unix: Option<PathBuf>,
}

/// A whole body, or one that stays open as long as a lease.
pub type Body = Either<Full<Bytes>, LeaseBody>;

/// An endpoint is a function from request to response. One type for all, so that the HTTP server
/// is compiled once for each kind of socket.
pub trait Endpoint: Send + Sync {
    fn respond(self: Arc<Self>, request: Request<Incoming>, caller: Caller) -> Responding;
}

/// An answer in the making. Boxed, or each connection keeps room for it, which is no longer in any
/// cache when its next request comes.
pub type Responding = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// What the endpoints serve from.
#[derive(Debug)]
pub struct Site {
    pub clock: SharedClock,
    /// When the daemon began.
    pub began: BootInstant,
    pub identities: BTreeMap<IdentityName, SnapshotReader>,
    pub policy: Policy,
    pub tokens: Arc<Tokens>,
    /// What only a person can answer.
    pub challenges: Arc<Challenges>,
    /// `http://127.0.0.1:9169`, where there is a TCP listener.
    pub url: Option<String>,
    pub token_file: PathBuf,
}

/// A response with a whole body.
fn whole(status: hyper::StatusCode, body: Bytes) -> Response<Body> {
    use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // Go and Kotlin read an error body only under exactly this type.
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
