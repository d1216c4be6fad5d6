//! Sockets that the service manager holds: what is served by them, and that they outlive whoever
//! serves.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use credd::os::files::{read_text_now, write_private};
use rustix::net::sockopt;

use super::manager::Manager;
use crate::commands::{status, upstream};
use crate::reload::{free_address, list, listening, reload, reloaded};
use crate::serving::eventually;
use crate::serving::upstream::KEY;
use crate::serving::wire::exchange;

fn identity(uri: &str) -> String {
    format!("[identity.default]\nprovider = \"container\"\nuri = \"{uri}\"\n")
}

#[test]
fn a_daemon_serves_by_what_it_is_handed_and_commands_find_it() {
    let upstream = upstream();
    let manager = Manager::with(&identity(&upstream.uri("/")));
    let place = &manager.place;
    let inode = |path| std::fs::symlink_metadata(path).unwrap().ino();
    let before = inode(place.socket());
    let mut daemon = manager.start();
    place.warm();
    assert_eq!(place.address(), manager.http.local_addr().unwrap());
    assert_eq!(status(&manager.url(), &place.token()), Some(200));
    assert!(place.run(&["get"]).data().contains(KEY));
    // Set where the manager has not: what a test holds is the same socket.
    assert_eq!(sockopt::ip_ttl(&manager.http).unwrap(), 1);
    assert!(sockopt::tcp_nodelay(&manager.http).unwrap());

    daemon.terminate();
    // The names are the manager's.
    assert_eq!(inode(place.socket()), before);
    UnixStream::connect(place.socket()).unwrap();
    UnixStream::connect(place.runtime().join("admin/credd.sock")).unwrap();
}

#[test]
fn a_request_that_comes_while_nobody_runs_is_answered_by_the_next_run() {
    let upstream = upstream();
    let manager = Manager::with(&identity(&upstream.uri("/")));
    let mut daemon = manager.start();
    manager.place.warm();
    let (url, token) = (manager.url(), manager.place.token());
    for kill in [false, true] {
        if kill {
            daemon.kill();
        } else {
            daemon.terminate();
        }
        let asking = thread::spawn({
            let (url, token) = (url.clone(), token.clone());
            move || status(&url, &token)
        });
        let waiting = || {
            // The kernel counts those whom nobody has taken (`tcpi_unacked` of a listener).
            let address = manager.http.local_addr().unwrap();
            let hex = format!("0100007F:{:04X}", address.port());
            let table = read_text_now("/proc/net/tcp".as_ref(), 16 << 20).unwrap();
            let mut lines = table.lines().map(|line| line.split_whitespace());
            lines.find_map(|mut words| {
                let is_it = words.nth(1)? == hex && words.nth(1)? == "0A";
                (is_it && !words.next()?.ends_with(":00000000")).then_some(())
            })
        };
        eventually("a connection waits", waiting);
        daemon = manager.start();
        assert_eq!(asking.join().unwrap(), Some(200));
    }
}

#[test]
fn an_address_that_the_config_writes_is_not_given_up() {
    let other = "127.0.0.1:9170";
    let manager = Manager::with(&format!("[serve.http]\nlisten = [\"{other}\"]\n"));
    let mut daemon = manager.start();
    assert!(!daemon.end().success());
    let (said, handed) = (daemon.output(), manager.http.local_addr().unwrap());
    let expected = format!(
        "the service manager hands over {handed} for the HTTP endpoint, but `listen` in \
         [serve.http] says {other}"
    );
    assert!(said.contains(&expected), "{said}");
    // Nothing has been touched.
    assert!(manager.place.socket().exists());
    assert!(!manager.place.token_file().exists());

    let written = format!("[serve.http]\nlisten = [\"{handed}\"]\n");
    write_private(&manager.place.config(), written.as_bytes()).unwrap();
    let _daemon = manager.start();
    eventually("the daemon answers", || {
        manager.place.run(&["status"]).is_success().then_some(())
    });
}

/// What a reload closed could not be opened again: the manager hands over once.
#[test]
fn a_reload_neither_gives_up_what_is_handed_over_nor_serves_there_what_the_config_has_elsewhere() {
    let upstream = upstream();
    let identity = identity(&upstream.uri("/"));
    let manager = Manager::with(&identity);
    let place = &manager.place;
    let _daemon = manager.start();
    place.warm();
    let (handed, other) = (manager.http.local_addr().unwrap(), free_address());
    let asks = |token: &str| status(&manager.url(), token);
    let own = place.token();
    assert_eq!(asks(&own), Some(200));

    let both = format!("[serve.http]\nlisten = [\"{handed}\", \"{other}\"]\n");
    let none = "[serve.http]\nlisten = []\n".to_owned();
    let elsewhere = format!(
        "[serve.unix]\npath = \"{}\"\n[serve.metrics]\nlisten = \"{handed}\"\n",
        place.runtime().join("other.sock").display()
    );
    for (serve, why) in [
        (listening(other), format!("says {other};")),
        (both, format!("says {handed} and {other};")),
        (none, "says that there is none".to_owned()),
        (elsewhere, "something else listen there".to_owned()),
    ] {
        let said = reload(place, &[serve.as_str(), &identity].concat());
        assert_eq!(said.code(), Some(1), "{said:?}");
        let start = format!("the service manager hands over {handed} for the HTTP endpoint, but ");
        assert!(said.stdout.contains(&start), "{said:?}");
        assert!(said.stdout.contains(&why), "{said:?}");
        // All is as it was.
        assert_eq!(asks(&own), Some(200));
        assert!(place.run(&["get"]).is_success());
        TcpStream::connect(other).unwrap_err();
    }

    // It may be written or not, others come and go beside it, and rules count there as anywhere.
    let rule = "[[allow]]\ncaller = { token = \"app\" }\nidentity = [\"default\"]\n";
    let metrics = format!("[serve.metrics]\nlisten = \"{other}\"\n");
    let report = reloaded(
        place,
        &[&listening(handed), &metrics, &identity, rule].concat(),
    );
    assert_eq!(
        list(&report, "listeners", "opened"),
        [format!("metrics {other}")]
    );
    assert_eq!(list(&report, "listeners", "kept").len(), 3);
    let token = place.runtime().join("tokens/app/token");
    let token = read_text_now(&token, 1024).unwrap();
    assert_eq!(asks(&token), Some(200));
    let report = reloaded(place, &identity);
    assert_eq!(
        list(&report, "listeners", "closed"),
        [format!("metrics {other}")]
    );
    assert_eq!(asks(&token), Some(403));
    assert_eq!(asks(&own), Some(200));
    assert!(place.run(&["get"]).is_success());
}

#[test]
fn what_is_handed_over_for_something_that_a_config_no_longer_has_is_not_given_up_either() {
    let upstream = upstream();
    let http = listening("127.0.0.1:0");
    // Without a rule nobody comes in by instance metadata.
    let rule = "[[allow]]\ncaller = { user = \"daemon\", tcp = \"without-token\" }\n\
                identity = [\"default\"]\n";
    let rest = [&http, &identity(&upstream.uri("/")), rule].concat();
    for (door, what) in [("imds", "instance metadata"), ("metrics", "metrics")] {
        let manager = Manager::with("");
        let handed = manager.http.local_addr().unwrap();
        let there = format!("[serve.{door}]\nlisten = \"{handed}\"\n");
        write_private(
            &manager.place.config(),
            [&there, rest.as_str()].concat().as_bytes(),
        )
        .unwrap();
        let _daemon = manager.start_with(&[("LISTEN_FDNAMES", &format!("{door}:unix:admin"))]);
        manager.place.warm();
        let serves = || TcpStream::connect(handed).is_ok();
        let other = format!("[serve.{door}]\nlisten = \"{}\"\n", free_address());
        for (config, why) in [
            (rest.clone(), format!("the config has no [serve.{door}]")),
            (
                [&other, rest.as_str()].concat(),
                format!("`listen` in [serve.{door}] says"),
            ),
        ] {
            let said = reload(&manager.place, &config);
            assert_eq!(said.code(), Some(1), "{said:?}");
            let expected = format!("the service manager hands over {handed} for {what}, but {why}");
            assert!(said.stdout.contains(&expected), "{said:?}");
            assert!(serves());
        }
        let report = reloaded(&manager.place, &[&there, rest.as_str()].concat());
        assert!(list(&report, "listeners", "closed").is_empty());
    }
}

#[test]
fn metrics_are_served_by_what_is_handed_over() {
    let upstream = upstream();
    let manager = Manager::with("");
    let handed = manager.http.local_addr().unwrap();
    let config = [
        listening("127.0.0.1:0"),
        format!("[serve.metrics]\nlisten = \"{handed}\"\n"),
        identity(&upstream.uri("/")),
    ];
    write_private(&manager.place.config(), config.concat().as_bytes()).unwrap();
    let mut daemon = manager.start_with(&[("LISTEN_FDNAMES", "metrics:unix:admin")]);
    manager.place.warm();
    let mut monitor = TcpStream::connect(handed).unwrap();
    let ask = format!("GET /metrics HTTP/1.1\r\nHost: {handed}\r\n\r\n");
    let reply = exchange(&mut monitor, ask).unwrap();
    assert_eq!(reply.status, 200);
    let text = String::from_utf8(reply.body).unwrap();
    assert!(text.contains("credd_identity_ready"), "{text}");
    // And nothing else is.
    assert_eq!(status(&manager.url(), &manager.place.token()), Some(404));
    daemon.terminate();
    // Whoever comes now waits for the next run.
    TcpStream::connect(handed).unwrap();
}

#[test]
fn what_is_called_by_no_name_of_a_door_is_refused() {
    let manager = Manager::with("");
    for (names, said) in [
        ("credd.socket:unix:admin", "FileDescriptorName="),
        ("unix:http:admin", "`unix` is not a Unix stream socket"),
        ("http:unix", "$LISTEN_FDNAMES"),
    ] {
        let mut daemon = manager.start_with(&[("LISTEN_FDNAMES", names)]);
        assert!(!daemon.end().success());
        assert!(daemon.output().contains(said), "{}", daemon.output());
    }
}

#[test]
fn programs_that_the_daemon_runs_get_none_of_it() {
    let manager = Manager::with("");
    let folder = manager.place.folder().display().to_string();
    let program = manager.place.folder().join("program");
    let script = format!(
        "#!/bin/sh\n{{ env; ls -l /proc/$$/fd; }} > {folder}/said.new\n\
         mv {folder}/said.new {folder}/said\nexit 1\n"
    );
    write_private(&program, script.as_bytes()).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&program, mode).unwrap();
    let config =
        format!("[identity.vault]\nprovider = \"process\"\ncommand = [\"{folder}/program\"]\n");
    write_private(&manager.place.config(), config.as_bytes()).unwrap();
    let _daemon = manager.start();
    let said = eventually("the program has run", || {
        read_text_now(&manager.place.folder().join("said"), 64 * 1024).ok()
    });
    assert!(said.contains("CREDD_CONFIG"), "{}", *said);
    for word in ["LISTEN_", "NOTIFY_", "WATCHDOG_"] {
        assert!(!said.contains(word), "{}", *said);
    }
    // Its three standard descriptors, and the script.
    let sockets = said.lines().filter(|line| line.contains("socket:"));
    assert_eq!(sockets.count(), 0, "{}", *said);
}

/// Where PID 1 holds the port, nobody else gets it however often credd falls.
#[test]
fn a_crash_loop_never_frees_the_port_and_refuses_no_connection() {
    const CRASHES: usize = 20;
    let upstream = upstream();
    let manager = Manager::with(&identity(&upstream.uri("/")));
    let address = manager.http.local_addr().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let watching = thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            let (mut looks, mut refused, mut taken) = (0_u64, 0_u64, 0_u64);
            while !is_over.load(Ordering::SeqCst) {
                looks += 1;
                refused += u64::from(TcpStream::connect(address).is_err());
                // Each takes a place in the queue until somebody runs.
                for _ in 0..100 {
                    match TcpListener::bind(address) {
                        Ok(_) => taken += 1,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse),
                    }
                    thread::sleep(Duration::from_micros(50));
                }
            }
            (looks, refused, taken)
        }
    });
    for _ in 0..CRASHES {
        let mut daemon = manager.start();
        eventually("the daemon answers", || {
            manager.place.run(&["status"]).is_success().then_some(())
        });
        daemon.kill();
    }
    // What cannot even start.
    write_private(&manager.place.config(), b"unknown = 1").unwrap();
    for _ in 0..CRASHES {
        let mut daemon = manager.start();
        assert!(!daemon.end().success());
    }
    is_over.store(true, Ordering::SeqCst);
    let (looks, refused, taken) = watching.join().unwrap();
    assert!(looks > 50, "{looks}");
    assert_eq!((refused, taken), (0, 0), "of {looks}");
}
