//! The sockets that callers come in by.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::StartError;
use super::folder::Folder;
use super::handover::HandedOver;
use super::runtime_directory::{self, Lock, Passage, RuntimeDirectory};
use super::unusable::Unusable;
use crate::authz::{ListenerName, Policy};
use crate::config::{Config, TokenSettings};
use crate::os::process;
use crate::os::users::{Accounts, HostAccounts};
use crate::serve::{
    self, Access, Admin, Admins, BindError, Connections, Endpoint, Imds, Limits, Listener,
    Monitoring, OwnSocket, Public,
};
use crate::systemd::TcpDoor;

/// Everything that listens, and the locks of what lies outside the runtime directory.
pub(super) struct Doors {
    pub(super) public: Vec<(ListenerName, Listener)>,
    pub(super) imds: Vec<Listener>,
    /// For what monitors credd, and whether it may do so from other hosts.
    pub(super) monitoring: Vec<Listener>,
    pub(super) may_be_monitored_from_beyond: bool,
    pub(super) admin: Listener,
    /// Who is let in there.
    pub(super) admins: Admins,
    pub(super) locks: Vec<Lock>,
}

/// What is behind them.
pub(super) struct Endpoints {
    pub(super) public: Arc<Public>,
    pub(super) imds: Arc<Imds>,
    pub(super) monitoring: Arc<Monitoring>,
    pub(super) admin: Arc<Admin>,
}

/// Who besides root and the daemon's user is let in to the sockets of the runtime directory.
#[derive(Debug, Clone, Copy)]
struct Admitted {
    /// Callers on the public one, whom rules may admit.
    others: bool,
    /// The group of the admin socket.
    admins: Option<u32>,
}

impl Admitted {
    /// Lets those through who have something to seek in the runtime directory: callers, readers of
    /// tokens, and the group of operators where the daemon may do so.
    fn to(
        directory: &RuntimeDirectory,
        config: &Config,
        policy: &Policy,
        handed_over: &HandedOver,
    ) -> Result<Self, Unusable> {
        let owner = process::effective_uid();
        let admitted = Self {
            // Whoever has made the socket has decided who may connect.
            others: handed_over.has_public()
                || policy.may_admit_others(&ListenerName::unix(), owner),
            admins: if handed_over.has_admin() {
                group_of_admins()
            } else {
                let_admins_in(directory)?
            },
        };
        let is_in_it = |socket: &OwnSocket| socket.path.starts_with(directory.path());
        let have_own = config.serve.own_sockets.iter().any(is_in_it);
        directory.let_in(Passage {
            to_sockets: admitted.others || admitted.admins.is_some() || have_own,
            to_tokens: config.tokens.values().any(TokenSettings::lets_others_read),
        })?;
        Ok(admitted)
    }
}

fn group_of_admins() -> Option<u32> {
    const GROUP: &str = "credd-admin";
    HostAccounts.group(GROUP).unwrap_or_else(|error| {
        tracing::warn!(group = GROUP, %error, "cannot look up the group of the admin socket");
        None
    })
}

fn let_admins_in(directory: &RuntimeDirectory) -> Result<Option<u32>, Unusable> {
    let group = group_of_admins();
    match directory.let_in_admins(group) {
        Ok(()) => Ok(group),
        Err(error @ Unusable::Group { .. }) => {
            tracing::info!(%error, "the admin socket is for root and credd's own user only");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl Doors {
    /// Opens them in the order in which a failure does the least harm: the ports, then the names
    /// of the sockets. Those that are handed over are open.
    pub(super) async fn open(
        config: &Config,
        directory: &RuntimeDirectory,
        policy: &Policy,
        mut handed_over: HandedOver,
    ) -> Result<Self, StartError> {
        let admitted = Admitted::to(directory, config, policy, &handed_over)?;
        let config = &config.serve;
        let (mut public, mut locks) = (Vec::new(), Vec::new());
        for address in &config.http {
            let listener = tcp(&mut handed_over, TcpDoor::Http, *address).await?;
            public.push((ListenerName::http(), listener));
        }
        let access = Access {
            mode: if admitted.others { 0o666 } else { 0o600 },
            ..Access::PRIVATE
        };
        let mut imds = Vec::new();
        for address in config.imds.iter().flat_map(|imds| &imds.listen) {
            imds.push(tcp(&mut handed_over, TcpDoor::Imds, *address).await?);
        }
        let mut monitoring = Vec::new();
        for address in &config.metrics.listen {
            monitoring.push(if address.ip().is_loopback() {
                Listener::tcp(*address).await?
            } else {
                Listener::beyond(*address).await?
            });
        }
        // The commands find this one; a config may ask for another besides.
        let found = runtime_directory::public_socket(directory.path());
        let listener = match handed_over.take_unix(&found) {
            Some(listener) => Listener::inherited_unix(listener)?,
            None => Listener::unix(&found, access)?,
        };
        public.push((ListenerName::unix(), listener));
        let mut outside = |name, path: &Path, access| {
            let listener = if let Some(listener) = handed_over.take_unix(path) {
                Listener::inherited_unix(listener)?
            } else {
                locks.push(lock(path)?);
                Listener::unix(path, access)?
            };
            public.push((name, listener));
            Ok::<_, StartError>(())
        };
        if let Some(path) = config.unix.as_ref().filter(|path| **path != found) {
            outside(ListenerName::unix(), path, access)?;
        }
        for socket in &config.own_sockets {
            let access = Access {
                owner: socket.owner,
                group: socket.group,
                mode: socket.mode,
            };
            outside(socket.listener.clone(), &socket.path, access)?;
        }
        let access = Access {
            group: admitted.admins,
            mode: if admitted.admins.is_some() {
                0o660
            } else {
                0o600
            },
            ..Access::PRIVATE
        };
        let path = runtime_directory::admin_socket(directory.path());
        let admin = match handed_over.take_unix(&path) {
            Some(listener) => Listener::inherited_unix(listener)?,
            None => Listener::unix(&path, access)?,
        };
        Ok(Self {
            public,
            imds,
            monitoring,
            may_be_monitored_from_beyond: config.metrics.beyond_this_host,
            admin,
            admins: Admins {
                owner: process::effective_uid(),
                group: admitted.admins,
            },
            locks,
        })
    }

    /// Takes connections from each, by tasks among `listening`, until `stopped` says so. What comes
    /// back keeps other instances off for as long as it lives.
    pub(super) fn attend(
        self,
        listening: &mut JoinSet<()>,
        endpoints: &Endpoints,
        connections: &Arc<Connections>,
        stopped: &watch::Receiver<bool>,
    ) -> Vec<Lock> {
        let Endpoints {
            public,
            imds,
            monitoring,
            admin,
        } = endpoints;
        let mut attend = |listener, name, endpoint: Arc<dyn Endpoint>, connections: &Arc<_>| {
            let (connections, stopped) = (Arc::clone(connections), stopped.clone());
            listening.spawn(serve::serve(listener, name, endpoint, connections, stopped));
        };
        for (name, listener) in self.public {
            attend(listener, name, Arc::clone(public) as _, connections);
        }
        for listener in self.imds {
            attend(
                listener,
                ListenerName::imds(),
                Arc::clone(imds) as _,
                connections,
            );
        }
        // Whoever crowds the public sockets keeps nobody off the admin socket.
        let apart = Arc::new(connections.apart(Limits::default()));
        attend(
            self.admin,
            ListenerName::admin(),
            Arc::clone(admin) as _,
            &apart,
        );
        for listener in self.monitoring {
            listening.spawn(monitoring.serve(listener, connections, stopped.clone()));
        }
        self.locks
    }

    /// The addresses of all TCP sockets.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let public = self.public.iter().map(|(_, listener)| listener);
        let all = public.chain(&self.imds).chain(&self.monitoring);
        all.filter_map(Listener::tcp_address).collect()
    }

    /// Where the HTTP endpoint is, as clients write it.
    pub(super) fn url(&self) -> Option<String> {
        let mut listeners = self.public.iter().map(|(_, listener)| listener);
        let address = listeners.find_map(Listener::tcp_address)?;
        Some(format!("http://{address}"))
    }

    /// The addresses of the listeners for what monitors credd.
    pub(super) fn monitoring(&self) -> Vec<SocketAddr> {
        let all = self.monitoring.iter();
        all.filter_map(Listener::tcp_address).collect()
    }

    /// The addresses of the IMDS endpoint.
    pub(super) fn imds(&self) -> Vec<SocketAddr> {
        self.imds.iter().filter_map(Listener::tcp_address).collect()
    }
}

async fn tcp(
    handed_over: &mut HandedOver,
    door: TcpDoor,
    address: SocketAddr,
) -> Result<Listener, BindError> {
    match handed_over.take_tcp(door, address) {
        Some(listener) => Listener::inherited_tcp(listener),
        None => Listener::tcp(address).await,
    }
}

/// Makes sure that whoever connects to `socket` comes to credd: nobody else can put a socket of
/// their own in its place, and no other instance does.
fn lock(socket: &Path) -> Result<Lock, StartError> {
    if let Some(parent) = socket.parent() {
        Folder::of_socket(parent)?;
    }
    Ok(Lock::of_socket(socket)?)
}
