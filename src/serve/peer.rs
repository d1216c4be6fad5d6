//! The other end of a connection: what was found out about it, and what is found out at each
//! request.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use super::Witness;
use crate::authz::{Caller, ListenerName, Policy, Process, Transport};
use crate::clock::BootInstant;
use crate::os::peer::{self, PeerProcess};

/// For so long a process is what it was when it was last looked at, which costs more than the rest
/// of an answer. What can change in it is of its own or its administrator's making; that it has not
/// ended is seen at each request.
const LOOKED: Duration = Duration::from_millis(100);

/// The other end of a connection, as long as that lasts.
#[derive(Debug)]
pub struct Peer {
    caller: Arc<Caller>,
    process: Option<PeerProcess>,
    seen: Mutex<Option<Seen>>,
}

/// A caller with the facts that a policy wants.
#[derive(Debug)]
struct Seen {
    caller: Arc<Caller>,
    by: Weak<Policy>,
    at: BootInstant,
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
            seen: Mutex::default(),
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
            seen: Mutex::default(),
        }
    }

    pub fn transport(&self) -> Transport {
        self.caller.transport
    }

    /// What was found out when the peer connected.
    pub fn connected(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// Who asks `now`, with the facts that the policy wants: a process may have become another
    /// program since it connected, which is seen within 100 ms. True only if [`Self::is_there`]
    /// afterwards, since only then the process has had its number all the while.
    pub fn caller(&self, policy: &Arc<Policy>, now: BootInstant) -> Arc<Caller> {
        let (Some(process), Some(connected)) = (&self.process, &self.caller.process) else {
            return Arc::clone(&self.caller);
        };
        if !policy.facts().are_of_process() {
            return Arc::clone(&self.caller);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_still = |seen: &&Seen| {
            std::ptr::eq(seen.by.as_ptr(), &raw const **policy) && seen.at.until(now) < LOOKED
        };
        if let Some(seen) = seen.as_ref().filter(is_still) {
            return Arc::clone(&seen.caller);
        }
        let caller = self.look(process, connected, policy);
        *seen = Some(Seen {
            caller: Arc::clone(&caller),
            by: Arc::downgrade(policy),
            at: now,
        });
        caller
    }

    fn look(&self, process: &PeerProcess, connected: &Process, policy: &Policy) -> Arc<Caller> {
        let wanted = policy.facts();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::{Conditions, Opens, Rule};

    fn policy(caller: Conditions) -> Arc<Policy> {
        let rule = Rule {
            name: "it".into(),
            caller,
            opens: Opens::All,
        };
        Arc::new(Policy::new(vec![rule], 1000, Vec::new()))
    }

    #[tokio::test]
    async fn another_policy_sees_what_it_wants_at_once() {
        let (end, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of_unix(&end, ListenerName::unix(), &Witness::default()).unwrap();
        let executable = |policy| {
            let seen = peer.caller(policy, BootInstant::since_boot(Duration::ZERO));
            seen.process.as_ref().unwrap().executable.clone()
        };
        let by_unit = policy(Conditions {
            unit: Some("app.service".into()),
            ..Conditions::default()
        });
        let by_executable = policy(Conditions {
            executable: Some("/usr/bin/app".into()),
            ..Conditions::default()
        });
        assert_eq!(executable(&by_unit), None);
        assert!(executable(&by_executable).is_some());
        assert_eq!(executable(&by_unit), None);
    }
}
