//! Whoever asks, as far as the kernel proves it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// What a caller has come in by: `unix`, `http`, `imds`, or the name of a socket of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListenerName {
    name: Arc<str>,
    is_own: bool,
}

impl ListenerName {
    /// The public Unix sockets: `credd.sock`, and that of `[serve.unix]`.
    pub fn unix() -> Self {
        Self::common("unix")
    }

    pub fn http() -> Self {
        Self::common("http")
    }

    pub fn imds() -> Self {
        Self::common("imds")
    }

    pub fn admin() -> Self {
        Self::common("admin")
    }

    /// Of what monitors credd.
    pub fn metrics() -> Self {
        Self::common("metrics")
    }

    /// The socket of `[serve.unix.NAME]`. Only rules that name it hold there, so that whoever gets
    /// to it gets what it is for, and nothing else.
    pub fn own(name: &str) -> Self {
        Self {
            name: name.into(),
            is_own: true,
        }
    }

    fn common(name: &str) -> Self {
        Self {
            name: name.into(),
            is_own: false,
        }
    }

    pub fn as_str(&self) -> &str {
        &self.name
    }

    pub(super) fn is_own(&self) -> bool {
        self.is_own
    }
}

impl fmt::Display for ListenerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

/// How a caller is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Unix,
    /// Loopback TCP, on which anybody may come, and on behalf of anybody.
    Tcp,
}

/// Whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub listener: ListenerName,
    pub transport: Transport,
    /// `None` where the kernel does not tell, and for a user whom this user namespace has no
    /// number for.
    pub user: Option<User>,
    /// On a Unix socket only.
    pub process: Option<Process>,
}

/// The owner of a caller's socket, at the moment of connecting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    /// Unknown on TCP, as are the groups.
    pub gid: Option<u32>,
    /// Supplementary groups.
    pub groups: Arc<[u32]>,
}

impl User {
    pub fn is_in(&self, group: u32) -> bool {
        self.gid == Some(group) || self.groups.contains(&group)
    }
}

/// What a caller's process is, for rules that need it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    /// For a script, its interpreter. Whoever runs a program can have it do anything, by
    /// `LD_PRELOAD` say: this tells apart the programs of a user who means no harm.
    pub executable: Option<PathBuf>,
    /// Of the system's service manager: `app.service`, and `user@UID.service` for all that a
    /// user's own manager runs.
    pub unit: Option<Arc<str>>,
    /// The id that the container engine has given, in full.
    pub container: Option<Arc<str>>,
}

/// What must be found out about callers, beyond what every connection tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// The owner of a client's TCP socket.
    pub tcp_user: bool,
    pub executable: bool,
    /// The unit or the container.
    pub cgroup: bool,
}

impl Facts {
    /// Whether they are those of a process, as it is at each request.
    pub fn are_of_process(self) -> bool {
        self.executable || self.cgroup
    }
}
