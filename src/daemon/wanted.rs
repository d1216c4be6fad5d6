//! The sockets that a config wants, as data.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::admitted::Admitted;
use super::runtime_directory::{self, RuntimeDirectory};
use crate::authz::ListenerName;
use crate::serve::{Access, Config};

/// A socket as the config has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: ListenerName,
    pub(super) place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
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
    pub(super) fn is_where(&self, other: &Self) -> bool {
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
