//! What clients and operators connect to: listeners, connections, and the endpoints behind them.

mod accept_loop;
mod activity;
mod address;
mod admin;
mod authorization;
mod challenges;
mod connection;
mod connections;
mod ecs;
mod endpoint;
mod explain;
mod guard;
mod handing_out;
mod imds;
mod lease;
mod limited;
mod limits;
mod listener;
mod log;
mod metrics;
mod monitoring;
mod peer;
mod question;
mod refusal;
mod reload_orders;
mod terms;
mod token_orders;
mod trail;
mod unix_socket;
mod witness;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};

use crate::audit::Audit;
use crate::authz::{ListenerName, Tokens};
use crate::aws::region::Region;
use crate::challenge::Challenges;
use crate::clock::{BootInstant, SharedClock, Timestamp};
use crate::identity::IdentityName;
use crate::metrics::Metrics;

pub use accept_loop::serve;
pub use address::{AGENTS, METADATA, is_for_this_host};
pub use admin::{Admin, Admins};
pub use connection::{Stream, serve as serve_connection};
pub use connections::Connections;
pub use ecs::Public;
pub use imds::Imds;
pub use lease::LeaseBody;
pub use listener::{BindError, Listener};
pub use monitoring::Monitoring;
pub use peer::Peer;
pub use refusal::Refusal;
pub use reload_orders::{ReloadOrder, ReloadOrders};
pub use terms::{ImdsTerms, InForce, Terms};
pub use token_orders::{TokenAction, TokenFailure, TokenFile, TokenOrder, TokenOrders};
pub use unix_socket::Access;
pub use witness::{Untold, Witness};

/// Where to listen, and how much to take from one caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Loopback addresses of the HTTP endpoint, and those of the ECS and EKS agents in whose place
    /// credd may stand; none switches it off.
    pub http: Vec<SocketAddr>,
    /// Whether the config says so, rather than leaves it to what is usual here.
    pub http_is_written: bool,
    /// A public Unix socket besides `credd.sock` in the runtime directory.
    pub unix: Option<PathBuf>,
    /// Sockets that open what they are for to whoever gets to them.
    pub own_sockets: Vec<OwnSocket>,
    pub imds: Option<ImdsConfig>,
    pub metrics: MetricsConfig,
    pub limits: Limits,
}

impl Config {
    /// All that callers may connect to by TCP.
    pub fn tcp_addresses(&self) -> Vec<IpAddr> {
        let imds = self.imds.iter().flat_map(|imds| &imds.listen);
        self.http.iter().chain(imds).map(SocketAddr::ip).collect()
    }

    /// The Unix sockets that lie outside the runtime directory, or may do so.
    pub fn sockets(&self) -> impl Iterator<Item = &Path> {
        let own = self.own_sockets.iter().map(|socket| &socket.path);
        self.unix.iter().chain(own).map(PathBuf::as_path)
    }
}

/// `[serve.unix.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnSocket {
    pub listener: ListenerName,
    pub path: PathBuf,
    /// That of the daemon if absent.
    pub owner: Option<u32>,
    pub group: Option<u32>,
    /// Permission bits; who may connect needs to write.
    pub mode: u32,
}

/// `[serve.imds]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImdsConfig {
    pub listen: Vec<SocketAddr>,
    /// The caller's only or default identity if absent.
    pub identity: Option<IdentityName>,
    /// What `placement/region` answers.
    pub region: Option<Region>,
}

/// `[serve.metrics]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricsConfig {
    /// None switches it off.
    pub listen: Vec<SocketAddr>,
    /// Whether these may be addresses that other hosts reach.
    pub beyond_this_host: bool,
}

/// What one caller may take up: a user where the kernel tells, all others on a listener together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// At once.
    pub connections: usize,
    /// In the long run; twice as many at once.
    pub requests_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            requests_per_second: 5000,
        }
    }
}

/// A whole body, or one that stays open as long as a lease.
pub type Body = Either<Full<Bytes>, LeaseBody>;

/// An endpoint is a function from request to response. One type for all, so that the HTTP server
/// is compiled once for each kind of socket.
pub trait Endpoint: Send + Sync {
    fn respond(self: Arc<Self>, request: Request<Incoming>, peer: Arc<Peer>) -> Responding;
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
    /// What the config says.
    pub terms: InForce,
    pub tokens: Arc<Tokens>,
    /// Every hand-out and every denial leaves a line there.
    pub audit: Audit,
    pub metrics: Arc<Metrics>,
    /// When the process began, by the wall clock as it was.
    pub started: Timestamp,
    /// What only a person can answer.
    pub challenges: Arc<Challenges>,
}

/// How long a request may wait for what is on its way: PHP and C++ give up at 1 s.
const WAIT: Duration = Duration::from_millis(800);

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
