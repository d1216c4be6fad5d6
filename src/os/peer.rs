//! The other end of a Unix socket, by the kernel's word.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec};

/// Who had connected, as it was at that moment (`SO_PEERCRED`, unix(7)).
#[derive(Debug)]
pub struct UnixPeer {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups (`SO_PEERGROUPS`).
    pub groups: Arc<[u32]>,
    pub process: PeerProcess,
}

/// A process that cannot be taken for another one that gets its number later.
#[derive(Debug)]
pub struct PeerProcess {
    pub pid: i32,
    /// `SO_PEERPIDFD`; older kernels than Linux 6.5 have none.
    pidfd: Option<OwnedFd>,
}

/// Asks the kernel about a connected Unix socket.
pub fn of_unix(socket: &impl AsFd) -> io::Result<UnixPeer> {
    let credentials = rustix::net::sockopt::socket_peercred(socket)?;
    Ok(UnixPeer {
        uid: credentials.uid.as_raw(),
        gid: credentials.gid.as_raw(),
        groups: Arc::new([]),
        process: PeerProcess {
            pid: credentials.pid.as_raw_nonzero().get(),
            pidfd: None,
        },
    })
}

impl PeerProcess {
    /// Whether it is still there, as far as the kernel can tell.
    pub fn is_alive(&self) -> bool {
        self.pidfd.as_ref().is_none_or(runs)
    }
}

/// A pidfd becomes readable when its process ends (`pidfd_open(2)`).
fn runs(pidfd: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
    let at_once = Timespec::default();
    matches!(rustix::event::poll(&mut polled, Some(&at_once)), Ok(0))
}
