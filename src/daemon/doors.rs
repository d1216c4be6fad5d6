//! The sockets that callers come in by.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::StartError;
use super::folder::Folder;
use super::handover::HandedOver;
use super::runtime_directory::{self, Lock, Passage, RuntimeDirectory};
use super::unusable::Unusable;
use crate::api::ListenerChanges;
use crate::authz::{ListenerName, Policy, TokenName};
use crate::config::TokenSettings;
use crate::os::process;
use crate::os::users::{Accounts, HostAccounts};
use crate::serve::{
    self, Access, Admin, BindError, Config, Connections, Imds, Limits, Listener, Monitoring,
    OwnSocket, Public, Site,
};
use crate::state;

/// Everything that listens.
#[derive(Default)]
pub(super) struct Doors {
    open: Vec<Door>,
    serving: JoinSet<()>,
}

/// One socket, and whoever takes connections from it for as long as this lives.
struct Door {
    wanted: Wanted,
    listener: Arc<Listener>,
    /// Of what lies outside the runtime directory.
    lock: Option<Arc<Lock>>,
    /// Ends the taking of connections when dropped.
    serving: Option<watch::Sender<bool>>,
}

/// A socket as the config has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    name: ListenerName,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Tcp {
        /// As written: any port stays the one that it became.
        address: SocketAddr,
        /// Whether other hosts reach it, where that is not loopback.
        is_beyond: bool,
    },
    Unix {
        path: PathBuf,
        access: Access,
        /// Whether it lies where others may have sockets, too.
        is_outside: bool,
    },
}

impl Place {
    fn is_where(&self, other: &Self) -> bool {
        match (self, other) {
            // Who reaches a socket is decided as it is bound.
            (Self::Tcp { .. }, Self::Tcp { .. }) => self == other,
            (Self::Unix { path: one, .. }, Self::Unix { path: other, .. }) => one == other,
            (Self::Tcp { .. }, Self::Unix { .. }) | (Self::Unix { .. }, Self::Tcp { .. }) => false,
        }
    }
}

/// `http 127.0.0.1:9169`
impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_str();
        match &self.place {
            Place::Tcp { address, .. } => write!(formatter, "{name} {address}"),
            Place::Unix { path, .. } => write!(formatter, "{name} {}", path.display()),
        }
    }
}

/// Who besides root and the daemon's user is let in to the sockets of the runtime directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admitted {
    /// Callers on the public one, whom rules may admit.
    others: bool,
    /// The group of the admin socket.
    pub(super) admins: Option<u32>,
    pub(super) passage: Passage,
}

impl Admitted {
    /// Those who have something to seek in the runtime directory: callers, readers of tokens, and
    /// the group of operators where the daemon may let it in.
    pub(super) async fn to(
        directory: &RuntimeDirectory,
        config: &Config,
        policy: &Policy,
        tokens: &BTreeMap<TokenName, TokenSettings>,
        handed_over: &HandedOver,
    ) -> Result<Self, Unusable> {
        let owner = process::effective_uid();
        // Whoever has made a socket has decided who may connect.
        let others =
            handed_over.has_public() || policy.may_admit_others(&ListenerName::unix(), owner);
        let group = group_of_admins().await;
        let admins = if handed_over.has_admin() {
            group
        } else {
            let_admins_in(directory, group)?
        };
        let is_in_it = |socket: &OwnSocket| socket.path.starts_with(directory.path());
        let have_own = config.own_sockets.iter().any(is_in_it);
        Ok(Self {
            others,
            admins,
            passage: Passage {
                to_sockets: others || admins.is_some() || have_own,
                to_tokens: tokens.values().any(TokenSettings::lets_others_read),
            },
        })
    }
}

const GROUP: &str = "credd-admin";

/// A directory of users on a network may take its time, and clients must not wait for that.
async fn group_of_admins() -> Option<u32> {
    let looking = tokio::task::spawn_blocking(|| HostAccounts.group(GROUP));
    let found = looking.await.unwrap_or_else(|error| Err(error.into()));
    found.unwrap_or_else(|error| {
        tracing::warn!(group = GROUP, %error, "cannot look up the group of the admin socket");
        None
    })
}

fn let_admins_in(
    directory: &RuntimeDirectory,
    group: Option<u32>,
) -> Result<Option<u32>, Unusable> {
    match directory.let_in_admins(group) {
        Ok(()) => Ok(group),
        Err(error @ Unusable::Group { .. }) => {
            tracing::warn!(group = GROUP, %error, "the admin socket is for root and credd's user alone");
            directory.let_in_admins(None).map(|()| None)
        }
        Err(error) => Err(error),
    }
}

fn tcp(name: &ListenerName, address: &SocketAddr) -> Wanted {
    Wanted {
        name: name.clone(),
        place: Place::Tcp {
            address: *address,
            is_beyond: *name == ListenerName::metrics() && !address.ip().is_loopback(),
        },
    }
}

/// What a config wants open, in the order in which a failure does the least harm: the ports, then
/// the names of the sockets.
pub(super) fn wanted(
    config: &Config,
    directory: &RuntimeDirectory,
    admitted: Admitted,
) -> Vec<Wanted> {
    let mut all = Vec::new();
    let unix = |name: ListenerName, path: &Path, access, is_outside| Wanted {
        name,
        place: Place::Unix {
            path: path.to_owned(),
            access,
            is_outside,
        },
    };
    let http = ListenerName::http();
    all.extend(config.http.iter().map(|address| tcp(&http, address)));
    let imds = config.imds.iter().flat_map(|imds| &imds.listen);
    all.extend(imds.map(|address| tcp(&ListenerName::imds(), address)));
    let metrics = &config.metrics.listen;
    all.extend(
        metrics
            .iter()
            .map(|address| tcp(&ListenerName::metrics(), address)),
    );
    let access = Access {
        mode: if admitted.others { 0o666 } else { 0o600 },
        ..Access::PRIVATE
    };
    // The commands find this one; a config may ask for another besides.
    let found = runtime_directory::public_socket(directory.path());
    all.push(unix(ListenerName::unix(), &found, access, false));
    if let Some(path) = config.unix.as_ref().filter(|path| **path != found) {
        all.push(unix(ListenerName::unix(), path, access, true));
    }
    for socket in &config.own_sockets {
        let access = Access {
            owner: socket.owner,
            group: socket.group,
            mode: socket.mode,
        };
        all.push(unix(socket.listener.clone(), &socket.path, access, true));
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
    all.push(unix(ListenerName::admin(), &path, access, false));
    all
}

/// What is behind the doors.
pub(super) struct Endpoints {
    pub(super) public: Arc<Public>,
    pub(super) imds: Arc<Imds>,
    pub(super) monitoring: Arc<Monitoring>,
    pub(super) admin: Arc<Admin>,
    pub(super) connections: Arc<Connections>,
    /// Whoever crowds the public sockets keeps nobody off the admin socket.
    pub(super) apart: Arc<Connections>,
    /// Nor do those who monitor.
    pub(super) monitored: Arc<Connections>,
}

impl Endpoints {
    pub(super) fn of(
        site: &Arc<Site>,
        imds_key: &[u8; state::KEY],
        admin: Admin,
        connections: Connections,
    ) -> Self {
        Self {
            public: Arc::new(Public {
                site: Arc::clone(site),
            }),
            imds: Arc::new(Imds::new(Arc::clone(site), imds_key)),
            admin: Arc::new(admin),
            monitoring: Arc::new(Monitoring {
                site: Arc::clone(site),
            }),
            apart: Arc::new(connections.apart(Limits::default())),
            monitored: Arc::new(connections.apart(Monitoring::LIMITS)),
            connections: Arc::new(connections),
        }
    }
}

/// Sockets that are bound, and not served from yet. Those of before are still as they were.
pub(super) struct Prepared(Vec<Door>);

impl Doors {
    /// Binds what is wanted and neither open yet nor handed over.
    pub(super) async fn prepare(
        &self,
        all: Vec<Wanted>,
        handed_over: &HandedOver,
    ) -> Result<Prepared, StartError> {
        let mut prepared = Vec::new();
        for wanted in all {
            let mut open = self.open.iter();
            let door = match open.find(|door| door.wanted.place.is_where(&wanted.place)) {
                Some(door) => Door {
                    wanted,
                    listener: Arc::clone(&door.listener),
                    lock: door.lock.clone(),
                    serving: None,
                },
                None => Door::open(wanted, handed_over).await?,
            };
            prepared.push(door);
        }
        Ok(Prepared(prepared))
    }

    /// Lets those in to sockets that stay whom they are for from now on, and no others. Where that
    /// cannot be, all stay as they were.
    pub(super) fn admit(&self, prepared: &Prepared) -> Result<(), BindError> {
        let mut changed = Vec::new();
        for door in &prepared.0 {
            let mut open = self.open.iter();
            let before = open.find(|it| Arc::ptr_eq(&it.listener, &door.listener));
            let Some(before) = before.map(Door::access) else {
                continue;
            };
            if before == door.access() {
                continue;
            }
            changed.push((door, before));
            if let Err(error) = door.listener.admit(before, door.access()) {
                for (door, before) in changed {
                    if let Err(error) = door.listener.admit(door.access(), before) {
                        tracing::error!(%error, "cannot give a socket back its mode");
                    }
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Serves from these, and from no others any more. What is served by the same name goes on
    /// without a gap; connections of others drain.
    pub(super) fn replace(&mut self, prepared: Prepared, endpoints: &Endpoints) {
        let mut before = std::mem::take(&mut self.open);
        for door in prepared.0 {
            let is_same = |it: &Door| {
                Arc::ptr_eq(&it.listener, &door.listener) && it.wanted.name == door.wanted.name
            };
            let serving = match before.iter().position(is_same) {
                Some(place) => before.swap_remove(place).serving,
                None => Some(self.serve(&door, endpoints)),
            };
            self.open.push(Door { serving, ..door });
        }
        while self.serving.try_join_next().is_some() {}
    }

    fn serve(&mut self, door: &Door, endpoints: &Endpoints) -> watch::Sender<bool> {
        let (stop, stopped) = watch::channel(false);
        let (listener, name) = (Arc::clone(&door.listener), door.wanted.name.clone());
        let connections = Arc::clone(&endpoints.connections);
        if name == ListenerName::admin() {
            let (admin, apart) = (Arc::clone(&endpoints.admin), Arc::clone(&endpoints.apart));
            self.serving
                .spawn(serve::serve(listener, name, admin, apart, stopped));
        } else if name == ListenerName::imds() {
            let imds = Arc::clone(&endpoints.imds);
            self.serving
                .spawn(serve::serve(listener, name, imds, connections, stopped));
        } else if name == ListenerName::metrics() {
            let monitoring = Arc::clone(&endpoints.monitoring);
            let monitored = Arc::clone(&endpoints.monitored);
            self.serving
                .spawn(serve::serve(listener, name, monitoring, monitored, stopped));
        } else {
            let public = Arc::clone(&endpoints.public);
            self.serving
                .spawn(serve::serve(listener, name, public, connections, stopped));
        }
        stop
    }

    /// Completes only when one of those who take connections has panicked.
    pub(super) async fn broken(&mut self) {
        while let Some(ended) = self.serving.join_next().await {
            if ended.is_err() {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Takes no more connections, and waits for those under way to drain.
    pub(super) async fn close(&mut self) {
        self.open.clear();
        while self.serving.join_next().await.is_some() {}
    }

    /// What a replacement by `prepared` opens, keeps and closes.
    pub(super) fn changes(&self, prepared: &Prepared) -> ListenerChanges {
        let is_in = |doors: &[Door], door: &Door| {
            doors.iter().any(|it| {
                it.wanted.name == door.wanted.name && it.wanted.place.is_where(&door.wanted.place)
            })
        };
        let shown = |door: &Door| door.wanted.to_string();
        let (kept, opened): (Vec<_>, Vec<_>) =
            (prepared.0.iter()).partition(|door| is_in(&self.open, door));
        let closed = self.open.iter().filter(|door| !is_in(&prepared.0, door));
        ListenerChanges {
            opened: opened.into_iter().map(shown).collect(),
            kept: kept.into_iter().map(shown).collect(),
            closed: closed.map(shown).collect(),
        }
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        tcp_addresses(&self.open, |_| true).collect()
    }
}

impl Prepared {
    /// The addresses of all TCP sockets.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        tcp_addresses(&self.0, |_| true).collect()
    }

    /// Where the HTTP endpoint is, as clients write it.
    pub(super) fn url(&self) -> Option<String> {
        let address = tcp_addresses(&self.0, |name| *name == ListenerName::http()).next()?;
        Some(format!("http://{address}"))
    }

    /// The addresses of the listeners for what monitors credd.
    pub(super) fn monitoring(&self) -> Vec<SocketAddr> {
        tcp_addresses(&self.0, |name| *name == ListenerName::metrics()).collect()
    }

    /// The addresses of the IMDS endpoint.
    pub(super) fn imds(&self) -> Vec<SocketAddr> {
        tcp_addresses(&self.0, |name| *name == ListenerName::imds()).collect()
    }
}

fn tcp_addresses(
    doors: &[Door],
    is_meant: impl Fn(&ListenerName) -> bool,
) -> impl Iterator<Item = SocketAddr> {
    let meant = doors.iter().filter(move |door| is_meant(&door.wanted.name));
    meant.filter_map(|door| door.listener.tcp_address())
}

impl Door {
    async fn open(wanted: Wanted, handed_over: &HandedOver) -> Result<Self, StartError> {
        let (listener, lock) = match &wanted.place {
            Place::Tcp { address, is_beyond }
                if let Some(socket) = handed_over.at_address(*address) =>
            {
                let adopt = if *is_beyond {
                    Listener::inherited_beyond
                } else {
                    Listener::inherited_tcp
                };
                (adopt(socket)?, None)
            }
            // Its lock is a matter of whoever holds it.
            Place::Unix { path, .. } if let Some(socket) = handed_over.at_path(path) => {
                (Listener::inherited_unix(socket)?, None)
            }
            Place::Tcp { address, is_beyond } if *is_beyond => {
                (Listener::beyond(*address).await?, None)
            }
            Place::Tcp { address, .. } => (Listener::tcp(*address).await?, None),
            Place::Unix {
                path,
                access,
                is_outside,
            } => {
                let lock = is_outside.then(|| lock(path)).transpose()?;
                (Listener::unix(path, *access)?, lock)
            }
        };
        Ok(Self {
            wanted,
            listener: Arc::new(listener),
            lock: lock.map(Arc::new),
            serving: None,
        })
    }

    /// Nobody's where that says nothing.
    fn access(&self) -> Access {
        match &self.wanted.place {
            Place::Unix { access, .. } => *access,
            Place::Tcp { .. } => Access::PRIVATE,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_other_hosts_reach_becomes_none_for_this_host() {
        let agents = "169.254.170.2:9170".parse().unwrap();
        let open = tcp(&ListenerName::metrics(), &agents);
        let kept_in = tcp(&ListenerName::http(), &agents);
        assert!(open.place.is_where(&open.place));
        assert!(!open.place.is_where(&kept_in.place) && !kept_in.place.is_where(&open.place));
        // On loopback both are alike.
        let loopback = "127.0.0.1:9170".parse().unwrap();
        let (one, other) = (ListenerName::metrics(), ListenerName::http());
        let (one, other) = (tcp(&one, &loopback), tcp(&other, &loopback));
        assert!(one.place.is_where(&other.place));
    }
}
