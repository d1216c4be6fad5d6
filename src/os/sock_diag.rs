//! Who owns the other end of a TCP connection within this host, by the kernel's word (`sock_diag(7)`).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrAny, SocketFlags, SocketType, sockopt,
};

use super::socket_option;

/// Asks about one socket at a time. The kernel answers while it takes the question, so that nobody
/// waits for it.
#[derive(Debug)]
pub struct SocketOwners {
    kernel: OwnedFd,
    /// Whose sockets the kernel is asked about.
    network: Option<Network>,
    /// Of the last question.
    sequence: Mutex<u32>,
}

/// A network namespace, by the kernel's number for it (`SO_NETNS_COOKIE`, Linux 5.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network([u32; 2]);

/// The two ends of a connection, as the socket that is asked about has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// What the kernel sends.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The uid of the established socket that was asked for.
    Owner(u32),
    /// There is none, or none that is still somebody's.
    Nobody,
    Failed(Errno),
    /// To an earlier question, or nothing that can be understood.
    Other,
}

impl SocketOwners {
    /// Fails where netlink sockets are not allowed.
    pub fn open() -> io::Result<Self> {
        let kernel = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(SOCK_DIAG),
        )?;
        Self::asking(kernel)
    }

    /// By a socket that the service manager has opened: whoever may open none need not, and it is
    /// of the manager's network. Fails for what is no such socket.
    pub fn handed(kernel: OwnedFd) -> io::Result<Self> {
        if !is_sock_diag(&kernel) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        rustix::io::ioctl_fionbio(&kernel, true)?;
        // An earlier run may have ended between a question and its answer.
        let mut answer = [0; LONGEST_ANSWER];
        for _ in 0..LEFT_ANSWERS {
            match rustix::net::recv(&kernel, &mut answer, RecvFlags::DONTWAIT) {
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(_) => break,
            }
        }
        Self::asking(kernel)
    }

    fn asking(kernel: OwnedFd) -> io::Result<Self> {
        rustix::net::connect(&kernel, &KERNEL)?;
        Ok(Self {
            network: Network::of(&kernel),
            kernel,
            sequence: Mutex::new(0),
        })
    }

    /// Whether the kernel is asked about the network that `socket` is of: in another one, the same
    /// ends may be somebody else's. Kernels that cannot tell are taken at the operator's word.
    pub fn know_of(&self, socket: &impl AsFd) -> bool {
        self.network == Network::of(socket)
    }

    /// The user whose established socket has these ends. One that is bound to an interface is
    /// nobody's, as is one that was closed or half closed: what the kernel remembers of those
    /// (`TIME_WAIT`, orphans) belongs to uid 0.
    pub fn owner(&self, ends: Ends) -> io::Result<Option<u32>> {
        let mut sequence = self.sequence.lock().unwrap_or_else(PoisonError::into_inner);
        *sequence = sequence.wrapping_add(1);
        let Some(question) = question(ends, *sequence) else {
            return Ok(None);
        };
        rustix::net::send(&self.kernel, &question, SendFlags::empty())?;
        let mut buffer = [0; LONGEST_ANSWER];
        for _ in 0..ANSWERS {
            let (length, sender) = self.receive(&mut buffer)?;
            let is_the_kernels = sender
                .and_then(|sender| SocketAddrNetlink::try_from(sender).ok())
                .is_some_and(|sender| sender.pid() == KERNEL.pid());
            let received = buffer.get(..length).filter(|_| is_the_kernels);
            match received.map_or(Answer::Other, |it| read(it, *sequence, ends)) {
                Answer::Owner(uid) => return Ok(Some(uid)),
                Answer::Nobody => return Ok(None),
                Answer::Failed(errno) => return Err(errno.into()),
                Answer::Other => {}
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    /// How much was received, and from whom.
    fn receive(&self, buffer: &mut [u8]) -> rustix::io::Result<(usize, Option<SocketAddrAny>)> {
        let mut receive = || {
            let received = rustix::net::recvfrom(&self.kernel, &mut *buffer, RecvFlags::empty());
            received.map(|(length, _, sender)| (length, sender))
        };
        match receive() {
            Err(Errno::AGAIN) => {
                let mut polled = [PollFd::new(&self.kernel, PollFlags::IN)];
                retry_on_intr(|| rustix::event::poll(&mut polled, Some(&PATIENCE)))?;
                receive()
            }
            outcome => outcome,
        }
    }
}

/// Whether that is what [`SocketOwners`] ask by.
pub fn is_sock_diag(socket: &impl AsFd) -> bool {
    sockopt::socket_domain(socket) == Ok(AddressFamily::NETLINK)
        && sockopt::socket_protocol(socket) == Ok(Some(SOCK_DIAG))
}

impl Network {
    fn of(socket: &impl AsFd) -> Option<Self> {
        let mut cookie = [0; 2];
        let words = socket_option::read(socket, libc::SO_NETNS_COOKIE, &mut cookie).ok()?;
        (words == cookie.len()).then_some(Self(cookie))
    }
}

const KERNEL: SocketAddrNetlink = SocketAddrNetlink::new(0, 0);

/// With every attribute that a kernel adds unasked; longer ones are cut.
const LONGEST_ANSWER: usize = 1024;

/// The answer, and some to questions that were given up.
const ANSWERS: usize = 8;

/// More than a socket's buffer holds.
const LEFT_ANSWERS: usize = 4096;

/// The answer is there already; this is for a kernel that does as none has.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

// The numbers and layouts of linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h. All are in
// the host's byte order but ports and addresses.

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
/// `struct nlmsghdr`
const HEADER: usize = 16;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const TCP_ESTABLISHED: u8 = 1;
const INET_DIAG_NOCOOKIE: [u8; 8] = [0xff; 8];

/// `struct nlmsghdr` and `struct inet_diag_req_v2`
const QUESTION: usize = HEADER + 56;

/// The one socket that has exactly these ends; none if they are of different families.
fn question(ends: Ends, sequence: u32) -> Option<[u8; QUESTION]> {
    let (local, remote) = (
        ends.local.ip().to_canonical(),
        ends.remote.ip().to_canonical(),
    );
    let (family, source, destination) = match (local, remote) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            (AF_INET, widened(local.octets()), widened(remote.octets()))
        }
        (IpAddr::V6(local), IpAddr::V6(remote)) => (AF_INET6, local.octets(), remote.octets()),
        _ => return None,
    };
    let mut writer = Writer::default();
    writer.put(&u32::try_from(QUESTION).ok()?.to_ne_bytes());
    writer.put(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    writer.put(&NLM_F_REQUEST.to_ne_bytes());
    writer.put(&sequence.to_ne_bytes());
    writer.put(&[0; 4]); // from whom: the kernel knows
    writer.put(&[family, IPPROTO_TCP, 0, 0]); // no extensions
    writer.put(&[0; 4]); // states: only dumps heed them
    writer.put(&ends.local.port().to_be_bytes());
    writer.put(&ends.remote.port().to_be_bytes());
    writer.put(&source);
    writer.put(&destination);
    writer.put(&[0; 4]); // bound to no interface
    writer.put(&INET_DIAG_NOCOOKIE);
    writer.whole()
}

/// An IPv4 address is the first of four words.
fn widened(octets: [u8; 4]) -> [u8; 16] {
    let mut wide = [0; 16];
    for (wide, octet) in wide.iter_mut().zip(octets) {
        *wide = octet;
    }
    wide
}

/// Reads an answer to the question of that number about the socket with these ends.
pub fn read(answer: &[u8], sequence: u32, ends: Ends) -> Answer {
    read_whole(answer, sequence, ends).unwrap_or(Answer::Other)
}

fn read_whole(answer: &[u8], sequence: u32, ends: Ends) -> Option<Answer> {
    let mut reader = Reader(answer);
    let length = usize::try_from(reader.word()?).ok()?;
    let [kind, _flags] = [reader.half()?, reader.half()?];
    if reader.word()? != sequence || length > answer.len() {
        return None;
    }
    let _to = reader.word()?;
    let mut reader = Reader(answer.get(HEADER..length)?);
    match kind {
        NLMSG_ERROR => Some(match -reader.word()?.cast_signed() {
            NO_ENTRY => Answer::Nobody,
            errno => Answer::Failed(Errno::from_raw_os_error(errno)),
        }),
        SOCK_DIAG_BY_FAMILY => {
            let socket = Socket::read(&mut reader)?;
            let is_meant = socket.has(ends.local, &socket.source, socket.source_port)
                && socket.has(ends.remote, &socket.destination, socket.destination_port);
            let is_somebodys = socket.state == TCP_ESTABLISHED && socket.inode != 0;
            Some(if is_meant && is_somebodys {
                Answer::Owner(socket.uid)
            } else {
                Answer::Nobody
            })
        }
        _ => None,
    }
}

/// `ENOENT`: there is no such socket.
const NO_ENTRY: i32 = Errno::NOENT.raw_os_error();

/// `struct inet_diag_msg`
struct Socket {
    family: u8,
    state: u8,
    source_port: u16,
    destination_port: u16,
    source: [u8; 16],
    destination: [u8; 16],
    uid: u32,
    inode: u32,
}

impl Socket {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let [family, state, _timer, _retransmissions] = reader.take()?;
        let (source_port, destination_port) = (reader.port()?, reader.port()?);
        let (source, destination) = (reader.take()?, reader.take()?);
        let [_interface, _cookie, _cookie_too] = [reader.word()?, reader.word()?, reader.word()?];
        let [_expires, _receiving, _sending] = [reader.word()?, reader.word()?, reader.word()?];
        Some(Self {
            family,
            state,
            source_port,
            destination_port,
            source,
            destination,
            uid: reader.word()?,
            inode: reader.word()?,
        })
    }

    /// An IPv6 socket may be at a mapped IPv4 address.
    fn has(&self, end: SocketAddr, address: &[u8; 16], port: u16) -> bool {
        let found: Option<IpAddr> = match self.family {
            AF_INET => Reader(address).take::<4>().map(IpAddr::from),
            AF_INET6 => Some(IpAddr::from(*address).to_canonical()),
            _ => None,
        };
        found == Some(end.ip().to_canonical()) && port == end.port()
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn word(&mut self) -> Option<u32> {
        self.take().map(u32::from_ne_bytes)
    }

    fn half(&mut self) -> Option<u16> {
        self.take().map(u16::from_ne_bytes)
    }

    fn port(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn whole<const N: usize>(self) -> Option<[u8; N]> {
        self.0.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use proptest::prelude::*;

    use super::*;

    fn ends(local: &str, remote: &str) -> Ends {
        Ends {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        }
    }

    fn of(client: &TcpStream) -> Ends {
        Ends {
            local: client.local_addr().unwrap(),
            remote: client.peer_addr().unwrap(),
        }
    }

    /// An answer about an IPv4 socket.
    fn answer(state: u8, uid: u32, inode: u32) -> Vec<u8> {
        let mut answer = Writer::default();
        answer.put(&88_u32.to_ne_bytes());
        answer.put(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        answer.put(&0_u16.to_ne_bytes());
        answer.put(&7_u32.to_ne_bytes());
        answer.put(&[0; 4]);
        answer.put(&[AF_INET, state, 0, 0]);
        answer.put(&1000_u16.to_be_bytes());
        answer.put(&80_u16.to_be_bytes());
        answer.put(&widened([127, 0, 0, 1]));
        answer.put(&widened([127, 0, 0, 2]));
        answer.put(&[0; 24]);
        answer.put(&uid.to_ne_bytes());
        answer.put(&inode.to_ne_bytes());
        answer.0
    }

    #[test]
    fn only_an_established_socket_that_is_somebodys_has_an_owner() {
        let asked = ends("127.0.0.1:1000", "127.0.0.2:80");
        assert_eq!(read(&answer(1, 33, 5), 7, asked), Answer::Owner(33));
        // FIN_WAIT1 and 2, TIME_WAIT, CLOSE_WAIT, LISTEN, NEW_SYN_RECV and whatever else there is.
        for state in (0..=u8::MAX).filter(|state| *state != 1) {
            assert_eq!(read(&answer(state, 0, 5), 7, asked), Answer::Nobody);
        }
        assert_eq!(read(&answer(1, 0, 0), 7, asked), Answer::Nobody);
        assert_eq!(read(&answer(1, 33, 5), 8, asked), Answer::Other);
        for other in [
            ends("127.0.0.1:1001", "127.0.0.2:80"),
            ends("127.0.0.1:1000", "127.0.0.2:81"),
            ends("127.0.0.3:1000", "127.0.0.2:80"),
            ends("127.0.0.1:1000", "127.0.0.3:80"),
            ends("127.0.0.2:80", "127.0.0.1:1000"),
            ends("[::1]:1000", "[::1]:80"),
        ] {
            assert_eq!(read(&answer(1, 33, 5), 7, other), Answer::Nobody);
        }
        let mapped = ends("[::ffff:127.0.0.1]:1000", "[::ffff:127.0.0.2]:80");
        assert_eq!(read(&answer(1, 33, 5), 7, mapped), Answer::Owner(33));
    }

    #[test]
    fn by_a_socket_that_is_handed_over_nothing_is_heard_that_an_earlier_run_has_asked() {
        let socket = || {
            let flags = SocketFlags::CLOEXEC;
            rustix::net::socket_with(
                AddressFamily::NETLINK,
                SocketType::RAW,
                flags,
                Some(SOCK_DIAG),
            )
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let kernel = socket().unwrap();
        rustix::net::connect(&kernel, &KERNEL).unwrap();
        let gone = Ends {
            remote: "127.0.0.1:1".parse().unwrap(),
            ..of(&client)
        };
        // More than the socket has room for, each with the number of a question to come.
        for sequence in 1..10_000 {
            let question = question(gone, sequence).unwrap();
            rustix::net::send(&kernel, &question, SendFlags::empty()).unwrap();
        }
        let owners = SocketOwners::handed(kernel).unwrap();
        let own = Some(super::super::process::effective_uid());
        for _ in 0..10 {
            assert_eq!(owners.owner(of(&client)).unwrap(), own);
        }
        assert!(owners.know_of(&client));

        assert!(SocketOwners::handed(client.into()).is_err());
        let other = |kind, protocol| {
            let flags = SocketFlags::empty();
            let socket = rustix::net::socket_with(AddressFamily::NETLINK, kind, flags, protocol);
            SocketOwners::handed(socket.unwrap()).is_err()
        };
        assert!(other(SocketType::RAW, None), "rtnetlink");
    }

    #[test]
    fn connections_of_another_network_are_not_asked_about() {
        use rustix::thread::{UnshareFlags, unshare_unsafe};

        let owners = SocketOwners::open().unwrap();
        let elsewhere = std::thread::spawn(|| {
            let flags = UnshareFlags::NEWNET;
            #[expect(
                unsafe_code,
                reason = "a thread may leave what it shares with no descriptors"
            )]
            // SAFETY: descriptors and memory stay shared.
            unsafe { unshare_unsafe(flags) }.ok()?;
            TcpListener::bind("0.0.0.0:0").ok()
        });
        let Some(elsewhere) = elsewhere.join().unwrap() else {
            return; // not root
        };
        assert!(!owners.know_of(&elsewhere));
        assert!(owners.know_of(&TcpListener::bind("127.0.0.1:0").unwrap()));
    }

    #[test]
    fn the_kernel_knows_whose_sockets_these_are() {
        let owners = SocketOwners::open().unwrap();
        let own = Some(super::super::process::effective_uid());
        for address in ["127.0.0.1:0", "127.3.2.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue; // no IPv6 here
            };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            let asked = of(&client);
            assert_eq!(owners.owner(asked).unwrap(), own, "{address}");
            let half_closed = client.shutdown(std::net::Shutdown::Write);
            half_closed.unwrap();
            assert_eq!(owners.owner(asked).unwrap(), None, "FIN_WAIT2");
            drop(client);
            assert_eq!(owners.owner(asked).unwrap(), None, "an orphan");
            drop(server);
            assert_eq!(owners.owner(asked).unwrap(), None, "TIME_WAIT");
            // A lookup that finds no connection goes on to listeners.
            let at_listener = Ends {
                local: listener.local_addr().unwrap(),
                remote: "127.0.0.1:1".parse().unwrap(),
            };
            assert_eq!(owners.owner(at_listener).unwrap(), None, "LISTEN");
        }
        let families = ends("127.0.0.1:1", "[::1]:1");
        assert_eq!(owners.owner(families).unwrap(), None);
    }

    #[test]
    fn an_ipv6_socket_at_an_ipv4_address_is_found() {
        let owners = SocketOwners::open().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let Ok(client) = TcpStream::connect(format!("[::ffff:127.0.0.1]:{port}")) else {
            return; // no IPv6 here
        };
        let (server, address) = listener.accept().unwrap();
        let asked = Ends {
            local: address,
            remote: server.local_addr().unwrap(),
        };
        let own = super::super::process::effective_uid();
        assert_eq!(owners.owner(asked).unwrap(), Some(own));
        assert_eq!(owners.owner(of(&client)).unwrap(), Some(own));
    }

    proptest! {
        #[test]
        fn whatever_is_received_is_read(
            received in prop::collection::vec(any::<u8>(), 0..200),
            (at, bytes) in (0..88_usize, any::<[u8; 4]>()),
            length in 0..=88_usize,
        ) {
            let asked = ends("127.0.0.1:1000", "127.0.0.2:80");
            let _ = read(&received, 7, asked);
            let mut changed = answer(1, 33, 5);
            for (place, byte) in changed.iter_mut().skip(at).zip(bytes) {
                *place = byte;
            }
            let _ = read(&changed, 7, asked);
            let cut = answer(1, 33, 5);
            let whole = length == cut.len();
            let read = read(&cut[..length], 7, asked);
            prop_assert_eq!(read == Answer::Owner(33), whole);
        }

        /// Nothing is taken for an owner but by a message of that kind about these ends.
        #[test]
        fn what_makes_an_owner_is_exact(at in 0..80_usize, byte in any::<u8>()) {
            let asked = ends("127.0.0.1:1000", "127.0.0.2:80");
            let original = answer(1, 33, 5);
            let mut changed = original.clone();
            changed[at] = byte;
            // Flags, the receiver, timers, the rest of IPv4 addresses, interface, cookie, queues.
            let is_of_no_account = matches!(at, 6..8 | 12..16 | 18..20 | 28..40 | 44..80);
            let expected = original == changed || is_of_no_account;
            prop_assert_eq!(read(&changed, 7, asked) == Answer::Owner(33), expected);
        }
    }
}
