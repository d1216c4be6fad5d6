//! The token of a request over TCP: the whole `Authorization`, once, or nothing.

use std::net::{Ipv4Addr, SocketAddr};

use super::{PATH, Served, is_leaking};
use crate::serving::skipped;
use crate::serving::wire::exchange;

/// A request whose `Authorization` lines are these.
fn with(authorizations: &[&str]) -> String {
    let line = |value: &&str| format!("Authorization: {value}\r\n");
    let lines: Vec<String> = authorizations.iter().map(line).collect();
    let lines = lines.concat();
    format!("GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n")
}

#[test]
fn the_token_opens_and_blanks_around_it_are_no_part_of_it() {
    let served = Served::new();
    let token = served.daemon.token.as_str();
    assert_eq!(token.len(), 64);
    for value in [
        token.to_owned(),
        format!("  {token}"),
        format!("{token} \t"),
        format!("\t{token}"),
    ] {
        assert_eq!(served.answer(with(&[&value])).status, 200, "{value:?}");
    }
    let lower_case_name = with(&[token]).replace("Authorization", "authorization");
    assert_eq!(served.answer(lower_case_name).status, 200);
}

#[test]
fn nothing_but_the_token_opens() {
    let served = Served::new();
    let token = served.daemon.token.as_str();
    let mut other = token.to_owned().into_bytes();
    other[0] = if other[0] == b'0' { b'1' } else { b'0' };
    let other = String::from_utf8(other).unwrap();
    let mut last = token.to_owned().into_bytes();
    last[63] = if last[63] == b'0' { b'1' } else { b'0' };
    let last = String::from_utf8(last).unwrap();
    let (half, rest) = token.split_at(32);
    let wrong = [
        String::new(),
        "x".into(),
        "0".repeat(64),
        "0".repeat(10_000),
        other,
        last,
        half.into(),
        rest.into(),
        token[..63].into(),
        token[1..].into(),
        format!("{token}0"),
        format!("0{token}"),
        format!("{token}{token}"),
        format!("{token},{token}"),
        format!("{token}, {token}"),
        format!("{token} {token}"),
        format!("{half} {rest}"),
        format!("Bearer {token}"),
        format!("Basic {token}"),
        format!("AWS4-HMAC-SHA256 {token}"),
        format!("\"{token}\""),
        format!("{token};"),
        token.to_uppercase(),
        "\u{e9}\u{e9}".into(),
        "*".into(),
        "null".into(),
    ];
    for value in &wrong {
        let reply = served.answer(with(&[value]));
        assert_eq!(reply.status, 403, "{value:?}");
        assert_eq!(reply.code(), "AccessDenied", "{value:?}");
        assert!(!is_leaking(&reply), "{value:?}");
        let message = reply.json()["message"].as_str().unwrap().to_owned();
        assert!(!message.contains(token), "{message}");
    }
}

#[test]
fn an_absent_token_and_a_wrong_one_are_told_apart_and_both_say_what_to_do() {
    let served = Served::new();
    let message = |authorizations: &[&str]| {
        let reply = served.answer(with(authorizations));
        assert_eq!((reply.status, reply.code().as_str()), (403, "AccessDenied"));
        reply.json()["message"].as_str().unwrap().to_owned()
    };
    let (absent, wrong) = (message(&[]), message(&["wrong"]));
    assert!(
        absent.contains("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
        "{absent}"
    );
    assert!(wrong.contains("`credd env`"), "{wrong}");
    assert_ne!(absent, wrong);
}

#[test]
fn two_authorizations_are_refused_even_if_one_or_both_are_right() {
    let served = Served::new();
    let token = served.daemon.token.as_str();
    for pair in [
        [token, token],
        [token, "wrong"],
        ["wrong", token],
        ["", token],
    ] {
        assert_eq!(served.answer(with(&pair)).status, 403, "{pair:?}");
    }
}

#[test]
fn a_token_elsewhere_in_the_request_is_none() {
    let served = Served::new();
    let token = &served.daemon.token;
    for request in [
        format!("GET {PATH}?token={token} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
        format!("GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Authorization: {token}\r\n\r\n"),
        format!("GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nProxy-Authorization: {token}\r\n\r\n"),
        format!(
            "GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-aws-ec2-metadata-token: {token}\r\n\r\n"
        ),
    ] {
        assert_eq!(served.answer(&request).status, 403, "{request}");
    }
}

#[test]
fn each_request_of_a_connection_is_judged_by_itself() {
    let served = Served::new();
    let token = served.daemon.token.as_str();
    let mut stream = served.daemon.tcp();
    assert_eq!(exchange(&mut stream, with(&[token])).unwrap().status, 200);
    assert_eq!(exchange(&mut stream, with(&[])).unwrap().status, 403);
}

#[test]
fn without_a_token_a_stranger_does_not_learn_what_there_is() {
    let served = Served::new();
    let paths = [
        "/",
        "/v1",
        "/v1/credentials",
        "/v1/credentials/",
        "/v1/credentials/default",
        "/v1/credentials/none",
        "/v1/status",
        "/v1/endpoint",
        "/v1/lease",
        "/latest/meta-data/iam/security-credentials",
        "/metrics",
    ];
    let answer = |path: &str| {
        let reply = served.answer(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"));
        (reply.status, reply.body)
    };
    let first = answer(paths[0]);
    assert_eq!(first.0, 403);
    for path in paths {
        assert_eq!(answer(path), first, "{path}");
    }
}

#[test]
fn a_connection_from_another_address_of_the_host_is_not_taken() {
    use crate::serving::daemon::InProcess;
    use crate::serving::upstream::Upstream;
    use credd::clock::SystemClock;
    use std::sync::Arc;

    // As route_localnet lets a neighbour's packets in: loopback here, but not there.
    let Some(own) = an_address_that_is_not_loopback() else {
        skipped("this host has no other address than loopback");
        return;
    };
    let upstream = Upstream::hanging();
    let identities = [("default", upstream.uri("/"))];
    let daemon = InProcess::listening_on(
        Arc::new(SystemClock::new()),
        &identities,
        &SocketAddr::from((own, 0)).to_string(),
    );
    let mut stream = daemon.tcp();
    let request = format!(
        "GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {}\r\n\r\n",
        daemon.token
    );
    assert!(exchange(&mut stream, request).is_none());
}

/// The one that packets to far away would come from; none are sent.
fn an_address_that_is_not_loopback() -> Option<Ipv4Addr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(address) if !address.ip().is_loopback() => Some(*address.ip()),
        _ => None,
    }
}
