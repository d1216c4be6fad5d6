//! placeholder
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Loopback addresses of the HTTP endpoint; none switches it off.
    pub http: Vec<SocketAddr>,
    /// The public Unix socket; `credd.sock` in the runtime directory if absent.
    pub unix: Option<PathBuf>,
}
