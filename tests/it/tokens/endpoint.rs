//! What callers are told of tokens whom rules alone admit.

use super::*;

const ENDPOINT: &str = r"GET /v1/endpoint HTTP/1.1\r\nHost: localhost\r\n\r\n";
const OF_DEFAULT: &str = r"GET /v1/endpoint/default HTTP/1.1\r\nHost: localhost\r\n\r\n";
const OF_OTHER: &str = r"GET /v1/endpoint/other HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LEASE: &str = r"POST /v1/lease HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";

/// A stranger whom a rule admits on the Unix socket, and the token `worker` for a group.
fn with_a_rule() -> Ground {
    let mut ground = Ground::with_worker(TokenSettings {
        group: Some(GROUP),
        mode: 0o640,
        ..PRIVATE
    });
    ground.config.allow.push(rule(Conditions {
        user: Some(STRANGER),
        ..Conditions::default()
    }));
    ground
}

/// The body of an answer as Python has printed it.
#[track_caller]
fn body(said: &Said) -> Value {
    assert!(said.stdout.starts_with("HTTP/1.1 200 "), "{said:?}");
    let (_, body) = said.stdout.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body.trim()).unwrap()
}

#[test]
fn the_file_that_is_told_is_one_that_the_caller_can_read_and_that_opens_what_it_asks_for() {
    if !can_be_another() {
        return;
    }
    let ground = with_a_rule();
    let _daemon = ground.serve();
    let socket = ground.path("credd.sock");
    let asked = |group, request| asked_by_stranger(group, &socket, request);
    let worker = ground.path("tokens/worker/token");
    for request in [ENDPOINT, OF_DEFAULT] {
        let in_group = body(&asked(GROUP, request));
        assert_eq!(in_group["token-file"], worker.to_str().unwrap());
        let read = as_stranger(GROUP, &["cat", in_group["token-file"].as_str().unwrap()]);
        assert_eq!(read.data(), ground.token("worker"));
        let without = body(&asked(OTHER_GROUP, request));
        assert_eq!(without.as_object().unwrap().get("token-file"), None);
        assert_eq!(without["url"], in_group["url"]);
    }
    for group in [GROUP, OTHER_GROUP] {
        let said = asked(group, OF_OTHER);
        assert!(said.stdout.starts_with("HTTP/1.1 403 "), "{said:?}");
    }
}

#[test]
fn whom_a_rule_admits_gets_a_lease_for_what_it_opens() {
    if !can_be_another() {
        return;
    }
    let ground = with_a_rule();
    let _daemon = ground.serve();
    let said = asked_by_stranger(OTHER_GROUP, &ground.path("credd.sock"), LEASE);
    assert!(said.stdout.starts_with("HTTP/1.1 200 "), "{said:?}");
    assert!(said.stdout.contains(r#""identity":"default""#), "{said:?}");
}

#[test]
fn a_caller_whom_no_rule_admits_learns_nothing_of_tokens() {
    if !can_be_another() {
        return;
    }
    let mut ground = with_a_rule();
    // The door is open to somebody else.
    ground.config.allow[1].caller.user = Some(STRANGER + 1);
    let _daemon = ground.serve();
    for request in [ENDPOINT, OF_DEFAULT, LEASE] {
        let said = asked_by_stranger(GROUP, &ground.path("credd.sock"), request);
        assert!(said.stdout.starts_with("HTTP/1.1 403 "), "{said:?}");
        assert!(!said.stdout.contains("token-file"), "{said:?}");
    }
}

#[test]
fn the_owner_is_told_of_the_token_that_opens_everything() {
    let ground = Ground::with_worker(PRIVATE);
    let daemon = ground.serve();
    for path in ["/v1/endpoint", "/v1/endpoint/default"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let report = exchange(&mut daemon.unix(), request).unwrap().json();
        let file = ground.path("tokens/default/token");
        assert_eq!(report["token-file"], file.to_str().unwrap());
    }
    let request = "GET /v1/endpoint/none HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let reply = exchange(&mut daemon.unix(), request).unwrap();
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (404, "IdentityNotFound")
    );
}
