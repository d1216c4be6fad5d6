//! Tokens that live as long as the connection that asked for them.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use credd::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use super::{PATH, Served};
use crate::serving::clock::HandClock;
use crate::serving::daemon::InProcess;
use crate::serving::eventually;
use crate::serving::upstream::{self, Upstream};
use crate::serving::wire::{Wire, exchange, receive};

fn post(body: &str) -> String {
    let length = body.len();
    format!("POST /v1/lease HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// A lease and the connection that it lives on.
struct Leased {
    stream: UnixStream,
    report: Value,
}

impl Leased {
    fn take(daemon: &InProcess, request: &Value) -> Self {
        Self::after(daemon.unix(), &post(&request.to_string()))
    }

    fn after(mut stream: UnixStream, bytes: &str) -> Self {
        stream.write_all(bytes.as_bytes()).unwrap();
        let reply = receive(&mut stream, true).unwrap();
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        let mut lines = BufReader::new(&stream).lines();
        let _length_of_chunk = lines.next().unwrap().unwrap();
        let line = lines.next().unwrap().unwrap();
        let report = serde_json::from_str(&line).unwrap();
        Self { stream, report }
    }

    fn token(&self) -> &str {
        self.report["token"].as_str().unwrap()
    }
}

fn status(daemon: &InProcess, token: &str, path: &str) -> u16 {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n");
    exchange(&mut daemon.tcp(), request).unwrap().status
}

/// Two identities, both in hand.
fn two() -> (InProcess, Upstream) {
    let clock = Arc::new(SystemClock::new());
    let expiry = clock.now().plus(Duration::from_hours(6));
    let upstream = Upstream::answering(upstream::credentials(expiry));
    let identities = [
        ("billing", upstream.uri("/")),
        ("default", upstream.uri("/")),
    ];
    (InProcess::start(clock, &identities).warm(), upstream)
}

/// A stop closes the connection that keeps the token, and answers those who have come before.
#[test]
fn whoever_has_connected_before_a_stop_is_not_refused_for_the_end_of_the_lease() {
    // It stands still, and so does what bounds the drain.
    let clock = Arc::new(HandClock::new());
    let expiry = clock.now().plus(Duration::from_hours(6));
    let upstream = Upstream::answering(upstream::credentials(expiry));
    let daemon = InProcess::start(clock, &[("default", upstream.uri("/"))]);
    let mut daemon = daemon.warm();
    let mut leased = Leased::take(&daemon, &json!({"identity": "default"}));
    let mut connected = daemon.tcp();
    assert_eq!(status(&daemon, leased.token(), PATH), 200);
    daemon.stop();
    let mut rest = Vec::new();
    // Cut off, as a chunked body has no end then.
    let _ = leased.stream.read_to_end(&mut rest);
    let request = format!(
        "GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {}\r\n\r\n",
        leased.token()
    );
    assert_eq!(exchange(&mut connected, request).unwrap().status, 200);
    daemon.end();
}

#[test]
fn a_lease_opens_one_identity_and_says_where_it_is() {
    let (daemon, _upstream) = two();
    let leased = Leased::take(&daemon, &json!({"identity": "billing"}));
    assert_eq!(leased.report["identity"], "billing");
    let url = format!("http://{}/v1/credentials/billing", daemon.address);
    assert_eq!(leased.report["url"], url.as_str());
    let token = leased.token();
    assert_eq!(token.len(), 64);
    assert_ne!(token, daemon.token);
    assert_eq!(status(&daemon, token, "/v1/credentials/billing"), 200);
    // The only one that this token knows.
    assert_eq!(status(&daemon, token, PATH), 200);
    assert_eq!(status(&daemon, token, "/v1/credentials/default"), 403);
    assert_eq!(status(&daemon, token, "/v1/credentials/none"), 403);
    let of_default = Leased::take(&daemon, &json!({}));
    assert_eq!(of_default.report["identity"], "default");
    assert_eq!(
        status(&daemon, of_default.token(), "/v1/credentials/billing"),
        403
    );
}

#[test]
fn a_lease_ends_with_its_connection_and_takes_no_other_with_it() {
    let (daemon, _upstream) = two();
    let (first, second) = (
        Leased::take(&daemon, &json!({})),
        Leased::take(&daemon, &json!({})),
    );
    let (ended, kept) = (first.token().to_owned(), second.token().to_owned());
    assert_eq!(status(&daemon, &ended, PATH), 200);
    drop(first);
    eventually("the lease has ended", || {
        (status(&daemon, &ended, PATH) == 403).then_some(())
    });
    assert_eq!(status(&daemon, &kept, PATH), 200);
    assert_eq!(status(&daemon, &daemon.token, PATH), 200);
}

#[test]
fn a_lease_ends_also_if_its_holder_has_said_more_than_it_should() {
    let (daemon, _upstream) = two();
    let mut leased = Leased::take(&daemon, &json!({}));
    leased.stream.write_all(b"and another thing").unwrap();
    let token = leased.token().to_owned();
    drop(leased);
    eventually("the lease has ended", || {
        (status(&daemon, &token, PATH) == 403).then_some(())
    });
}

#[test]
fn a_token_can_be_leased_again_and_lives_until_the_last_lease_ends() {
    let (daemon, _upstream) = two();
    let first = Leased::take(&daemon, &json!({"identity": "billing"}));
    let token = first.token().to_owned();
    let again = json!({"identity": "billing", "token": token});
    let second = Leased::take(&daemon, &again);
    assert_eq!(second.token(), token);
    drop(first);
    // Whether the first has been dropped cannot be seen; a third one's end can.
    let third = Leased::take(&daemon, &json!({}));
    let of_third = third.token().to_owned();
    drop(third);
    eventually("a later lease has ended", || {
        (status(&daemon, &of_third, PATH) == 403).then_some(())
    });
    assert_eq!(status(&daemon, &token, "/v1/credentials/billing"), 200);
}

#[test]
fn a_lease_that_is_asked_for_wrongly_is_refused_in_words() {
    let (daemon, _upstream) = two();
    for (body, expected) in [
        ("", 400),
        ("{", 400),
        ("[]", 400),
        ("null", 400),
        (r#"{"identity": 1}"#, 400),
        (r#"{"unknown": "x"}"#, 400),
        (r#"{"token": "short"}"#, 400),
        (
            r#"{"token": "ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ"}"#,
            400,
        ),
        (r#"{"identity": "none"}"#, 404),
        (r#"{"identity": "../x"}"#, 404),
    ] {
        let reply = exchange(&mut daemon.unix(), post(body)).unwrap();
        assert_eq!(reply.status, expected, "{body}");
        assert!(!reply.json()["message"].as_str().unwrap().is_empty());
    }
    let long = format!(r#"{{"identity": "{}"}}"#, "x".repeat(1000));
    let reply = exchange(&mut daemon.unix(), post(&long)).unwrap();
    assert_eq!(reply.status, 400);
}

#[test]
fn a_lease_is_for_the_unix_socket_alone() {
    let (daemon, _upstream) = two();
    let request = post("{}").replace(
        "\r\n\r\n",
        &format!("\r\nAuthorization: {}\r\n\r\n", daemon.token),
    );
    let reply = exchange(&mut daemon.tcp(), request).unwrap();
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (403, "MethodNotAllowed")
    );
    let reply = exchange(&mut daemon.admin(), post("{}")).unwrap();
    assert_eq!(reply.status, 404);
    let get = "GET /v1/lease HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(exchange(&mut daemon.unix(), get).unwrap().status, 404);
}

#[test]
fn whoever_asks_for_a_lease_and_does_not_say_which_is_cut_off() {
    let clock = Arc::new(HandClock::new());
    let upstream = Upstream::hanging();
    let daemon = InProcess::start(Arc::clone(&clock) as _, &[("default", upstream.uri("/"))]);
    let mut stream = daemon.unix();
    let head = "POST /v1/lease HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n{";
    stream.write_all(head.as_bytes()).unwrap();
    stream.within(Duration::from_millis(20));
    let reply = eventually("an answer", || {
        clock.wind(Duration::from_secs(1));
        stream.read(&mut [0]).ok()
    });
    assert_eq!(reply, 1);
}

#[test]
fn the_socket_tells_how_to_reach_the_http_endpoint() {
    let served = Served::new();
    let request = "GET /v1/endpoint HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let reply = exchange(&mut served.daemon.unix(), request).unwrap();
    let report = reply.json();
    assert_eq!(report["url"], format!("http://{}", served.daemon.address));
    let file = served
        .daemon
        .socket()
        .with_file_name("tokens/default/token");
    assert_eq!(report["token-file"], file.to_str().unwrap());
}
