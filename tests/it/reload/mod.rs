//! Reloads of the real program's config, over its real sockets, while clients go on asking.

mod clients;
mod closing;
mod files;
mod identities;
mod listeners;
mod mutated;
mod stopping;

use std::net::SocketAddr;

use credd::os::files as files_of_os;
use serde_json::Value;

use crate::serving::program::{Place, Said};

/// Writes the config, and has it read.
pub(crate) fn reload(place: &Place, config: &str) -> Said {
    write(place, config);
    place.run(&["reload", "--json"])
}

/// The same for a config that can be used.
#[track_caller]
pub(crate) fn reloaded(place: &Place, config: &str) -> Value {
    let report = reload(place, config).json();
    assert_eq!(report["applied"], true, "{report}");
    report
}

pub(crate) fn write(place: &Place, config: &str) {
    files_of_os::write_private(&place.config(), config.as_bytes()).unwrap();
}

/// An identity of the config whose credentials the container endpoint at `uri` has.
pub(crate) fn container(name: &str, uri: &str) -> String {
    format!("[identity.{name}]\nprovider = \"container\"\nuri = \"{uri}\"\n")
}

pub(crate) fn listening(address: impl std::fmt::Display) -> String {
    format!("[serve.http]\nlisten = [\"{address}\"]\n")
}

pub(crate) fn list<'a>(report: &'a Value, what: &str, which: &str) -> Vec<&'a str> {
    let list = report[what][which].as_array().unwrap();
    list.iter().map(|it| it.as_str().unwrap()).collect()
}

/// A port that is free now.
pub(crate) fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}
