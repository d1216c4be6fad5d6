//! Sockets that clients connect to, and the loop that takes connections from them.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

use super::{Endpoint, Peer, connection};
use crate::authz::ListenerName;
use crate::clock::Clock;

/// Connections at once, on each listener: whoever crowds the TCP port keeps nobody off the Unix
/// sockets. At about 10 KiB each they may come to 10 MiB, and each takes one of the 4,096
/// descriptors that credd asks for.
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
    /// Of a TCP socket.
    address: Option<SocketAddr>,
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
            io::ErrorKind::PermissionDenied if self.address.is_some() => write!(
                formatter,
                ": permission denied; a port below 1024 takes CAP_NET_BIND_SERVICE, which \
                 systemd/addresses.conf gives to the unit"
            ),
            io::ErrorKind::PermissionDenied => write!(
                formatter,
                ": permission denied; choose a place that is credd's own"
            ),
            io::ErrorKind::AddrNotAvailable => {
                write!(formatter, ": no interface of this host has this address")?;
                let Some(address) = self.address else {
                    return Ok(());
                };
                write!(
                    formatter,
                    "; `ip address add {} dev lo scope host` adds it until the next boot, and the \
                     unit credd-address@{}.service at each",
                    Prefix(address.ip()),
                    address.ip()
                )
            }
            _ => write!(formatter, ": {}", self.cause),
        }
    }
}

impl std::error::Error for BindError {}

/// An address alone, as a network of one.
struct Prefix(IpAddr);

impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.0.is_ipv4() { 32 } else { 128 };
        write!(formatter, "{}/{bits}", self.0)
    }
}

impl Listener {
    pub async fn tcp(address: SocketAddr) -> Result<Self, BindError> {
        let bind = async {
            let listener = TcpListener::bind(address).await?;
            restrain(&listener, address)?;
            Ok(Self::Tcp(listener))
        };
        bind.await.map_err(|cause| BindError {
            what: address.to_string(),
            address: Some(address),
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
            address: None,
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
    /// Told whenever a connection has ended.
    ended: Arc<Notify>,
}

impl Connections {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
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
                let (clock, stop) = (Arc::clone(&connections.clock), stop.clone());
                let ended = connections.ended();
                under_way.spawn(async move {
                    dispatch(accepted, name, endpoint, clock, stop).await;
                    drop(place);
                    ended.notify_one();
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
    clock: Arc<dyn Clock>,
    stop: watch::Receiver<bool>,
) {
    match accepted {
        Accepted::Unix(stream) => {
            let Some(peer) = Peer::of_unix(&stream, name) else {
                return;
            };
            connection::serve(stream, Arc::new(peer), endpoint, clock, stop).await;
        }
        Accepted::Tcp(stream, address) => {
            let Ok(own) = stream.local_addr() else { return };
            if !is_of_this_host(address.ip(), own.ip()) {
                return;
            }
            let peer = Peer::of_tcp(&stream, address, name);
            connection::serve(stream, Arc::new(peer), endpoint, clock, stop).await;
        }
    }
}

/// Whether whoever connects from `peer` to `own` is on this host. With `route_localnet` a neighbour
/// reaches 127.0.0.1, and one on the same link 169.254.170.2, but from an address of its own: what
/// comes from outside with one of this host's as its source, the kernel drops.
fn is_of_this_host(peer: IpAddr, own: IpAddr) -> bool {
    let peer = peer.to_canonical();
    peer.is_loopback() || peer == own.to_canonical()
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

    #[test]
    fn peers_are_taken_from_loopback_and_from_the_address_they_connect_to() {
        let is_taken =
            |peer: &str, own: &str| is_of_this_host(peer.parse().unwrap(), own.parse().unwrap());
        for (peer, own) in [
            ("127.0.0.1", "127.0.0.1"),
            ("127.9.9.9", "127.0.0.1"),
            ("::1", "::1"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "169.254.170.2"),
            ("169.254.170.2", "169.254.170.2"),
            ("169.254.169.254", "169.254.169.254"),
            ("fd00:ec2::254", "fd00:ec2::254"),
        ] {
            assert!(is_taken(peer, own), "{peer} {own}");
        }
        for (peer, own) in [
            ("10.0.0.2", "127.0.0.1"),
            ("169.254.170.2", "127.0.0.1"),
            ("169.254.170.3", "169.254.170.2"),
            ("169.254.170.2", "169.254.169.254"),
            ("10.0.0.2", "169.254.169.254"),
            ("fd00:ec2::23", "fd00:ec2::254"),
            ("fe80::1", "fd00:ec2::254"),
            ("0.0.0.0", "127.0.0.1"),
        ] {
            assert!(!is_taken(peer, own), "{peer} {own}");
        }
    }

    #[tokio::test]
    async fn an_address_that_no_interface_has_is_said_to_be_missing_with_what_adds_it() {
        // TEST-NET-1 and its counterpart (RFC 5737, RFC 3849).
        for (address, prefix) in [
            ("192.0.2.1:80", "192.0.2.1/32"),
            ("[2001:db8::1]:80", "2001:db8::1/128"),
        ] {
            let error = Listener::tcp(address.parse().unwrap()).await.unwrap_err();
            if error.cause.kind() != io::ErrorKind::AddrNotAvailable {
                continue; // a host without IPv6, or without the right to that port
            }
            let expected = format!(
                "cannot listen on {address}: no interface of this host has this address; \
                 `ip address add {prefix} dev lo scope host` adds it"
            );
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn a_port_that_takes_a_right_is_said_to_take_it() {
        let error = BindError {
            what: "169.254.169.254:80".to_owned(),
            address: "169.254.169.254:80".parse().ok(),
            cause: io::ErrorKind::PermissionDenied.into(),
        };
        assert!(
            error.to_string().contains("CAP_NET_BIND_SERVICE"),
            "{error}"
        );
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
