//! What a reload does to sockets, tokens and limits.

use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use credd::clock::{Clock, SystemClock};
use serde_json::json;

use super::{container, free_address, list, listening, reload, reloaded, write};
use crate::serving::program::Place;
use crate::serving::upstream::{self, Upstream};
use crate::serving::wire::exchange;
use crate::serving::{eventually, skipped};

fn served() -> (Place, Upstream, String) {
    let expiry = SystemClock::new().now().plus(Duration::from_hours(6));
    let upstream = Upstream::answering(upstream::credentials(expiry));
    let place = Place::bare();
    let identity = container("default", &upstream.uri("/"));
    (place, upstream, identity)
}

fn status(stream: &mut TcpStream, token: &str) -> Option<u16> {
    let request = format!(
        "GET /v1/credentials HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n\r\n"
    );
    exchange(stream, request).map(|reply| reply.status)
}

#[test]
fn sockets_that_stay_stay_bound_and_connected_and_the_others_come_and_go() {
    let (place, _upstream, identity) = served();
    let [first, second] = [free_address(), free_address()];
    write(&place, &[listening(first), identity.clone()].concat());
    let _daemon = place.serve();
    place.warm();
    let token = place.token();
    let mut kept = TcpStream::connect(first).unwrap();
    assert_eq!(status(&mut kept, &token), Some(200));
    let inode = std::fs::metadata(place.socket()).unwrap().ino();
    // Elsewhere the program has given up the right to make it.
    let extra = place.runtime().join("extra.sock");
    let both = format!("[serve.http]\nlisten = [\"{first}\", \"{second}\"]\n");
    let own = format!(
        "[serve.unix.app]\npath = \"{}\"\nidentity = \"default\"\n",
        extra.display()
    );
    let report = reloaded(&place, &[both.as_str(), &own, &identity].concat());
    let opened = [format!("http {second}"), format!("app {}", extra.display())];
    assert_eq!(list(&report, "listeners", "opened"), opened);
    assert_eq!(list(&report, "listeners", "kept").len(), 3);
    // The same connection goes on, and the new sockets answer.
    assert_eq!(status(&mut kept, &token), Some(200));
    assert_eq!(
        status(&mut TcpStream::connect(second).unwrap(), &token),
        Some(200)
    );
    UnixStream::connect(&extra).unwrap();
    assert_eq!(std::fs::metadata(place.socket()).unwrap().ino(), inode);
    let mut ending = TcpStream::connect(second).unwrap();
    assert_eq!(status(&mut ending, &token), Some(200));
    let report = reloaded(&place, &[listening(first), identity].concat());
    assert_eq!(list(&report, "listeners", "closed").len(), 2);
    eventually("the socket is closed", || {
        TcpStream::connect(second).is_err().then_some(())
    });
    eventually("its name is gone", || (!extra.exists()).then_some(()));
    assert_eq!(status(&mut ending, &token), None);
    assert_eq!(status(&mut kept, &token), Some(200));
}

#[test]
fn a_socket_that_cannot_be_bound_leaves_everything_as_it_was() {
    let (place, upstream, identity) = served();
    let http = listening("127.0.0.1:0");
    write(&place, &[http.clone(), identity.clone()].concat());
    let _daemon = place.serve();
    place.warm();
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = container("other", &upstream.uri("/other"));
    let config = [
        listening(busy.local_addr().unwrap()),
        identity.clone(),
        other,
    ]
    .concat();
    let said = reload(&place, &config);
    assert_eq!(said.code(), Some(1), "{said:?}");
    assert!(said.stderr.contains("it is in use"), "{said:?}");
    assert!(place.run(&["get"]).is_success());
    assert!(!place.run(&["get", "other"]).is_success());
    assert_eq!(upstream.calls(), 1);
    let report = reloaded(&place, &[http, identity].concat());
    assert_eq!(list(&report, "listeners", "kept").len(), 3);
}

#[test]
fn tokens_come_go_and_change_their_files_by_a_reload() {
    let (place, _upstream, identity) = served();
    let http = listening("127.0.0.1:0");
    let rule = |token: &str| {
        format!("[[allow]]\ncaller = {{ token = \"{token}\" }}\nidentity = [\"default\"]\n")
    };
    write(
        &place,
        &[http.clone(), identity.clone(), rule("stays")].concat(),
    );
    let _daemon = place.serve();
    place.warm();
    let token = |name: &str| {
        let path = place.runtime().join("tokens").join(name).join("token");
        let text = credd::os::files::read_text_now(&path, 1024);
        text.ok().map(|text| text.to_string())
    };
    let stays = token("stays").unwrap();
    let address = place.address();
    let asks = |token: &str| status(&mut TcpStream::connect(address).unwrap(), token);
    assert_eq!(asks(&stays), Some(200));
    let config = [http.clone(), identity.clone(), rule("stays"), rule("comes")].concat();
    let report = reloaded(&place, &config);
    assert_eq!(list(&report, "tokens", "added"), ["comes"]);
    assert_eq!(list(&report, "tokens", "kept"), ["default", "stays"]);
    assert_eq!(report["settings"], json!(["rules"]));
    let comes = token("comes").unwrap();
    assert_eq!(asks(&comes), Some(200));
    assert_eq!(asks(&stays), Some(200));
    // One that rotates from now on is the same until it does.
    let rotating = "[token.stays]\nrotate = \"24h\"\n";
    let report = reloaded(&place, &[&config, rotating].concat());
    assert_eq!(list(&report, "tokens", "changed"), ["stays"]);
    assert_eq!(token("stays").unwrap(), stays);
    assert_eq!(asks(&stays), Some(200));
    let tokens = place.run(&["token", "--json"]).json();
    let due = tokens["tokens"].as_array().unwrap().iter();
    let due = due.filter(|it| it["next-rotation"].is_string()).count();
    assert_eq!(due, 1);
    let report = reloaded(&place, &[http, identity, rule("stays")].concat());
    assert_eq!(list(&report, "tokens", "removed"), ["comes"]);
    assert_eq!(token("comes"), None);
    assert_eq!(asks(&comes), Some(403));
    assert_eq!(asks(&stays), Some(200));
    assert_eq!(asks(&place.token()), Some(200));
}

#[test]
fn rules_let_others_in_to_the_socket_and_shut_them_out_again() {
    let (place, _upstream, identity) = served();
    let http = listening("127.0.0.1:0");
    write(&place, &[http.clone(), identity.clone()].concat());
    let _daemon = place.serve();
    place.warm();
    let modes = || {
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        (mode(&place.socket()), mode(&place.runtime()))
    };
    assert_eq!(modes(), (0o600, 0o700));
    let rule = "[[allow]]\ncaller = { user = \"daemon\" }\nidentity = [\"default\"]\n";
    reloaded(&place, &[http.as_str(), &identity, rule].concat());
    assert_eq!(modes(), (0o666, 0o711));
    reloaded(&place, &[http, identity].concat());
    assert_eq!(modes(), (0o600, 0o700));
}

#[test]
fn limits_and_the_place_of_the_audit_log_change_by_a_reload() {
    let (place, _upstream, identity) = served();
    let http = listening("127.0.0.1:0");
    write(&place, &[http.clone(), identity.clone()].concat());
    let _daemon = place.serve();
    place.warm();
    let (address, token) = (place.address(), place.token());
    let mut kept = TcpStream::connect(address).unwrap();
    assert_eq!(status(&mut kept, &token), Some(200));
    let log = place.runtime().join("audit.log");
    let limits = "[serve.limits]\nconnections = 1\n";
    let audit = format!("[audit]\nto = \"file:{}\"\n", log.display());
    let report = reloaded(&place, &[&http, limits, &identity, &audit].concat());
    assert_eq!(report["settings"], json!(["limits", "audit"]));
    assert_eq!(status(&mut kept, &token), Some(200));
    eventually("the grant is in the log", || {
        let text = credd::os::files::read_text_now(&log, 64 * 1024).ok()?;
        text.contains("\"granted\"").then_some(())
    });
    let report = reloaded(&place, &[&http, limits, &identity].concat());
    assert!(list(&report, "listeners", "closed").is_empty());
    // Whoever is connected stays, and another is one too many.
    assert_eq!(status(&mut kept, &token), Some(200));
    assert_eq!(
        status(&mut TcpStream::connect(address).unwrap(), &token),
        Some(429)
    );
    reloaded(&place, &[http, identity].concat());
    assert_eq!(
        status(&mut TcpStream::connect(address).unwrap(), &token),
        Some(200)
    );
}

#[test]
fn what_was_given_up_at_the_start_takes_a_restart_and_is_said_to() {
    let (place, _upstream, identity) = served();
    let http = listening("127.0.0.1:0");
    write(&place, &[http.clone(), identity.clone()].concat());
    let daemon = place.serve();
    place.warm();
    if !daemon.output().contains("landlock=active") {
        return skipped("this kernel has no landlock, so nothing was given up");
    }
    let elsewhere = place.folder().join("elsewhere/credd.sock");
    let socket = format!("[serve.unix]\npath = \"{}\"\n", elsewhere.display());
    let program = "[identity.tool]\nprovider = \"process\"\ncommand = [\"/bin/true\"]\n";
    for (more, why) in [
        (socket.as_str(), "given up the right to write below"),
        (program, "given up the right to write anywhere"),
    ] {
        let said = reload(&place, &[http.as_str(), &identity, more].concat());
        assert_eq!(said.code(), Some(1), "{said:?}");
        assert!(said.stdout.contains(why), "{said:?}");
        assert!(said.stdout.contains("restart credd"), "{said:?}");
        assert!(!elsewhere.exists());
        assert!(place.run(&["get"]).is_success());
    }
}
