//! The other end of a connection: what was found out about it, and what is found out at each
//! request.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpStream, UnixStream};

use crate::authz::{Caller, Facts, ListenerName, Process, Transport, User};
use crate::os::peer::{self, PeerProcess};

/// The other end of a connection, as long as that lasts.
#[derive(Debug)]
pub struct Peer {
    caller: Arc<Caller>,
    process: Option<PeerProcess>,
}

impl Peer {
    /// Asks the kernel, before a byte is read. Nobody where it does not tell.
    pub(super) fn of_unix(stream: &UnixStream, listener: ListenerName) -> Option<Self> {
        let peer = peer::of_unix(stream).ok()?;
        let user = User {
            uid: peer.uid,
            gid: Some(peer.gid),
            groups: peer.groups,
        };
        let process = Process {
            pid: peer.process.pid,
            ..Process::default()
        };
        Some(Self {
            caller: Arc::new(Caller {
                listener,
                transport: Transport::Unix,
                user: Some(user),
                process: Some(process),
            }),
            process: Some(peer.process),
        })
    }

    pub(super) fn of_tcp(
        _stream: &TcpStream,
        _address: SocketAddr,
        listener: ListenerName,
    ) -> Self {
        Self {
            caller: Arc::new(Caller {
                listener,
                transport: Transport::Tcp,
                user: None,
                process: None,
            }),
            process: None,
        }
    }

    /// Somebody of whom nothing is known, for whoever serves without sockets.
    pub fn unknown(listener: ListenerName) -> Self {
        Self {
            caller: Arc::new(Caller {
                listener,
                transport: Transport::Tcp,
                user: None,
                process: None,
            }),
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

    /// Who asks now, with the facts that are wanted: a process may have become another program
    /// since it connected.
    pub fn caller(&self, _wanted: Facts) -> Arc<Caller> {
        Arc::clone(&self.caller)
    }

    /// Whether the process that connected is still there. True where the kernel does not tell.
    pub fn is_there(&self) -> bool {
        self.process.as_ref().is_none_or(PeerProcess::is_alive)
    }
}
