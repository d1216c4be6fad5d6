//! What the kernel tells about callers, and whether that is enough for a policy.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use crate::authz::{Rule, User};
use crate::os::peer::{self, UnixPeer};
use crate::os::process;
use crate::os::sock_diag::{Ends, SocketOwners};
use crate::os::users::{Accounts, HostAccounts, Overflow};

/// The kernel's word about callers.
#[derive(Debug)]
pub struct Witness {
    overflow: Overflow,
    /// Absent where netlink sockets are not allowed.
    owners: Option<SocketOwners>,
}

impl Default for Witness {
    fn default() -> Self {
        Self::asking_by(None)
    }
}

impl Witness {
    /// Asks about TCP by the socket that is handed over, or by its own.
    pub fn asking_by(handed: Option<OwnedFd>) -> Self {
        let owners = match handed {
            Some(socket) => SocketOwners::handed(socket),
            None => SocketOwners::open(),
        };
        let owners = owners.inspect_err(|error| {
            tracing::debug!(%error, "the users of TCP connections are not known");
        });
        Self {
            overflow: HostAccounts.overflow(),
            owners: owners.ok(),
        }
    }

    /// The user at the other end of a Unix socket.
    pub(super) fn user_on_unix(&self, peer: &UnixPeer) -> Option<User> {
        let groups = peer.groups.iter().copied();
        self.overflow.is_user(peer.uid).then(|| User {
            uid: peer.uid,
            gid: Some(peer.gid).filter(|gid| self.overflow.is_group(*gid)),
            groups: groups.filter(|it| self.overflow.is_group(*it)).collect(),
        })
    }

    /// The owner of the client's end of the connection `stream`, which is asked about by the ends
    /// that it has on this side.
    ///
    /// While the connection lives on this side, which the caller must look at *afterwards*, no
    /// other socket can have been established with the same ends: what is found is the client.
    pub(super) fn user_on_tcp(
        &self,
        stream: &impl AsFd,
        client: SocketAddr,
        here: SocketAddr,
    ) -> Option<User> {
        let ends = Ends {
            local: client,
            remote: here,
        };
        let owners = self.owners.as_ref().filter(|it| it.know_of(stream))?;
        let owner = owners.owner(ends);
        let owner = owner.inspect_err(|error| {
            tracing::debug!(%error, "cannot find out whose connection it is");
        });
        let uid = owner.ok()?.filter(|uid| self.overflow.is_user(*uid))?;
        Some(User {
            uid,
            gid: None,
            groups: [].into(),
        })
    }

    /// Whether `rules` can be judged here, by trying: a rule that never matches would be found out
    /// by whoever is denied. `tcp` are the addresses that are listened on.
    pub fn suffices_for(&self, rules: &[Rule], tcp: &[IpAddr]) -> Result<(), Untold> {
        let own = process::effective_uid();
        let is_any = |is_meant: fn(&Rule) -> bool| rules.iter().any(is_meant);
        if let Some(address) = tcp.first()
            && is_any(|rule| rule.caller.facts().tcp_user)
        {
            self.knows_own_connection(*address, own)
                .map_err(Untold::SocketOwners)?;
        }
        if !is_any(|rule| rule.caller.facts().are_of_process()) {
            return Ok(());
        }
        if !peer::are_processes_known() {
            return Err(Untold::Processes);
        }
        // Of its own user's processes, a daemon may know everything.
        let is_of_others = |rule: &&Rule| rule.caller.user != Some(own);
        let mut by_executable = rules.iter().filter(|rule| rule.caller.facts().executable);
        if by_executable.clone().next().is_some() {
            peer::see_executables(by_executable.any(|rule| is_of_others(&rule)))
                .map_err(Untold::Executables)?;
        }
        let mut by_cgroup = rules.iter().filter(|rule| rule.caller.facts().cgroup);
        if by_cgroup.clone().next().is_some() {
            peer::see_cgroups(by_cgroup.any(|rule| is_of_others(&rule)))
                .map_err(Untold::Cgroups)?;
        }
        Ok(())
    }

    /// Connects to itself, and asks who that was. Not by the address itself, which may not be there
    /// yet: whoever listens on it says so.
    fn knows_own_connection(&self, address: IpAddr, own: u32) -> io::Result<()> {
        let loopback = match address {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
        };
        let listener = TcpListener::bind((loopback, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let ends = Ends {
            local: client.local_addr()?,
            remote: client.peer_addr()?,
        };
        let owners = match &self.owners {
            Some(owners) => owners,
            None => &SocketOwners::open()?, // for its error
        };
        match owners.owner(ends)? {
            Some(uid) if uid == own => Ok(()),
            Some(uid) => Err(io::Error::other(format!(
                "it takes uid {uid} for the owner of a connection that uid {own} has made"
            ))),
            None => Err(io::Error::other(
                "it does not find a connection that was just made",
            )),
        }
    }
}

/// What the rules need to be told about callers, and are not told here.
#[derive(Debug)]
pub enum Untold {
    /// Whose a TCP connection is.
    SocketOwners(io::Error),
    /// Which process is at the other end of a Unix socket.
    Processes,
    Executables(io::Error),
    Cgroups(io::Error),
}

impl fmt::Display for Untold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SocketOwners(cause) => write!(
                formatter,
                "there are rules about users on TCP, and the kernel does not say who is connected \
                 ({cause}); with systemd, start credd-diag.socket, or else allow netlink sockets \
                 (`AF_NETLINK` in RestrictAddressFamilies= of the unit), or take `user` out of rules with `token` or `tcp`"
            ),
            Self::Processes => formatter.write_str(
                "there are rules by executable, unit or container, and this kernel does not say \
                 which process is connected: that takes Linux 6.5; until then, use rules by user \
                 and group",
            ),
            Self::Executables(cause) => write!(
                formatter,
                "there are rules by executable, and what other users run cannot be seen \
                 ({cause}); that takes /proc and the capability CAP_SYS_PTRACE: with systemd, the \
                 drop-in systemd/drop-ins/executables.conf"
            ),
            Self::Cgroups(cause) => write!(
                formatter,
                "there are rules by unit or container, and the control groups of other users' \
                 processes cannot be seen ({cause}); that takes a /proc without hidepid: with \
                 systemd, the drop-in systemd/drop-ins/units.conf"
            ),
        }
    }
}

impl std::error::Error for Untold {}
