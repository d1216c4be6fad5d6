//! Reloads of the real program's config, over its real sockets, while clients go on asking.

mod clients;
mod closing;
mod files;
mod identities;
mod listeners;
mod mutated;
mod stopping;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use credd::api;
use credd::clock::SystemClock;
use credd::config::Located;
use credd::os::files as files_of_os;
use serde_json::Value;

use crate::serving::daemon::InProcess;
use crate::serving::program::{Place, Said};
use crate::serving::wire::exchange;

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

/// The host's may have other identities, and let others in.
#[test]
fn a_person_whose_config_is_gone_gets_no_other_by_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let [own, system] = ["own", "system"].map(|name| folder.path().join(name));
    let write = |path: &Path, identity| {
        let identity = format!("[identity.{identity}]\nprovider = \"environment\"\n");
        let text = listening("127.0.0.1:0") + &identity;
        files_of_os::write_private(path, text.as_bytes()).unwrap();
    };
    write(&system, "theirs");
    write(&own, "mine");
    let located = Located::Usual(vec![own.clone(), system]);
    let daemon = InProcess::located(Arc::new(SystemClock::new()), located);
    let reload = || {
        let order = format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
            api::RELOAD
        );
        exchange(&mut daemon.admin(), order).unwrap().json()
    };
    std::fs::remove_file(&own).unwrap();
    let report = reload();
    assert_eq!(report["applied"], false, "{report}");
    let problem = report["problem"].as_str().unwrap();
    assert!(problem.contains("own is gone; put it back"), "{problem}");
    assert_eq!(daemon.status().identities[0].name, "mine");
    // What comes first counts once it is there.
    write(&own, "new");
    let report = reload();
    assert_eq!(list(&report, "identities", "started"), ["new"]);
}
