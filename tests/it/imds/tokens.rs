//! Session tokens: how they are come by, and that nothing is answered without one.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::serving::wire::receive;

#[test]
fn a_token_is_given_for_1_to_21600_seconds_and_its_life_is_echoed() {
    let instance = Instance::new();
    for seconds in ["1", "60", "300", "21600"] {
        let reply = instance.put(&ttl(seconds));
        assert_eq!(reply.status, 200);
        // The Go SDK fails without (Firecracker's MMDS had to learn it; the IAM Roles Anywhere
        // helper sets it after its body, so that it is never sent).
        let header = "x-aws-ec2-metadata-token-ttl-seconds";
        assert_eq!(reply.header(header), Some(seconds));
        assert_eq!(reply.header("content-type"), Some("text/plain"));
        assert_eq!(reply.body.len(), 64);
    }
    for headers in [
        String::new(),
        ttl(""),
        ttl("0"),
        ttl("21601"),
        ttl("-1"),
        ttl("+60"),
        ttl("60.0"),
        ttl("1h"),
        ttl("4294967356"),
        ttl("60") + &ttl("60"),
        "X-aws-ec2-metadata-token-ttl: 60\r\n".to_owned(),
    ] {
        let reply = instance.put(&headers);
        assert_eq!(reply.status, 400, "{headers}");
        assert!(text(&reply).contains("<h1>400 - Bad Request</h1>"));
    }
}

/// IMDSv1 is not there: what a downgrade or a plain request forgery sends is answered nothing.
#[test]
fn nothing_is_answered_without_a_token() {
    let instance = Instance::new();
    let paths = [
        "/",
        "/latest",
        "/latest/meta-data/",
        ROLE,
        "/latest/meta-data/iam/security-credentials/default",
        "/latest/meta-data/iam/security-credentials-extended/default",
        "/latest/meta-data/iam/info",
        REGION,
        DOCUMENT,
        TOKEN,
        "/nothing",
    ];
    for path in paths {
        for method in ["GET", "HEAD"] {
            let reply = instance.ask(method, path, "");
            assert_eq!(reply.status, 401, "{method} {path}");
            assert_eq!(reply.header("content-type"), Some("text/html"));
        }
    }
    assert_eq!(
        text(&instance.ask("GET", ROLE, "")),
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n\
         <!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n\
         \t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n\
         <html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n \
         <head>\n  <title>401 - Unauthorized</title>\n </head>\n \
         <body>\n  <h1>401 - Unauthorized</h1>\n </body>\n</html>\n"
    );
}

#[test]
fn wrong_and_doubled_tokens_are_none() {
    let instance = Instance::new();
    let token = instance.token();
    assert_eq!(instance.ask("GET", ROLE, &shown(&token)).status, 200);
    let mut changed = token.clone().into_bytes();
    changed[40] = if changed[40] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    for headers in [
        shown(""),
        shown("x"),
        shown(&"A".repeat(64)),
        shown(&"A".repeat(10_000)),
        shown(&changed),
        shown(&token[..63]),
        shown(&token[1..]),
        shown(&format!("{token}A")),
        shown(&format!("{token}==")),
        shown(&format!("{token} {token}")),
        shown(&format!("{token},{token}")),
        shown(&format!("\"{token}\"")),
        // Which of two counts would be anybody's guess.
        shown(&token) + &shown(&token),
        shown("x") + &shown(&token),
        // The tokens of other doors.
        shown(&instance.daemon.token),
        format!("Authorization: {}\r\n", instance.daemon.token),
        format!("Authorization: {token}\r\n"),
        format!("Cookies: X-aws-ec2-metadata-token={token}\r\n"),
        format!("X-metadata-token: {token}\r\n"),
    ] {
        let reply = instance.ask("GET", ROLE, &headers);
        assert_eq!(reply.status, 401, "{headers}");
    }
    let path = format!("{ROLE}default?X-aws-ec2-metadata-token={token}");
    assert_eq!(instance.ask("GET", &path, "").status, 401);
}

#[test]
fn a_token_ends_when_it_said() {
    let instance = Instance::new();
    let short = String::from_utf8(instance.put(&ttl("60")).body).unwrap();
    let long = instance.token();
    instance.clock.wind(Duration::from_millis(59_999));
    assert_eq!(instance.ask("GET", ROLE, &shown(&short)).status, 200);
    instance.clock.wind(Duration::from_millis(1));
    assert_eq!(instance.ask("GET", ROLE, &shown(&short)).status, 401);
    assert_eq!(instance.ask("GET", ROLE, &shown(&long)).status, 200);
}

#[test]
fn a_token_of_before_a_restart_is_asked_for_again() {
    let before = Instance::new().token();
    let instance = Instance::new();
    assert_eq!(instance.ask("GET", ROLE, &shown(&before)).status, 401);
}

/// The IAM Roles Anywhere helper keeps 256, drops others' for new ones, and logs those. That no token
/// of ours is in a log is what tests/canaries looks for.
#[test]
fn no_number_of_tokens_makes_an_earlier_one_invalid() {
    let instance = Instance::new();
    let first = instance.token();
    let mut stream = instance.connect();
    let host = instance.daemon.imds[0];
    let put = format!("PUT {TOKEN} HTTP/1.1\r\nHost: {host}\r\n{}\r\n", ttl("60"));
    for _ in 0..1000 {
        assert_eq!(exchange(&mut stream, &put).unwrap().status, 200);
    }
    assert_eq!(instance.ask("GET", ROLE, &shown(&first)).status, 200);
}

#[test]
fn a_token_is_only_put_for_at_its_one_path() {
    let instance = Instance::new();
    for path in [
        "/",
        "/latest",
        "/latest/api",
        "/latest/api/token/x",
        "/2021-07-15/api/token",
        "/latest/meta-data/iam/security-credentials/default",
    ] {
        let reply = instance.ask("PUT", path, &ttl("60"));
        assert_eq!(reply.status, 403, "{path}");
        assert!(!is_leaking(&reply));
    }
    let reply = instance.get(TOKEN);
    assert_eq!((reply.status, reply.header("allow")), (405, Some("PUT")));
}

#[test]
fn no_bytes_as_a_token_make_it_a_200() {
    let instance = Instance::new();
    let host = instance.daemon.imds[0];
    // What a header may hold; the rest is refused before.
    let text = prop::collection::vec(prop_oneof![32..127_u8, 128..=255_u8], 0..120);
    let mut runner = TestRunner::new(Config::with_cases(500));
    let outcome = runner.run(&text, |bytes| {
        let mut request = format!("GET {ROLE}default HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
        request.extend(b"X-aws-ec2-metadata-token: ");
        request.extend(bytes);
        request.extend(b"\r\n\r\n");
        let reply = instance.raw(request);
        prop_assert_eq!(reply.status, 401);
        prop_assert!(!is_leaking(&reply));
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn a_token_and_its_use_fit_one_connection() {
    let instance = Instance::new();
    let host = instance.daemon.imds[0];
    let mut stream = instance.connect();
    // As Rust and Go put: with a length of nothing.
    let put = format!(
        "PUT {TOKEN} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n{}\r\n",
        ttl("21600")
    );
    let token = String::from_utf8(exchange(&mut stream, put).unwrap().body).unwrap();
    for path in [ROLE, "/nothing", REGION] {
        let headers = shown(&token);
        let get = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        assert!(exchange(&mut stream, get).is_some(), "{path}");
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(receive(&mut stream, true).is_none());
}
