//! What goes out, byte for byte: the rules that every SDK's reader sets.

use std::sync::Arc;
use std::time::Duration;

use credd::clock::{Clock, SystemClock};

use super::{PATH, Served};
use crate::serving::clock::HandClock;
use crate::serving::daemon::InProcess;
use crate::serving::eventually;
use crate::serving::upstream::{self, Answer, Upstream};
use crate::serving::wire::{Reply, Wire, exchange, receive};

fn get(stream: &mut impl Wire, token: &str, path: &str) -> Reply {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n");
    exchange(stream, request).unwrap()
}

#[test]
fn credentials_are_exactly_what_the_sdks_read() {
    let clock = Arc::new(HandClock::new());
    let expiry = clock.now().plus(Duration::from_hours(6));
    let upstream = Upstream::answering(upstream::credentials(expiry));
    let daemon = InProcess::start(clock, &[("default", upstream.uri("/"))]).warm();
    let reply = get(&mut daemon.tcp(), &daemon.token, PATH);
    let expected = concat!(
        r#"{"AccessKeyId":"ASIACANARY0000000001","#,
        r#""SecretAccessKey":"canary/secret/access/key","#,
        r#""Token":"canary-session-token","#,
        r#""Expiration":"2026-11-22T15:30:00Z","#,
        r#""AccountId":"123456789012","#,
        r#""RoleArn":"arn:aws:iam::123456789012:role/canary"}"#,
    );
    assert_eq!(
        reply.body.escape_ascii().to_string(),
        expected.escape_debug().to_string()
    );
    assert_eq!(reply.status, 200);
    let names: Vec<&str> = reply
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        names,
        ["content-type", "cache-control", "content-length", "date"]
    );
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let length = expected.len().to_string();
    assert_eq!(reply.header("content-length"), Some(length.as_str()));
}

#[test]
fn what_the_upstream_does_not_say_is_left_out() {
    let clock = Arc::new(HandClock::new());
    let expiry = clock.now().plus(Duration::from_hours(6));
    let body = format!(
        r#"{{"AccessKeyId":"ASIA1","SecretAccessKey":"s","Token":"t","Expiration":"{expiry}"}}"#
    );
    let answer = Answer {
        status: 200,
        body: body.clone(),
    };
    let upstream = Upstream::answering(answer);
    let daemon = InProcess::start(clock, &[("default", upstream.uri("/"))]).warm();
    let reply = get(&mut daemon.tcp(), &daemon.token, PATH);
    assert_eq!(String::from_utf8(reply.body).unwrap(), body);
}

#[test]
fn the_longest_session_token_of_aws_still_makes_a_body_that_the_c_sdk_takes() {
    let clock = Arc::new(HandClock::new());
    let expiry = clock.now().plus(Duration::from_hours(6));
    let long = upstream::credentials(expiry)
        .body
        .replace(upstream::TOKEN, &"x".repeat(4096));
    let upstream = Upstream::answering(Answer {
        status: 200,
        body: long,
    });
    let daemon = InProcess::start(clock, &[("default", upstream.uri("/"))]).warm();
    let reply = get(&mut daemon.tcp(), &daemon.token, PATH);
    assert!(reply.body.len() > 4096);
    assert!(reply.body.len() < 10_000, "{}", reply.body.len());
}

#[test]
fn every_error_body_has_its_names_in_both_casings_and_the_same_headers() {
    let served = Served::new();
    let token = &served.daemon.token;
    let asked = |line: &str, token: &str| {
        served.answer(format!(
            "{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n"
        ))
    };
    for (reply, status, code) in [
        (asked("GET /v1/credentials", "wrong"), 403, "AccessDenied"),
        (asked("PUT /v1/credentials", token), 403, "MethodNotAllowed"),
        (
            asked("GET /v1/credentials/no", token),
            404,
            "IdentityNotFound",
        ),
        (asked("GET /nothing", token), 404, "NotFound"),
    ] {
        assert_eq!(reply.status, status);
        let body = reply.json();
        let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["Code", "Message", "code", "message"]);
        assert_eq!(body["code"], code);
        assert_eq!(body["Code"], body["code"]);
        assert_eq!(body["Message"], body["message"]);
        // Go and Kotlin read an error body only under exactly this type.
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("transfer-encoding"), None);
    }
}

#[test]
fn unknown_identities_and_paths_are_not_found_with_the_token() {
    let served = Served::new();
    for (path, status, code) in [
        ("/v1/credentials/none", 404, "IdentityNotFound"),
        ("/v1/credentials/Default", 404, "IdentityNotFound"),
        ("/v1/credentials/default/", 404, "IdentityNotFound"),
        ("/v1/credentials/default/x", 404, "IdentityNotFound"),
        ("/v1/credentials//default", 404, "IdentityNotFound"),
        ("/v1/credentials/../credentials", 404, "IdentityNotFound"),
        ("/v1/credentials/%64efault", 404, "IdentityNotFound"),
        ("/v1/credentials/default%00", 404, "IdentityNotFound"),
        ("/v1/credentials%2fdefault", 404, "NotFound"),
        ("/v1/credentialsx", 404, "NotFound"),
        ("/V1/credentials", 404, "NotFound"),
        ("/v1/./credentials", 404, "NotFound"),
        ("//v1/credentials", 404, "NotFound"),
        ("/", 404, "NotFound"),
        ("/v1/status", 404, "NotFound"),
        ("/v1/endpoint", 404, "NotFound"),
        ("/v1/lease", 404, "NotFound"),
        ("/latest/meta-data/", 404, "NotFound"),
        ("/favicon.ico", 404, "NotFound"),
    ] {
        let reply = get(&mut served.daemon.tcp(), &served.daemon.token, path);
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (status, code),
            "{path}"
        );
    }
    for path in [
        PATH,
        "/v1/credentials/",
        "/v1/credentials/default",
        "/v1/credentials?x=y",
        "/v1/credentials/default?",
    ] {
        let reply = get(&mut served.daemon.tcp(), &served.daemon.token, path);
        assert_eq!(reply.status, 200, "{path}");
    }
}

#[test]
fn each_of_several_identities_has_its_own_path() {
    let clock = Arc::new(SystemClock::new());
    let expiry = clock.now().plus(Duration::from_hours(6));
    let of = |account: &str| {
        let body = upstream::credentials(expiry)
            .body
            .replace(upstream::ACCOUNT, account);
        Upstream::answering(Answer { status: 200, body })
    };
    let (billing, ops) = (of("111111111111"), of("222222222222"));
    let account = |reply: &Reply| reply.json()["AccountId"].as_str().map(str::to_owned);

    let named = [("billing", billing.uri("/")), ("ops", ops.uri("/"))];
    let daemon = InProcess::start(Arc::clone(&clock) as _, &named).warm();
    let mut stream = daemon.tcp();
    let reply = get(&mut stream, &daemon.token, "/v1/credentials/billing");
    assert_eq!(account(&reply).as_deref(), Some("111111111111"));
    let reply = get(&mut stream, &daemon.token, "/v1/credentials/ops");
    assert_eq!(account(&reply).as_deref(), Some("222222222222"));
    // Which of the two is meant, nobody has said.
    let reply = get(&mut stream, &daemon.token, PATH);
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (404, "IdentityRequired")
    );

    let with_default = [("billing", billing.uri("/")), ("default", ops.uri("/"))];
    let daemon = InProcess::start(Arc::clone(&clock) as _, &with_default).warm();
    let reply = get(&mut daemon.tcp(), &daemon.token, PATH);
    assert_eq!(account(&reply).as_deref(), Some("222222222222"));

    let only = [("billing", billing.uri("/"))];
    let daemon = InProcess::start(clock, &only).warm();
    let reply = get(&mut daemon.tcp(), &daemon.token, PATH);
    assert_eq!(account(&reply).as_deref(), Some("111111111111"));
}

#[test]
fn a_request_that_comes_before_the_credentials_waits_800_ms_and_is_asked_to_come_again() {
    let clock = Arc::new(HandClock::new());
    let upstream = Upstream::hanging();
    let daemon = InProcess::start(Arc::clone(&clock) as _, &[("default", upstream.uri("/"))]);
    // The refresher's deadlines are set by then.
    eventually("the upstream is asked", || {
        (upstream.calls() > 0).then_some(())
    });
    let mut stream = clock.until_a_deadline(|| daemon.tcp());
    let request = format!(
        "GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {}\r\n\r\n",
        daemon.token
    );
    clock.until_a_deadline(|| std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap());
    clock.wind(Duration::from_millis(799));
    stream.within(Duration::from_millis(20));
    let early = std::io::Read::read(&mut stream, &mut [0]);
    assert!(early.is_err(), "{early:?}");
    clock.wind(Duration::from_millis(1));
    let reply = receive(&mut stream, true).unwrap();
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (503, "RequestTimeout")
    );
    assert_eq!(reply.json()["Code"], "RequestTimeout");
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(upstream.calls(), 1);
}

#[test]
fn a_request_that_waits_is_answered_as_soon_as_there_are_credentials() {
    let clock = Arc::new(HandClock::new());
    let upstream = Upstream::hanging();
    let daemon = InProcess::start(Arc::clone(&clock) as _, &[("default", upstream.uri("/"))]);
    let mut streams: Vec<_> = (0..20).map(|_| daemon.tcp()).collect();
    let request = format!(
        "GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {}\r\n\r\n",
        daemon.token
    );
    for stream in &mut streams {
        std::io::Write::write_all(stream, request.as_bytes()).unwrap();
    }
    eventually("the upstream is asked", || {
        (upstream.calls() > 0).then_some(())
    });
    upstream.answer(upstream::credentials(
        clock.now().plus(Duration::from_hours(6)),
    ));
    for stream in &mut streams {
        assert_eq!(receive(stream, true).unwrap().status, 200);
    }
    assert_eq!(upstream.calls(), 1);
}

#[test]
fn long_lived_keys_of_which_aws_makes_no_session_are_not_handed_out_instead() {
    let upstream = Upstream::answering(Answer {
        status: 403,
        body: NO_SESSION.to_owned(),
    });
    let sts = upstream.uri("/");
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIACANARY0000000001"),
        ("AWS_SECRET_ACCESS_KEY", upstream::SECRET),
        ("AWS_ENDPOINT_URL_STS", sts.as_str()),
    ];
    let daemon = InProcess::from_environment(Arc::new(SystemClock::new()), &keys);
    let reply = get(&mut daemon.tcp(), &daemon.token, PATH);
    assert_eq!((reply.status, reply.code().as_str()), (403, "AccessDenied"));
    let all = reply.body.escape_ascii().to_string();
    assert!(!all.to_lowercase().contains("canary"), "{all}");
}

const NO_SESSION: &str = "<ErrorResponse><Error><Code>AccessDenied</Code>\
    <Message>upstream-canary</Message></Error></ErrorResponse>";

#[test]
fn what_the_upstream_says_is_for_operators_and_not_for_clients() {
    let refusal = Answer {
        status: 400,
        body: r#"{"code":"UpstreamCanary","message":"upstream-canary"}"#.to_owned(),
    };
    let upstream = Upstream::answering(refusal);
    let identities = [("default", upstream.uri("/"))];
    let daemon = InProcess::start(Arc::new(SystemClock::new()), &identities);
    let reply = get(&mut daemon.tcp(), &daemon.token, PATH);
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (403, "ConfigurationError")
    );
    let all = reply.body.escape_ascii().to_string();
    assert!(!all.to_lowercase().contains("canary"), "{all}");
    let failure = daemon.status().identities.remove(0).failure.unwrap();
    assert!(failure.message.contains("upstream-canary"), "{failure:?}");
}
