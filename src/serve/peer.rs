//! The other end of a connection: what was found out about it, and what is found out at each
//! request.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpStream, UnixStream};

use super::Witness;
use crate::authz::{Caller, ListenerName, Policy, Process, Transport};
use crate::os::peer::{self, PeerProcess};

/// The other end of a connection, as long as that lasts.
#[derive(Debug)]
pub struct Peer {
    caller: Arc<Caller>,
    process: Option<PeerProcess>,
}

impl Peer {
    /// Asks the kernel, before a byte is read. An error where it cannot tell now: there may be no
    /// descriptor for the process.
    pub fn of_unix(
        stream: &UnixStream,
        listener: ListenerName,
        witness: &Witness,
    ) -> io::Result<Self> {
        let peer = peer::of_unix(stream)?;
        let user = witness.user_on_unix(&peer);
        let process = peer.process.pid.map(|pid| Process {
            pid,
            ..Process::default()
        });
        Ok(Self {
            caller: Arc::new(Caller {
                listener,
                transport: Transport::Unix,
                user,
                process,
            }),
            process: Some(peer.process),
        })
    }

    /// Asks the kernel, once. Somebody of whom nothing is known where it does not tell.
    pub fn of_tcp(
        stream: &TcpStream,
        address: SocketAddr,
        listener: ListenerName,
        witness: &Witness,
    ) -> Self {
        let here = stream.local_addr().ok();
        let found = here.and_then(|here| witness.user_on_tcp(stream, address, here));
        // A connection that is reset leaves its ends to the next one, who may be somebody else.
        let lives = stream.peer_addr().is_ok_and(|peer| peer == address);
        Self::on_tcp(Caller {
            user: found.filter(|_| lives),
            ..unknown(listener)
        })
    }

    /// Somebody of whom nothing is known, for whoever serves without sockets.
    pub fn unknown(listener: ListenerName) -> Self {
        Self::on_tcp(unknown(listener))
    }

    fn on_tcp(caller: Caller) -> Self {
        Self {
            caller: Arc::new(caller),
            process: None,
        }
    }

    pub fn transport(&self) -> Transport {
        self.caller.transport
    }

    /// What was found out when the peer connected.
    pub fn connected(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// Who asks now, with the facts that the policy wants: a process may have become another
    /// program since it connected. True only if [`Self::is_there`] afterwards, since only then the
    /// process has had its number all the while.
    pub fn caller(&self, policy: &Policy) -> Arc<Caller> {
        let wanted = policy.facts();
        let (Some(process), Some(connected)) = (&self.process, &self.caller.process) else {
            return Arc::clone(&self.caller);
        };
        if !wanted.are_of_process() {
            return Arc::clone(&self.caller);
        }
        let executable = wanted
            .executable
            .then(|| process.executable(|path| policy.names_executable(path)));
        let membership = wanted.cgroup.then(|| process.membership());
        let membership = membership.flatten().unwrap_or_default();
        Arc::new(Caller {
            process: Some(Process {
                pid: connected.pid,
                executable: executable.flatten(),
                unit: membership.unit,
                container: membership.container,
            }),
            ..Caller::clone(&self.caller)
        })
    }

    /// Whether the process that connected is still there. True where the kernel does not tell.
    pub fn is_there(&self) -> bool {
        self.process.as_ref().is_none_or(PeerProcess::is_alive)
    }
}

fn unknown(listener: ListenerName) -> Caller {
    Caller {
        listener,
        transport: Transport::Tcp,
        user: None,
        process: None,
    }
}
