//! Sockets that clients connect to, and the loop that takes connections from them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

use super::{Endpoint, Peer, Witness, connection};
use crate::authz::ListenerName;
use crate::clock::Clock;

/// Connections at once, on each listener: whoever crowds the TCP port keeps nobody off the Unix
/// sockets. At about 10 KiB each they may come to 10 MiB, and each takes one of the 8,192
/// descriptors that credd asks for, or two on a Unix socket: itself and its process.
const CONNECTIONS: usize = 1024;

/// After running out of descriptors or memory: long enough not to spin, short enough not to be
/// noticed by an SDK that waits a second.
const PAUSE: Duration = Duration::from_millis(100);

/// A bound socket.
#[derive(Debug)]
pub enum Listener {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

/// A socket that could not be bound.
#[derive(Debug)]
pub struct BindError {
    what: String,
    cause: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        write!(formatter, "cannot listen on {what}")?;
        match self.cause.kind() {
            io::ErrorKind::AddrInUse => write!(
                formatter,
                ": it is in use, perhaps by another credd; stop that one, or configure another \
                 address"
            ),
            io::ErrorKind::PermissionDenied => {
                write!(
                    formatter,
                    ": permission denied; choose a place or port that is credd's own"
                )
            }
            _ => write!(formatter, ": {}", self.cause),
        }
    }
}

impl std::error::Error for BindError {}

impl Listener {
    pub async fn tcp(address: SocketAddr) -> Result<Self, BindError> {
        let bind = async {
            let listener = TcpListener::bind(address).await?;
            restrain(&listener, address)?;
            Ok(Self::Tcp(listener))
        };
        bind.await.map_err(|cause| BindError {
            what: address.to_string(),
            cause,
        })
    }

    /// Binds a socket that its owner alone may connect to. The caller holds the lock that says
    /// that no other instance serves `path`, so what is there is a leftover.
    pub fn unix(path: &Path) -> Result<Self, BindError> {
        let bind = || {
            remove_leftover(path)?;
            let listener = UnixListener::bind(path)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
            Ok(Self::Unix(listener, path.to_owned()))
        };
        bind().map_err(|cause| BindError {
            what: path.display().to_string(),
            cause,
        })
    }

    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Unix(..) => None,
            Self::Tcp(listener) => listener.local_addr().ok(),
        }
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Unix(listener, _) => Ok(Accepted::Unix(listener.accept().await?.0)),
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok(Accepted::Tcp(stream, address))
            }
        }
    }
}

/// Replies must not be routed any further than this host, and must not wait to be coalesced.
/// Connections inherit both from their listener, and so have them from their first packet on.
fn restrain(listener: &TcpListener, address: SocketAddr) -> io::Result<()> {
    sockopt::set_tcp_nodelay(listener, true)?;
    if address.is_ipv4() {
        sockopt::set_ip_ttl(listener, 1)?;
    } else {
        sockopt::set_ipv6_unicast_hops(listener, Some(1))?;
    }
    Ok(())
}

/// A config that names some other file by mistake must not cost that file.
fn remove_leftover(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::other(
            "there is something that is no socket; move it away",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The socket's name goes with it, so that clients see at once that nobody is there.
impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream, SocketAddr),
}

/// What all connections share.
#[derive(Debug)]
pub struct Connections {
    clock: Arc<dyn Clock>,
    witness: Witness,
    /// Told whenever a connection has ended.
    ended: Arc<Notify>,
}

impl Connections {
    pub fn new(clock: Arc<dyn Clock>, witness: Witness) -> Self {
        Self {
            clock,
            witness,
            ended: Arc::new(Notify::new()),
        }
    }

    pub fn ended(&self) -> Arc<Notify> {
        Arc::clone(&self.ended)
    }
}

/// Takes connections, which callers know by `name`, until `stop` says so, then waits for those under way to drain.
pub async fn serve(
    listener: Listener,
    name: ListenerName,
    endpoint: Arc<dyn Endpoint>,
    connections: Arc<Connections>,
    mut stop: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut under_way = JoinSet::new();
    loop {
        // Room first: a connection that is not taken waits in the kernel, at no cost to anyone.
        let place = tokio::select! {
            Ok(place) = Arc::clone(&room).acquire_owned() => place,
            _ = stop.wait_for(|&stop| stop) => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|&stop| stop) => break,
        };
        while under_way.try_join_next().is_some() {}
        match accepted {
            Ok(accepted) => {
                let (name, endpoint) = (name.clone(), Arc::clone(&endpoint));
                let (connections, stop) = (Arc::clone(&connections), stop.clone());
                under_way.spawn(async move {
                    dispatch(accepted, name, endpoint, &connections, stop).await;
                    drop(place);
                    connections.ended.notify_one();
                });
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot take connections; trying on");
                connections.clock.deadline(PAUSE).await;
            }
        }
    }
    drop(listener);
    while under_way.join_next().await.is_some() {}
}

async fn dispatch(
    accepted: Accepted,
    name: ListenerName,
    endpoint: Arc<dyn Endpoint>,
    connections: &Connections,
    stop: watch::Receiver<bool>,
) {
    let (clock, witness) = (Arc::clone(&connections.clock), &connections.witness);
    match accepted {
        Accepted::Unix(stream) => {
            let Some(peer) = Peer::of_unix(&stream, name, witness) else {
                return;
            };
            connection::serve(stream, Arc::new(peer), endpoint, clock, stop).await;
        }
        Accepted::Tcp(stream, address) => {
            // With route_localnet a neighbour reaches 127.0.0.1, from an address of its own.
            if !address.ip().to_canonical().is_loopback() {
                return;
            }
            let peer = Peer::of_tcp(&stream, address, name, witness);
            connection::serve(stream, Arc::new(peer), endpoint, clock, stop).await;
        }
    }
}

/// Whether the fault is that of the connection that was to be taken, and not ours (accept(2)).
fn is_the_clients(error: &io::Error) -> bool {
    let faults = [
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::INTR,
        Errno::PERM,
        Errno::PROTO,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::HOSTUNREACH,
        Errno::HOSTDOWN,
    ];
    Errno::from_io_error(error).is_some_and(|errno| faults.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn accepted(address: &str) -> io::Result<TcpStream> {
        let listener = Listener::tcp(address.parse().unwrap()).await;
        let listener = listener.map_err(|error| error.cause)?;
        let _client = std::net::TcpStream::connect(listener.tcp_address().unwrap())?;
        match listener.accept().await? {
            Accepted::Tcp(stream, _) => Ok(stream),
            Accepted::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    #[tokio::test]
    async fn what_a_connection_sends_stays_on_this_host_and_leaves_at_once() {
        let stream = accepted("127.0.0.1:0").await.unwrap();
        assert_eq!(sockopt::ip_ttl(&stream).unwrap(), 1);
        assert!(stream.nodelay().unwrap());
        // Some hosts have no IPv6.
        if let Ok(stream) = accepted("[::1]:0").await {
            assert_eq!(sockopt::ipv6_unicast_hops(&stream).unwrap(), 1);
            assert!(stream.nodelay().unwrap());
        }
    }
}
