//! The sockets that callers come in by.

use std::net::SocketAddr;

use super::StartError;
use super::runtime_directory::{self, Lock, RuntimeDirectory};
use crate::authz::ListenerName;
use crate::serve::{Config, Listener};

/// Everything that listens, and the locks of what lies outside the runtime directory.
pub(super) struct Doors {
    pub(super) public: Vec<(ListenerName, Listener)>,
    pub(super) imds: Vec<Listener>,
    pub(super) admin: Listener,
    pub(super) locks: Vec<Lock>,
}

impl Doors {
    /// Opens them in the order in which a failure does the least harm: the ports, then the names
    /// of the sockets.
    pub(super) async fn open(
        config: &Config,
        directory: &RuntimeDirectory,
    ) -> Result<Self, StartError> {
        let (mut public, mut locks) = (Vec::new(), Vec::new());
        for address in &config.http {
            public.push((ListenerName::http(), Listener::tcp(*address).await?));
        }
        let mut imds = Vec::new();
        for address in config.imds.iter().flat_map(|imds| &imds.listen) {
            imds.push(Listener::tcp(*address).await?);
        }
        // The commands find this one; a config may ask for another besides.
        let found = runtime_directory::public_socket(directory.path());
        public.push((ListenerName::unix(), Listener::unix(&found)?));
        if let Some(path) = config.unix.as_ref().filter(|path| **path != found) {
            locks.push(Lock::of_socket(path)?);
            public.push((ListenerName::unix(), Listener::unix(path)?));
        }
        let admin = Listener::unix(&runtime_directory::admin_socket(directory.path()))?;
        Ok(Self {
            public,
            imds,
            admin,
            locks,
        })
    }

    /// The addresses of all TCP sockets.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        [self.http(), self.imds()].concat()
    }

    /// Of the HTTP endpoint.
    pub(super) fn url(&self) -> Option<String> {
        let address = *self.http().first()?;
        Some(format!("http://{address}"))
    }

    /// The addresses of the HTTP endpoint.
    fn http(&self) -> Vec<SocketAddr> {
        let listeners = self.public.iter().map(|(_, listener)| listener);
        listeners.filter_map(Listener::tcp_address).collect()
    }

    /// The addresses of the IMDS endpoint.
    pub(super) fn imds(&self) -> Vec<SocketAddr> {
        self.imds.iter().filter_map(Listener::tcp_address).collect()
    }
}
