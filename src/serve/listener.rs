//! Sockets that clients connect to, and the loop that takes connections from them.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SendFlags, send, sockopt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

use super::limited::Limited;
use super::limits::{Holder, Ledger};
use super::unix_socket::{self, Access, BACKLOG};
use super::{Endpoint, Limits, Peer, Refusal, Witness, connection};
use crate::authz::ListenerName;
use crate::clock::Clock;
use crate::metrics::{ListenerCounts, Metrics};
use crate::os::{device, process};
use crate::pulse::Pulse;

/// After running out of descriptors or memory: long enough not to spin, short enough not to be
/// noticed by an SDK that waits a second.
const PAUSE: Duration = Duration::from_millis(100);

/// Between two complaints about that.
const COMPLAINTS: Duration = Duration::from_mins(1);

/// A bound socket.
#[derive(Debug)]
pub enum Listener {
    /// With its name, where that is ours to remove.
    Unix(UnixListener, Option<PathBuf>),
    Tcp(TcpListener),
    /// One that other hosts may reach.
    Beyond(TcpListener),
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
            Ok(Self::Tcp(listener))
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
            Ok(Self::Beyond(socket.listen(BACKLOG.into())?))
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
        let bound = bound.map(|listener| Self::Unix(listener, Some(path.to_owned())));
        bound.map_err(|cause| BindError {
            what: path.display().to_string(),
            address: None,
            cause,
        })
    }

    /// Takes over a socket that somebody else has bound and holds on to.
    pub fn inherited_tcp(listener: &std::net::TcpListener) -> Result<Self, BindError> {
        let address = listener.local_addr().ok();
        let adopt = || {
            let listener = TcpListener::from_std(listener.try_clone()?)?;
            let address = listener.local_addr()?;
            if let Err(error) = device::keep_to_loopback(&listener) {
                tracing::warn!(%address, %error, "cannot listen on the loopback device alone; add \
                                                  BindToDevice=lo to the .socket unit");
            }
            restrain(&listener, address)?;
            Ok(Self::Tcp(listener))
        };
        adopt().map_err(|cause| BindError {
            what: "the TCP socket that the service manager hands over".to_owned(),
            address,
            cause,
        })
    }

    /// Lets others connect than `before`. Whoever is connected stays.
    pub fn admit(&self, before: Access, access: Access) -> Result<(), BindError> {
        let Self::Unix(_, Some(path)) = self else {
            return Ok(());
        };
        unix_socket::give_again(path, before, access).map_err(|cause| BindError {
            what: path.display().to_string(),
            address: None,
            cause,
        })
    }

    /// Takes a Unix socket over likewise. Its name, and who may connect, stay as they are.
    pub fn inherited_unix(listener: &std::os::unix::net::UnixListener) -> Result<Self, BindError> {
        let listener = listener.try_clone().and_then(UnixListener::from_std);
        let listener = listener.map_err(|cause| BindError {
            what: "the Unix socket that the service manager hands over".to_owned(),
            address: None,
            cause,
        })?;
        Ok(Self::Unix(listener, None))
    }

    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Unix(..) => None,
            Self::Tcp(listener) | Self::Beyond(listener) => listener.local_addr().ok(),
        }
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Unix(listener, _) => Ok(Accepted::Unix(listener.accept().await?.0)),
            Self::Tcp(listener) | Self::Beyond(listener) => {
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

/// The socket's name goes with it, so that clients see at once that nobody is there.
impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, Some(path)) = self {
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
    ledger: Arc<Ledger>,
    witness: Arc<Witness>,
    metrics: Arc<Metrics>,
    /// Told whenever a connection has ended.
    ended: Arc<Notify>,
    pulse: Pulse,
}

impl Connections {
    pub fn new(clock: Arc<dyn Clock>, limits: Limits, witness: Witness) -> Self {
        Self {
            clock,
            ledger: ledger(limits),
            witness: Arc::new(witness),
            metrics: Arc::default(),
            ended: Arc::new(Notify::new()),
            pulse: Pulse::default(),
        }
    }

    /// Counted there.
    #[must_use]
    pub fn counted(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..self }
    }

    /// From now on these limits hold, and these users have room that they alone can take. No
    /// connection ends.
    pub fn change(&self, limits: Limits, known: BTreeSet<u32>) {
        self.ledger.change(limits, known);
    }

    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// For a listener whose places nobody on another can take.
    #[must_use]
    pub fn apart(&self, limits: Limits) -> Self {
        Self {
            clock: Arc::clone(&self.clock),
            ledger: ledger(limits),
            witness: Arc::clone(&self.witness),
            metrics: Arc::clone(&self.metrics),
            ended: self.ended(),
            pulse: self.pulse.clone(),
        }
    }

    /// With listeners that answer whoever asks whether they are alive.
    #[must_use]
    pub fn watched_by(self, pulse: Pulse) -> Self {
        Self { pulse, ..self }
    }

    pub fn ended(&self) -> Arc<Notify> {
        Arc::clone(&self.ended)
    }
}

fn ledger(limits: Limits) -> Arc<Ledger> {
    Arc::new(Ledger::new(limits, BTreeSet::new(), process::descriptors()))
}

/// Takes connections, which callers know by `name`, until `stop` says so, then waits for those
/// under way to drain. The socket is closed once nobody else holds it either.
pub async fn serve(
    listener: Arc<Listener>,
    name: ListenerName,
    endpoint: Arc<dyn Endpoint>,
    connections: Arc<Connections>,
    mut stop: watch::Receiver<bool>,
) {
    let too_many = Refusal::too_many().into_bytes();
    let counts = connections.metrics.listener(name.as_str());
    let mut under_way = JoinSet::new();
    let mut complain_at = connections.clock.boot();
    let what = format!("the listener {}", name.as_str());
    let mut heart = connections.pulse.heart(what);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = heart.beat() => continue,
            _ = stop.wait_for(|&stop| stop) => break,
        };
        while under_way.try_join_next().is_some() {}
        let accepted = accepted.and_then(|accepted| {
            let peer = accepted.peer(&listener, &name, &connections.witness)?;
            Ok((accepted, peer))
        });
        let (accepted, peer) = match accepted {
            Ok((accepted, Some(peer))) => (accepted, peer),
            Ok((_, None)) => continue,
            Err(error) if is_the_clients(&error) => continue,
            Err(error) => {
                let now = connections.clock.boot();
                if complain_at <= now {
                    tracing::error!(%error, "cannot take connections; trying on");
                    complain_at = now.after(COMPLAINTS);
                }
                connections.clock.deadline(PAUSE).await;
                continue;
            }
        };
        let clock = Arc::clone(&connections.clock);
        // Whoever has enough of them is told so and let go at once: what is not taken would stand
        // before others in the kernel's queue.
        let holder = Holder::of(peer.connected());
        let Some(place) = connections.ledger.place(holder, clock.boot()) else {
            counts.refused.add();
            accepted.tell(&too_many);
            continue;
        };
        let beginners = place.beginners();
        let endpoint = Arc::new(Limited {
            endpoint: Arc::clone(&endpoint),
            place,
            clock: Arc::clone(&clock),
        });
        let (ended, stop) = (connections.ended(), stop.clone());
        let open = Open::of(&counts);
        under_way.spawn(async move {
            dispatch(
                accepted,
                Arc::new(peer),
                endpoint,
                beginners,
                clock,
                &open,
                stop,
            )
            .await;
            drop(open);
            ended.notify_one();
        });
    }
    drop((listener, heart));
    while under_way.join_next().await.is_some() {}
}

/// A connection as it is counted, until it is dropped.
struct Open(Arc<ListenerCounts>);

impl Open {
    fn of(counts: &Arc<ListenerCounts>) -> Self {
        counts.open.up();
        Self(Arc::clone(counts))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.down();
    }
}

impl Accepted {
    /// Who it is, asked before a byte is read. Nobody where it is somebody from elsewhere.
    fn peer(
        &self,
        listener: &Listener,
        name: &ListenerName,
        witness: &Witness,
    ) -> io::Result<Option<Peer>> {
        match self {
            Self::Unix(stream) => Peer::of_unix(stream, name.clone(), witness).map(Some),
            Self::Tcp(stream, address) => Ok(may_come(address.ip(), listener)
                .then(|| Peer::of_tcp(stream, *address, name.clone(), witness))),
        }
    }

    /// Says one thing to a client that is not listened to, if its socket takes it at once.
    fn tell(&self, answer: &[u8]) {
        // tokio does not know yet that a new socket can be written to.
        let at_once = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let _ = match self {
            Self::Unix(stream) => send(stream, answer, at_once),
            Self::Tcp(stream, _) => send(stream, answer, at_once),
        };
    }
}

/// Whether it may be served there. With `route_localnet` a neighbour reaches 127.0.0.1, from an address of its own. Whoever
/// connects to another of this host's addresses from here comes from that.
fn may_come(peer: IpAddr, listener: &Listener) -> bool {
    if matches!(listener, Listener::Beyond(_)) {
        return true;
    }
    let peer = peer.to_canonical();
    let own = listener.tcp_address().map(|own| own.ip().to_canonical());
    peer.is_loopback() || Some(peer) == own
}

async fn dispatch(
    accepted: Accepted,
    peer: Arc<Peer>,
    endpoint: Arc<dyn Endpoint>,
    beginners: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    open: &Open,
    stop: watch::Receiver<bool>,
) {
    let counts = Arc::clone(&open.0);
    match accepted {
        Accepted::Unix(stream) => {
            connection::serve(stream, peer, endpoint, beginners, clock, counts, stop).await;
        }
        Accepted::Tcp(stream, _) => {
            connection::serve(stream, peer, endpoint, beginners, clock, counts, stop).await;
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
