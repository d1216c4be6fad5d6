//! Sockets that clients connect to: bound or handed over, and closed so that nobody is cut off.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags, accept_with, shutdown, sockopt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

use super::unix_socket::{self, Access, BACKLOG};
use crate::os::device;

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    /// Whether somebody else holds it, too, and goes on doing so.
    is_held: bool,
}

#[derive(Debug)]
enum Socket {
    /// With its name, where that is ours to remove.
    Unix(UnixListener, Option<PathBuf>),
    Tcp(TcpListener),
    /// One that other hosts may reach.
    Beyond(TcpListener),
}

/// A connection, and where it comes from.
pub(super) enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream, SocketAddr),
}

/// Who may connect, by address.
pub(super) enum Reach {
    Anybody,
    /// This host, from loopback or from the listener's own address.
    Here(Option<IpAddr>),
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
                let Some(address) = self.address.map(|address| address.ip()) else {
                    return Ok(());
                };
                let bits = if address.is_ipv4() { 32 } else { 128 };
                write!(
                    formatter,
                    "; `ip address add {address}/{bits} dev lo scope host` adds it until the next \
                     boot, and the unit credd-address@{address}.service at each"
                )
            }
            _ => write!(formatter, ": {}", self.cause),
        }
    }
}

impl std::error::Error for BindError {}

impl Listener {
    /// Binds an address that is reached by the loopback device alone: with `route_localnet` a
    /// neighbour's packets may reach any address of this host, but by another device.
    #[expect(clippy::unused_async, reason = "without a runtime, tokio would panic")]
    pub async fn tcp(address: SocketAddr) -> Result<Self, BindError> {
        let bind = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            // A restart must not wait for connections of before.
            socket.set_reuseaddr(true)?;
            if let Err(error) = socket.bind_device(Some(b"lo")) {
                // Before Linux 5.7 that is not for everybody. Peers are looked at in any case.
                tracing::warn!(%address, %error, "cannot listen on the loopback device alone");
            }
            socket.bind(address)?;
            let listener = socket.listen(BACKLOG.into())?;
            restrain(&listener, address)?;
            Ok(Self::own(Socket::Tcp(listener)))
        };
        bind().map_err(|cause| BindError {
            what: address.to_string(),
            address: Some(address),
            cause,
        })
    }

    /// Binds an address that other hosts may reach.
    #[expect(clippy::unused_async, reason = "without a runtime, tokio would panic")]
    pub async fn beyond(address: SocketAddr) -> Result<Self, BindError> {
        let bind = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(Self::own(Socket::Beyond(socket.listen(BACKLOG.into())?)))
        };
        bind().map_err(|cause| BindError {
            what: address.to_string(),
            address: Some(address),
            cause,
        })
    }

    /// Binds a socket in a directory that nobody else may write to. The caller holds the lock that
    /// says that no other instance serves `path`, so what is there is a leftover.
    pub fn unix(path: &Path, access: Access) -> Result<Self, BindError> {
        let bound = unix_socket::bind(path, access);
        let bound = bound.map(|it| Self::own(Socket::Unix(it, Some(path.to_owned()))));
        bound.map_err(|cause| BindError {
            what: path.display().to_string(),
            address: None,
            cause,
        })
    }

    /// Takes over a socket that somebody else has bound and holds on to.
    pub fn inherited_tcp(listener: &std::net::TcpListener) -> Result<Self, BindError> {
        let adopt = || {
            let listener = TcpListener::from_std(listener.try_clone()?)?;
            let address = listener.local_addr()?;
            if let Err(error) = device::keep_to_loopback(&listener) {
                tracing::warn!(%address, %error, "cannot listen on the loopback device alone; add \
                                                  BindToDevice=lo to the .socket unit");
            }
            restrain(&listener, address)?;
            Ok(Self::held(Socket::Tcp(listener)))
        };
        adopt().map_err(|cause| unusable_tcp(listener, cause))
    }

    /// The same for one that other hosts may reach.
    pub fn inherited_beyond(listener: &std::net::TcpListener) -> Result<Self, BindError> {
        let adopted = listener.try_clone().and_then(TcpListener::from_std);
        let adopted = adopted.map(|it| Self::held(Socket::Beyond(it)));
        adopted.map_err(|cause| unusable_tcp(listener, cause))
    }

    /// The same for a Unix socket. Its name, and who may connect, stay as they are.
    pub fn inherited_unix(listener: &std::os::unix::net::UnixListener) -> Result<Self, BindError> {
        let adopted = listener.try_clone().and_then(UnixListener::from_std);
        let adopted = adopted.map(|it| Self::held(Socket::Unix(it, None)));
        adopted.map_err(|cause| BindError {
            what: "the Unix socket that the service manager hands over".to_owned(),
            address: None,
            cause,
        })
    }

    fn own(socket: Socket) -> Self {
        let is_held = false;
        Self { socket, is_held }
    }

    fn held(socket: Socket) -> Self {
        let is_held = true;
        Self { socket, is_held }
    }

    /// Lets others connect than `before`. Whoever is connected stays.
    pub fn admit(&self, before: Access, access: Access) -> Result<(), BindError> {
        let Socket::Unix(_, Some(path)) = &self.socket else {
            return Ok(());
        };
        unix_socket::give_again(path, before, access).map_err(|cause| BindError {
            what: path.display().to_string(),
            address: None,
            cause,
        })
    }

    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Unix(..) => None,
            Socket::Tcp(listener) | Socket::Beyond(listener) => listener.local_addr().ok(),
        }
    }

    pub(super) fn reach(&self) -> Reach {
        match &self.socket {
            Socket::Beyond(_) => Reach::Anybody,
            Socket::Unix(..) | Socket::Tcp(_) => {
                Reach::Here(self.tcp_address().map(|own| own.ip().to_canonical()))
            }
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Unix(listener, _) => Ok(Accepted::Unix(listener.accept().await?.0)),
            Socket::Tcp(listener) | Socket::Beyond(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok(Accepted::Tcp(stream, address))
            }
        }
    }

    /// Closes the socket, and gives those who have connected and wait to be taken: the kernel would
    /// cut them off. Those at one that somebody else holds wait for whoever takes them next.
    pub(super) fn close(self) -> Vec<Accepted> {
        let mut waiting = Vec::new();
        if self.is_held {
            return waiting;
        }
        if let Socket::Unix(listener, _) = &self.socket {
            // Nobody comes after these. TCP has no such thing: it would cut them off here.
            let _ = shutdown(listener, Shutdown::Read);
        }
        // More than the kernel keeps are those who go on coming.
        for _ in 0..=BACKLOG {
            match self.accept_now() {
                Ok(accepted) => waiting.push(accepted),
                Err(error) if is_the_clients(&error) => {}
                Err(_) => break,
            }
        }
        waiting
    }

    /// Without asking the runtime, which may not know yet that somebody has connected.
    fn accept_now(&self) -> io::Result<Accepted> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match &self.socket {
            Socket::Unix(listener, _) => {
                let stream = accept_with(listener, flags)?;
                Ok(Accepted::Unix(UnixStream::from_std(stream.into())?))
            }
            Socket::Tcp(listener) | Socket::Beyond(listener) => {
                let stream = TcpStream::from_std(accept_with(listener, flags)?.into())?;
                let address = stream.peer_addr()?;
                Ok(Accepted::Tcp(stream, address))
            }
        }
    }
}

impl Reach {
    /// Whether somebody from there may be served. With `route_localnet` a neighbour reaches
    /// 127.0.0.1, from an address of its own. Whoever connects to another of this host's addresses
    /// from here comes from that.
    pub(super) fn has(&self, peer: IpAddr) -> bool {
        match self {
            Self::Anybody => true,
            Self::Here(own) => {
                let peer = peer.to_canonical();
                peer.is_loopback() || Some(peer) == *own
            }
        }
    }
}

/// Whether the fault is that of the connection that was to be taken, and not ours (accept(2)).
pub(super) fn is_the_clients(error: &io::Error) -> bool {
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

fn unusable_tcp(listener: &std::net::TcpListener, cause: io::Error) -> BindError {
    BindError {
        what: "the TCP socket that the service manager hands over".to_owned(),
        address: listener.local_addr().ok(),
        cause,
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

/// The socket's name goes with it, so that clients see at once that nobody is there.
impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Unix(_, Some(path)) = &self.socket {
            let _ = std::fs::remove_file(path);
        }
    }
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
    async fn an_address_that_no_interface_has_is_said_to_be_missing_with_what_adds_it() {
        // TEST-NET-1 and its counterpart (RFC 5737, RFC 3849).
        for (address, prefix) in [
            ("192.0.2.1:0", "192.0.2.1/32"),
            ("[2001:db8::1]:0", "2001:db8::1/128"),
        ] {
            let error = Listener::tcp(address.parse().unwrap()).await.unwrap_err();
            if error.cause.kind() != io::ErrorKind::AddrNotAvailable {
                continue; // a host without IPv6
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
        let text = error.to_string();
        assert!(text.contains("CAP_NET_BIND_SERVICE"), "{text}");
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
