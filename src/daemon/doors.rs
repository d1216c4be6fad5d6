//! The sockets that callers come in by.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use super::StartError;
use super::folder::Folder;
use super::runtime_directory::{self, Lock, Passage, RuntimeDirectory};
use super::unusable::Unusable;
use crate::authz::{ListenerName, Policy, TokenName};
use crate::config::TokenSettings;
use crate::os::process;
use crate::os::users::{Accounts, HostAccounts};
use crate::serve::{Access, Admins, Config, Listener, OwnSocket};

/// Everything that listens, and the locks of what lies outside the runtime directory.
pub(super) struct Doors {
    pub(super) public: Vec<(ListenerName, Listener)>,
    pub(super) imds: Vec<Listener>,
    /// For what monitors credd, and whether it may do so from other hosts.
    pub(super) monitoring: Vec<Listener>,
    pub(super) may_be_monitored_from_beyond: bool,
    pub(super) admin: Listener,
    pub(super) locks: Vec<Lock>,
}

/// Who besides root and the daemon's user is let in to the sockets of the runtime directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admitted {
    /// Callers on the public one, whom rules may admit.
    others: bool,
    /// The group of the admin socket.
    admins: Option<u32>,
}

impl Admitted {
    /// Lets those through who have something to seek in the runtime directory: callers, readers of
    /// tokens, and the group of operators where the daemon may do so.
    pub(super) fn to(
        directory: &RuntimeDirectory,
        config: &Config,
        policy: &Policy,
        tokens: &BTreeMap<TokenName, TokenSettings>,
    ) -> Result<Self, Unusable> {
        let owner = process::effective_uid();
        let admitted = Self {
            others: policy.may_admit_others(&ListenerName::unix(), owner),
            admins: let_admins_in(directory)?,
        };
        let is_in_it = |socket: &OwnSocket| socket.path.starts_with(directory.path());
        let have_own = config.own_sockets.iter().any(is_in_it);
        directory.let_in(Passage {
            to_sockets: admitted.others || admitted.admins.is_some() || have_own,
            to_tokens: tokens.values().any(TokenSettings::lets_others_read),
        })?;
        Ok(admitted)
    }

    /// Who may give orders.
    pub(super) fn admins(self) -> Admins {
        Admins {
            owner: process::effective_uid(),
            group: self.admins,
        }
    }
}

fn let_admins_in(directory: &RuntimeDirectory) -> Result<Option<u32>, Unusable> {
    const GROUP: &str = "credd-admin";
    let group = HostAccounts.group(GROUP).unwrap_or_else(|error| {
        tracing::warn!(group = GROUP, %error, "cannot look up the group of the admin socket");
        None
    });
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
    /// of the sockets.
    pub(super) async fn open(
        config: &Config,
        directory: &RuntimeDirectory,
        admitted: Admitted,
    ) -> Result<Self, StartError> {
        let (mut public, mut locks) = (Vec::new(), Vec::new());
        for address in &config.http {
            public.push((ListenerName::http(), Listener::tcp(*address).await?));
        }
        let access = Access {
            mode: if admitted.others { 0o666 } else { 0o600 },
            ..Access::PRIVATE
        };
        let mut imds = Vec::new();
        for address in config.imds.iter().flat_map(|imds| &imds.listen) {
            imds.push(Listener::tcp(*address).await?);
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
        public.push((ListenerName::unix(), Listener::unix(&found, access)?));
        if let Some(path) = config.unix.as_ref().filter(|path| **path != found) {
            locks.push(lock(path)?);
            public.push((ListenerName::unix(), Listener::unix(path, access)?));
        }
        for socket in &config.own_sockets {
            locks.push(lock(&socket.path)?);
            let access = Access {
                owner: socket.owner,
                group: socket.group,
                mode: socket.mode,
            };
            let listener = Listener::unix(&socket.path, access)?;
            public.push((socket.listener.clone(), listener));
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
        let admin = Listener::unix(&runtime_directory::admin_socket(directory.path()), access)?;
        Ok(Self {
            public,
            imds,
            monitoring,
            may_be_monitored_from_beyond: config.metrics.beyond_this_host,
            admin,
            locks,
        })
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

/// Makes sure that whoever connects to `socket` comes to credd: nobody else can put a socket of
/// their own in its place, and no other instance does.
fn lock(socket: &Path) -> Result<Lock, StartError> {
    if let Some(parent) = socket.parent() {
        Folder::of_socket(parent)?;
    }
    Ok(Lock::of_socket(socket)?)
}
