//! Each way of being served or denied, over real sockets, and the line that it leaves.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use credd::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::serving::clock::HandClock;
use crate::serving::daemon::InProcess;
use crate::serving::upstream::{self, Upstream};
use crate::serving::wire::{Reply, Wire, exchange, receive};

/// Two identities in hand, at a time that stands still.
fn served() -> (InProcess, Upstream) {
    let clock = Arc::new(HandClock::new());
    let expiry = clock.now().plus(Duration::from_hours(6));
    let upstream = Upstream::answering(upstream::credentials(expiry));
    let identities = [("billing", upstream.uri("/a")), ("ops", upstream.uri("/b"))];
    (InProcess::start(clock, &identities).warm(), upstream)
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

#[track_caller]
fn asked(stream: &mut impl Wire, request: &str) -> Reply {
    exchange(stream, request).unwrap()
}

/// The one line of a log that has one.
#[track_caller]
fn only(daemon: InProcess) -> Value {
    let mut lines = daemon.audit_log();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    lines.remove(0)
}

#[track_caller]
fn assert_has(line: &Value, expected: &Value) {
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&line[key], value, "{key} of {line:#}");
    }
}

#[test]
fn a_set_that_is_served_on_the_unix_socket_leaves_who_what_and_why() {
    let (daemon, _upstream) = served();
    let request = get("/v1/credentials/billing", "User-Agent: Boto3/1.42\r\n");
    let reply = asked(&mut daemon.unix(), &request);
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("x-amzn-requestid"), None);
    let line = only(daemon);
    assert_has(
        &line,
        &json!({
            "time": "2026-11-22T09:30:00.000Z",
            "count": 1,
            "decision": "granted",
            "reason": null,
            "rule": "owner",
            "identity": "billing",
            "asked": "billing",
            "role": "arn:aws:iam::123456789012:role/canary",
            "access_key": upstream::KEY[upstream::KEY.len() - 4..],
            "expiry": "2026-11-22T15:30:00Z",
            "uid": rustix::process::geteuid().as_raw(),
            "gid": rustix::process::getegid().as_raw(),
            "pid": std::process::id(),
            "token": null,
            "listener": "unix",
            "user_agent": "Boto3/1.42",
            "dropped": 0,
        }),
    );
    assert_eq!(line["request_id"], line["last_request_id"]);
}

#[test]
fn a_set_that_is_served_on_tcp_leaves_the_name_of_the_token_and_never_the_token() {
    let (daemon, _upstream) = served();
    let token = daemon.token.clone();
    let request = get(
        "/v1/credentials/ops",
        &format!("Authorization: {token}\r\n"),
    );
    assert_eq!(asked(&mut daemon.tcp(), &request).status, 200);
    let line = only(daemon);
    let expected = json!({
        "decision": "granted", "rule": "token default", "identity": "ops", "token": "default",
        "listener": "http", "user_agent": null, "pid": null,
    });
    assert_has(&line, &expected);
    let text = line.to_string();
    for secret in [&token, upstream::SECRET, upstream::TOKEN, upstream::KEY] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn a_lease_leaves_a_line_and_so_does_each_use_of_it() {
    let (daemon, _upstream) = served();
    let body = r#"{"identity":"ops","token":null}"#;
    let length = body.len();
    let mut lease = daemon.unix();
    write!(
        lease,
        "POST /v1/lease HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    assert_eq!(receive(&mut lease, true).unwrap().status, 200);
    let mut report = [0; 1024];
    let length = lease.read(&mut report).unwrap();
    let report = std::str::from_utf8(&report[..length]).unwrap();
    let (_, report) = report.split_once("\r\n").unwrap();
    let report: Value = serde_json::from_str(report.lines().next().unwrap()).unwrap();
    let token = report["token"].as_str().unwrap();
    let request = get(
        "/v1/credentials/ops",
        &format!("Authorization: {token}\r\n"),
    );
    assert_eq!(asked(&mut daemon.tcp(), &request).status, 200);
    let request = get(
        "/v1/credentials/billing",
        &format!("Authorization: {token}\r\n"),
    );
    assert_eq!(asked(&mut daemon.tcp(), &request).status, 403);

    let lines = daemon.audit_log();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    let leased = json!({
        "decision": "granted", "listener": "unix", "identity": "ops", "access_key": null,
        "rule": "owner", "pid": std::process::id(),
    });
    assert_has(&lines[0], &leased);
    let used = json!({
        "decision": "granted", "listener": "http", "identity": "ops", "rule": "owner",
        "token": "(lease)",
    });
    assert_has(&lines[1], &used);
    let refused = json!({
        "decision": "denied", "listener": "http", "identity": "billing", "token": "(lease)",
        "reason": "no rule opens this identity to this caller",
    });
    assert_has(&lines[2], &refused);
}

#[test]
fn every_denial_leaves_a_line_that_its_answer_names() {
    for (path, headers, expected) in [
        (
            "/v1/credentials/billing",
            "",
            json!({"reason": "no token; unmet: token", "identity": "billing"}),
        ),
        (
            "/v1/credentials/billing",
            "Authorization: wrong\r\n",
            json!({"reason": "unknown token; unmet: token", "rule": "token default"}),
        ),
        (
            "/v1/credentials",
            "Sec-Fetch-Site: none\r\n",
            json!({"reason": "requests of browsers are refused", "asked": null}),
        ),
        (
            "/v1/credentials",
            "Host: example.com\r\n",
            json!({"reason": "the Host header must be one loopback address or localhost"}),
        ),
        ("/anywhere", "", json!({"identity": null, "asked": null})),
    ] {
        let (daemon, _upstream) = served();
        let reply = asked(&mut daemon.tcp(), &get(path, headers));
        assert_eq!(reply.status, 403, "{path} {headers}");
        let id = reply.header("x-amzn-requestid").unwrap().to_owned();
        let line = only(daemon);
        assert_has(&line, &expected);
        let all = json!({"decision": "denied", "listener": "http", "request_id": id});
        assert_has(&line, &all);
    }
}

#[test]
fn a_name_that_no_identity_has_is_told_apart_from_one_that_has() {
    let (daemon, _upstream) = served();
    let long = format!("/v1/credentials/{}", "x".repeat(5000));
    for path in ["/v1/credentials/biling\u{1b}", long.as_str()] {
        // hyper refuses what is no URL; what is left is made printable.
        let path = path.replace('\u{1b}', "%1b");
        let reply = asked(&mut daemon.unix(), &get(&path, ""));
        assert_eq!(reply.status, 404);
        assert!(reply.header("x-amzn-requestid").is_some());
    }
    let line = only(daemon);
    let expected = json!({
        "reason": "unknown identity", "identity": null, "asked": "biling%1b", "count": 2,
    });
    assert_has(&line, &expected);
}

#[test]
fn what_is_not_there_yet_is_no_hand_out() {
    let clock = Arc::new(SystemClock::new());
    let upstream = Upstream::hanging();
    let daemon = InProcess::start(clock, &[("default", upstream.uri("/a"))]);
    let reply = asked(&mut daemon.unix(), &get("/v1/credentials", ""));
    assert_eq!(reply.status, 503);
    assert_eq!(daemon.audit_log(), Vec::<Value>::new());
}

#[test]
fn the_admin_socket_tells_of_whom_it_refuses_and_of_what_was_dropped() {
    let (daemon, _upstream) = served();
    let reply = asked(&mut daemon.admin(), &get("/metrics", ""));
    let metrics = String::from_utf8(reply.body).unwrap();
    assert!(
        metrics.contains("\ncredd_audit_dropped_total 0\n"),
        "{metrics}"
    );
    let reply = asked(&mut daemon.admin(), &get("/v1/status", "Cookie: a\r\n"));
    assert_eq!(reply.status, 403);
    let line = only(daemon);
    let expected = json!({"decision": "denied", "listener": "admin", "identity": null});
    assert_has(&line, &expected);
}
