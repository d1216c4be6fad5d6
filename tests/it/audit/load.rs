//! That the audit log is complete, whatever the load, and that nobody waits for it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use credd::audit::{CAPACITY, Outlets, WINDOW};
use credd::clock::{Clock, SystemClock};
use serde_json::Value;

use super::{collect, decisions, dropped};
use crate::serving::clock::HandClock;
use crate::serving::daemon::{self, InProcess};
use crate::serving::eventually;
use crate::serving::program::Place;
use crate::serving::upstream::{self, Upstream};
use crate::serving::wire::exchange;

/// What a caller was answered: listener, identity and decision, and how often.
type Tally = BTreeMap<(&'static str, String, &'static str), u64>;

const THREADS: usize = 12;
const ROUNDS: usize = 400;
const IDENTITIES: [&str; 3] = ["billing", "ops", "report"];

/// T19: each served set has one audit line, 100 % of them, counts summed; and so has each denial.
#[test]
fn t19_every_served_set_and_every_denial_is_in_exactly_one_line_under_load() {
    let clock = Arc::new(SystemClock::new());
    let expiry = clock.now().plus(Duration::from_hours(6));
    let upstream = Upstream::answering(upstream::credentials(expiry));
    let identities = IDENTITIES.map(|name| (name, upstream.uri(&format!("/{name}"))));
    let daemon = InProcess::start(clock, &identities).warm();

    let (mut tally, mut ids) = (Tally::new(), Vec::new());
    thread::scope(|scope| {
        let asking = |number| {
            let daemon = &daemon;
            scope.spawn(move || ask(daemon, number))
        };
        let threads: Vec<_> = (0..THREADS).map(asking).collect();
        // Callers of their own, each with a pid.
        let directory = daemon.directory().to_owned();
        let programs = scope.spawn(move || {
            let place = Place::bare();
            for identity in IDENTITIES.iter().cycle().take(12) {
                let mut credd = place.credd(&["get", identity]);
                credd.env("RUNTIME_DIRECTORY", &directory);
                assert!(credd.output().unwrap().status.success());
            }
        });
        for thread in threads {
            let (asked, denied) = thread.join().unwrap();
            for (what, count) in asked {
                *tally.entry(what).or_default() += count;
            }
            ids.extend(denied);
        }
        programs.join().unwrap();
    });
    for identity in IDENTITIES {
        let what = ("unix", identity.to_owned(), "granted");
        *tally.entry(what).or_default() += 4;
    }

    let lines = daemon.audit_log();
    let mut written = Tally::new();
    for line in &lines {
        let text = |key: &str| line[key].as_str().unwrap();
        let listener = ["unix", "http"]
            .into_iter()
            .find(|it| text("listener") == *it);
        let decision = ["granted", "denied"]
            .into_iter()
            .find(|it| text("decision") == *it);
        let identity = line["identity"].as_str().unwrap_or_default().to_owned();
        let what = (listener.unwrap(), identity, decision.unwrap());
        *written.entry(what).or_default() += line["count"].as_u64().unwrap();
    }
    assert_eq!(
        written, tally,
        "counts of the log, and what callers were answered"
    );
    assert_eq!(dropped(&lines), 0);
    assert_eq!(decisions(&lines), (THREADS * ROUNDS + 12) as u64);
    let pids: std::collections::BTreeSet<_> = lines
        .iter()
        .filter_map(|line| line["pid"].as_u64())
        .collect();
    assert_eq!(pids.len(), 13, "this process and twelve others");
    // Whoever was denied can be found by the id that the answer had.
    let denials: Vec<_> = lines
        .iter()
        .filter(|it| it["decision"] == "denied")
        .collect();
    assert!(ids.len() > THREADS);
    for id in ids {
        let is_within = |line: &&&Value| {
            let text = |key: &str| line[key].as_str().unwrap();
            (text("request_id")..=text("last_request_id")).contains(&id.as_str())
        };
        assert!(
            denials.iter().any(|line| is_within(&line)),
            "{id} is in no line"
        );
    }
}

/// Asks again and again, over both kinds of socket, with and without the right to be served.
fn ask(daemon: &InProcess, number: usize) -> (Tally, Vec<String>) {
    let (mut tally, mut ids) = (Tally::new(), Vec::new());
    let (mut tcp, mut unix) = (daemon.tcp(), daemon.unix());
    for round in 0..ROUNDS {
        let identity = IDENTITIES[(number + round) % IDENTITIES.len()];
        let is_unix = (number + round / 7).is_multiple_of(2);
        let (name, token) = match (round % 11, round % 3) {
            (0, _) => ("nobody", daemon.token.as_str()),
            (1, 0) => (identity, "wrong"),
            (1, _) => (identity, ""),
            _ => (identity, daemon.token.as_str()),
        };
        let request = format!(
            "GET /v1/credentials/{name} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n\
             User-Agent: caller-{number}-{round}\r\n\r\n"
        );
        let reply = if is_unix {
            exchange(&mut unix, request)
        } else {
            exchange(&mut tcp, request)
        };
        let reply = reply.unwrap();
        let listener = if is_unix { "unix" } else { "http" };
        let decision = if reply.status == 200 {
            "granted"
        } else {
            "denied"
        };
        let known = if name == "nobody" { "" } else { name };
        let what = (listener, known.to_owned(), decision);
        *tally.entry(what).or_default() += 1;
        if decision == "denied" {
            ids.push(reply.header("x-amzn-requestid").unwrap().to_owned());
        }
        // Denials close, and some callers connect for each request.
        if reply.header("connection") == Some("close") || round % 50 == 0 {
            (tcp, unix) = (daemon.tcp(), daemon.unix());
        }
    }
    (tally, ids)
}

#[test]
fn requests_are_answered_while_the_audit_log_is_stuck_and_the_drops_are_counted() {
    let clock = Arc::new(HandClock::new());
    let expiry = clock.now().plus(Duration::from_hours(36));
    let upstream = Upstream::answering(upstream::credentials(expiry));
    let identities = daemon::identities(&[("default", upstream.uri("/a"))]);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let daemon = InProcess::audited_by(
        Outlets::to(ours),
        Arc::clone(&clock) as Arc<_>,
        daemon::config(identities, "127.0.0.1:0"),
    )
    .warm();
    let mut unix = daemon.unix();
    let rounds = 3 * CAPACITY;
    for _ in 0..rounds {
        let request = "GET /v1/credentials HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let reply = exchange(&mut unix, request).unwrap();
        assert_eq!(reply.status, 200);
        // Each a line of its own.
        clock.wind(WINDOW);
    }
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut admin = daemon.admin();
    admin.write_all(request.as_bytes()).unwrap();
    let mut metrics = BufReader::new(admin).lines().map(Result::unwrap);
    let metric = |line: String| Some(line.strip_prefix("credd_audit_dropped_total ")?.parse());
    let lost: u64 = metrics.find_map(metric).unwrap().unwrap();
    assert!(lost > 0);
    let reader = collect(theirs);
    drop(daemon.audit_log());
    let lines = reader.join().unwrap();
    assert_eq!(decisions(&lines) + lost, rounds as u64);
}

#[test]
fn a_daemon_that_stops_waits_a_second_for_an_audit_log_that_is_stuck() {
    let clock = Arc::new(HandClock::new());
    let expiry = clock.now().plus(Duration::from_hours(36));
    let upstream = Upstream::answering(upstream::credentials(expiry));
    let identities = daemon::identities(&[("default", upstream.uri("/a"))]);
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let mut daemon = InProcess::audited_by(
        Outlets::to(ours),
        Arc::clone(&clock) as Arc<_>,
        daemon::config(identities, "127.0.0.1:0"),
    )
    .warm();
    let mut unix = daemon.unix();
    for _ in 0..CAPACITY {
        let request = "GET /v1/credentials HTTP/1.1\r\nHost: localhost\r\n\r\n";
        assert_eq!(exchange(&mut unix, request).unwrap().status, 200);
        clock.wind(WINDOW);
    }
    drop(unix);
    clock.until_a_deadline(|| daemon.stop());
    assert!(!daemon.has_ended(), "the log is not written");
    eventually("the end", || {
        clock.wind(Duration::from_millis(100));
        daemon.has_ended().then_some(())
    });
}
