//! What the service manager hands over: sockets that it holds, each by the name of a door, and
//! descriptors that an earlier run has had it keep.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::environment::Environment;
use crate::os::descriptors;
use crate::os::init;
use crate::os::sock_diag;

/// Who comes in by a TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpDoor {
    /// `FileDescriptorName=http`
    Http,
    /// `FileDescriptorName=imds`
    Imds,
    /// `FileDescriptorName=metrics`
    Metrics,
}

/// Who comes in by a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnixDoor {
    /// `FileDescriptorName=unix`
    Public,
    /// `FileDescriptorName=admin`
    Admin,
    /// `FileDescriptorName=unix-NAME`, for `[serve.unix.NAME]`
    Own(String),
}

/// A socket that listens, and does not make whoever takes connections from it wait.
#[derive(Debug)]
pub struct TcpSocket {
    pub door: TcpDoor,
    pub listener: TcpListener,
    pub address: SocketAddr,
}

/// The same in the file system.
#[derive(Debug)]
pub struct UnixSocket {
    pub door: UnixDoor,
    pub listener: UnixListener,
    pub path: PathBuf,
}

/// Everything that this process was started with.
#[derive(Debug, Default)]
pub struct Inherited {
    pub tcp: Vec<TcpSocket>,
    pub unix: Vec<UnixSocket>,
    /// By which the kernel tells whose a TCP connection is (`FileDescriptorName=sock-diag`).
    pub sock_diag: Option<OwnedFd>,
    stored: Vec<(String, OwnedFd)>,
}

/// Why what is handed over cannot be used.
#[derive(Debug)]
pub enum Unusable {
    /// `$LISTEN_FDS` or `$LISTEN_FDNAMES`.
    Variables(String),
    /// Fewer than `$LISTEN_FDS` says.
    Missing(io::Error),
    /// A socket whose name does not say what it is for.
    Unknown(String),
    /// Not what its name says.
    Other {
        name: String,
        expected: &'static str,
    },
}

impl fmt::Display for Unusable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("cannot use what the service manager hands over: ")?;
        match self {
            Self::Variables(text) => formatter.write_str(text),
            Self::Missing(error) => {
                write!(
                    formatter,
                    "a descriptor of $LISTEN_FDS is not there: {error}"
                )
            }
            Self::Unknown(name) => write!(
                formatter,
                "it calls a socket `{name}`, which credd does not know; say what it is for by \
                 FileDescriptorName= in its .socket unit: `http`, `imds`, `metrics`, `unix`, \
                 `admin`, `sock-diag`, or `unix-NAME` for [serve.unix.NAME]"
            ),
            Self::Other { name, expected } => write!(
                formatter,
                "what it calls `{name}` is not {expected}; correct its Listen…= or \
                 FileDescriptorName= in its .socket unit"
            ),
        }
    }
}

impl std::error::Error for Unusable {}

/// Of sockets and stored descriptors together: more than any unit has.
const MOST: usize = 1024;

impl Inherited {
    /// Takes all that `$LISTEN_FDS` says, if it is meant for this process. To be called once, and
    /// before anything is opened.
    pub fn of(environment: &Environment) -> Result<Self, Unusable> {
        let names = names(environment, init::number_at_start())?;
        if names.is_empty() {
            return Ok(Self::default());
        }
        let descriptors = descriptors::inherit(names.len()).map_err(Unusable::Missing)?;
        Self::sorted(names.into_iter().zip(descriptors))
    }

    /// What earlier runs have had kept by this name, in the order that systemd has it in.
    pub fn take_stored(&mut self, name: &str) -> Vec<OwnedFd> {
        let taken = self.stored.extract_if(.., |(stored, _)| stored == name);
        taken.map(|(_, descriptor)| descriptor).collect()
    }

    /// Whether somebody comes in by a socket at `path` that is handed over.
    pub fn has_socket_at(&self, path: &Path) -> bool {
        self.unix.iter().any(|socket| socket.path == path)
    }

    fn sorted(named: impl Iterator<Item = (String, OwnedFd)>) -> Result<Self, Unusable> {
        let mut inherited = Self::default();
        for (name, descriptor) in named {
            let is_socket = sockopt::socket_type(&descriptor) != Err(Errno::NOTSOCK);
            match (Door::called(&name), is_socket) {
                (Some(Door::Tcp(door)), _) => inherited.tcp.push(tcp(door, descriptor, name)?),
                (Some(Door::Unix(door)), _) => inherited.unix.push(unix(door, descriptor, name)?),
                (None, true) if name == SOCK_DIAG => {
                    inherited.sock_diag = Some(diagnosing(descriptor, name)?);
                }
                (None, true) => return Err(Unusable::Unknown(name)),
                (None, false) => inherited.stored.push((name, descriptor)),
            }
        }
        Ok(inherited)
    }
}

/// One name for each descriptor that is for the process `own`.
fn names(environment: &Environment, own: u32) -> Result<Vec<String>, Unusable> {
    let variable = |name| environment.variable(name);
    // They may be of a parent that did not unset them.
    if variable("LISTEN_PID").and_then(|it| it.parse().ok()) != Some(own) {
        return Ok(Vec::new());
    }
    let Some(count) = variable("LISTEN_FDS") else {
        return Ok(Vec::new());
    };
    let wrong = |text: &str| Unusable::Variables(text.to_owned());
    let count: usize = count
        .parse()
        .ok()
        .filter(|count| *count <= MOST)
        .ok_or_else(|| wrong("$LISTEN_FDS is no number of descriptors"))?;
    let Some(names) = variable("LISTEN_FDNAMES") else {
        // As sd_listen_fds_with_names(3) has it.
        return Ok(vec!["unknown".to_owned(); count]);
    };
    let names: Vec<String> = names.split(':').map(str::to_owned).collect();
    if count > 0 && names.len() != count {
        return Err(wrong(
            "$LISTEN_FDNAMES has not as many names as $LISTEN_FDS says",
        ));
    }
    Ok(names.into_iter().take(count).collect())
}

const SOCK_DIAG: &str = "sock-diag";

fn diagnosing(descriptor: OwnedFd, name: String) -> Result<OwnedFd, Unusable> {
    if sock_diag::is_sock_diag(&descriptor) {
        return Ok(descriptor);
    }
    Err(Unusable::Other {
        name,
        expected: "a netlink socket of the family inet-diag",
    })
}

enum Door {
    Tcp(TcpDoor),
    Unix(UnixDoor),
}

impl Door {
    fn called(name: &str) -> Option<Self> {
        match name {
            "http" => Some(Self::Tcp(TcpDoor::Http)),
            "imds" => Some(Self::Tcp(TcpDoor::Imds)),
            "metrics" => Some(Self::Tcp(TcpDoor::Metrics)),
            "unix" => Some(Self::Unix(UnixDoor::Public)),
            "admin" => Some(Self::Unix(UnixDoor::Admin)),
            _ => name
                .strip_prefix("unix-")
                .map(|own| Self::Unix(UnixDoor::Own(own.to_owned()))),
        }
    }
}

fn tcp(door: TcpDoor, descriptor: OwnedFd, name: String) -> Result<TcpSocket, Unusable> {
    let socket = || {
        let family = sockopt::socket_domain(&descriptor)?;
        if !matches!(family, AddressFamily::INET | AddressFamily::INET6) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        is_listening(&descriptor)?;
        let listener = TcpListener::from(descriptor);
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        io::Result::Ok(TcpSocket {
            door,
            listener,
            address,
        })
    };
    socket().map_err(|_| Unusable::Other {
        name,
        expected: "a TCP socket that listens",
    })
}

fn unix(door: UnixDoor, descriptor: OwnedFd, name: String) -> Result<UnixSocket, Unusable> {
    let socket = || {
        if sockopt::socket_domain(&descriptor)? != AddressFamily::UNIX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        is_listening(&descriptor)?;
        let listener = UnixListener::from(descriptor);
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let path = address.as_pathname().filter(|path| path.is_absolute());
        let path = path.ok_or(io::ErrorKind::InvalidInput)?;
        // The kernel may count the zero at the end.
        let bytes = path.as_os_str().as_bytes();
        let path = Path::new(std::ffi::OsStr::from_bytes(
            bytes.split(|&byte| byte == 0).next().unwrap_or(bytes),
        ));
        io::Result::Ok(UnixSocket {
            door,
            path: path.to_owned(),
            listener,
        })
    };
    socket().map_err(|_| Unusable::Other {
        name,
        expected: "a Unix stream socket that listens, with an absolute path",
    })
}

fn is_listening(descriptor: &OwnedFd) -> io::Result<()> {
    let is_stream = sockopt::socket_type(descriptor)? == SocketType::STREAM;
    if is_stream && sockopt::socket_acceptconn(descriptor)? {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let owned = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        owned.collect()
    }

    fn sorted(name: &str, descriptor: impl Into<OwnedFd>) -> Result<Inherited, Unusable> {
        Inherited::sorted([(name.to_owned(), descriptor.into())].into_iter())
    }

    #[test]
    fn only_what_is_meant_for_this_process_is_taken() {
        let three = [
            ("LISTEN_PID", "7"),
            ("LISTEN_FDS", "3"),
            ("LISTEN_FDNAMES", "http:unix:credd-state"),
        ];
        let taken = names(&environment(&three), 7).unwrap();
        assert_eq!(taken, ["http", "unix", "credd-state"]);
        assert!(names(&environment(&three), 8).unwrap().is_empty());
        assert!(names(&environment(&three[1..]), 7).unwrap().is_empty());
        assert_eq!(names(&environment(&three[..2]), 7).unwrap(), ["unknown"; 3]);
        assert!(names(&environment(&three[..1]), 7).unwrap().is_empty());
        let none = [("LISTEN_PID", "7"), ("LISTEN_FDS", "0")];
        assert!(names(&environment(&none), 7).unwrap().is_empty());
    }

    #[test]
    fn variables_that_make_no_sense_are_refused() {
        for (count, called) in [
            ("-1", ""),
            ("three", ""),
            ("1025", ""),
            ("18446744073709551616", ""),
            ("2", "http"),
            ("1", "http:unix"),
        ] {
            let variables = [
                ("LISTEN_PID", "7"),
                ("LISTEN_FDS", count),
                ("LISTEN_FDNAMES", called),
            ];
            let error = names(&environment(&variables), 7).unwrap_err();
            assert!(matches!(error, Unusable::Variables(_)), "{count} {error}");
        }
    }

    #[test]
    fn a_socket_is_what_its_name_says() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, door) in [
            ("http", TcpDoor::Http),
            ("imds", TcpDoor::Imds),
            ("metrics", TcpDoor::Metrics),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let inherited = sorted(name, listener).unwrap();
            let [socket] = &inherited.tcp[..] else {
                panic!("{inherited:?}");
            };
            assert_eq!((socket.door, socket.address), (door, address));
            let error = socket.listener.accept().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
        for (name, door) in [
            ("unix", UnixDoor::Public),
            ("admin", UnixDoor::Admin),
            ("unix-app", UnixDoor::Own("app".to_owned())),
        ] {
            let listener = UnixListener::bind(at(name)).unwrap();
            let inherited = sorted(name, listener).unwrap();
            let [socket] = &inherited.unix[..] else {
                panic!("{inherited:?}");
            };
            assert_eq!((&socket.door, &socket.path), (&door, &at(name)));
            assert!(inherited.has_socket_at(&at(name)));
            assert!(!inherited.has_socket_at(&at("other")));
        }
    }

    #[test]
    fn what_is_not_what_its_name_says_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listening = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let connected = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            OwnedFd::from(std::net::TcpStream::connect(address).unwrap())
        };
        let file = || OwnedFd::from(tempfile::tempfile().unwrap());
        let nameless = || {
            use std::os::linux::net::SocketAddrExt;
            let name = format!("credd{}", folder.path().display());
            let name = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
            OwnedFd::from(UnixListener::bind_addr(&name).unwrap())
        };
        let by_path = OwnedFd::from(UnixListener::bind(&path).unwrap());
        for (name, descriptor) in [
            ("http", by_path),
            ("http", connected()),
            ("http", file()),
            ("imds", OwnedFd::from(UnixDatagram::unbound().unwrap())),
            ("unix", listening()),
            ("admin", file()),
            ("unix", nameless()),
            ("unix-app", connected()),
        ] {
            let error = sorted(name, descriptor).unwrap_err();
            assert!(matches!(&error, Unusable::Other { name: it, .. } if it == name));
        }
        // A unit without FileDescriptorName= has its sockets called as itself.
        let error = sorted("credd.socket", listening()).unwrap_err();
        assert!(error.to_string().contains("FileDescriptorName="), "{error}");
    }

    #[test]
    fn what_was_stored_is_found_by_its_name_once() {
        let stored = ["a", "b", "a"].map(|name| {
            let file = OwnedFd::from(tempfile::tempfile().unwrap());
            (name.to_owned(), file)
        });
        let mut inherited = Inherited::sorted(stored.into_iter()).unwrap();
        assert_eq!(inherited.take_stored("a").len(), 2);
        assert!(inherited.take_stored("a").is_empty());
        assert_eq!(inherited.take_stored("b").len(), 1);
    }
}
