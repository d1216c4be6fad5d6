//! Where a request begins and ends: no two readings of the same bytes.

use std::io::Write;

use super::{PATH, Served, is_leaking};
use crate::serving::wire::{exchange, receive};

/// Heads that break the grammar of RFC 9112. `{head}` stands for a proper request up to its last
/// header's CRLF. Each gets 400 or no answer at all, and the connection is closed.
const MALFORMED: &[&str] = &[
    // Bare CR, bare LF in the middle of a value, NUL and other controls.
    "{head}X: a\rb\r\n\r\n",
    "{head}X: a\0b\r\n\r\n",
    "{head}X\0: b\r\n\r\n",
    "{head}X: \x01\r\n\r\n",
    "{head}X: \x7f\r\n\r\n",
    "{head}\r \r\n\r\n",
    "GET /v1/credentials\0 HTTP/1.1\r\n\r\n",
    "GET\r /v1/credentials HTTP/1.1\r\n\r\n",
    "\0GET /v1/credentials HTTP/1.1\r\n\r\n",
    // Folded headers (obs-fold), which some read as one line and some as two.
    "{head}X: a\r\n b\r\n\r\n",
    "{head}X: a\r\n\tb\r\n\r\n",
    "{head}X:\r\n example.com\r\n\r\n",
    "GET /v1/credentials HTTP/1.1\r\n Host: 127.0.0.1\r\n\r\n",
    // Names that are none.
    "{head}X : b\r\n\r\n",
    "{head}X\t: b\r\n\r\n",
    "{head}: b\r\n\r\n",
    "{head}X\r\n\r\n",
    "{head}X Y: b\r\n\r\n",
    "{head}(X): b\r\n\r\n",
    "{head}\u{e9}: b\r\n\r\n",
    // Lengths that are none, or two.
    "{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "{head}Content-Length: 0\r\nContent-Length: 5\r\n\r\nab",
    "{head}Content-Length: 1, 2\r\n\r\nab",
    "{head}Content-Length: -1\r\n\r\n",
    "{head}Content-Length: +1\r\n\r\na",
    "{head}Content-Length: 0x1\r\n\r\na",
    "{head}Content-Length: 1a\r\n\r\na",
    "{head}Content-Length: \r\n\r\n",
    "{head}Content-Length: 18446744073709551616\r\n\r\n",
    "{head}Content-Length: 99999999999999999999999\r\n\r\n",
    // Codings that are not chunked in the end.
    "{head}Transfer-Encoding: identity\r\n\r\n",
    "{head}Transfer-Encoding: gzip\r\n\r\n",
    "{head}Transfer-Encoding: chunked, identity\r\n\r\n",
    "{head}Transfer-Encoding: xchunked\r\n\r\n",
    "{head}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
    // Lines that are no request lines.
    "GET /v1/credentials\r\n",
    "GET /v1/credentials\r\n\r\n",
    "GET\r\n\r\n",
    "GET  HTTP/1.1\r\n\r\n",
    "GET /v1/credentials HTTP/1.2\r\n\r\n",
    "GET /v1/credentials HTTP/2.0\r\n\r\n",
    "GET /v1/credentials HTTP/0.9\r\n\r\n",
    "GET /v1/credentials http/1.1\r\n\r\n",
    "GET /v1/credentials HTTP/1.1 \r\n\r\n",
    "GET /v1/credentials HTTP/1.1 x\r\n\r\n",
    "GET /v1/credentials x HTTP/1.1\r\n\r\n",
    "GET \t/v1/credentials HTTP/1.1\r\n\r\n",
    " GET /v1/credentials HTTP/1.1\r\n\r\n",
    "G ET /v1/credentials HTTP/1.1\r\n\r\n",
    "GET v1/credentials HTTP/1.1\r\n\r\n",
    "GET /v1/cred entials HTTP/1.1\r\n\r\n",
    "(GET) /v1/credentials HTTP/1.1\r\n\r\n",
    // Other protocols.
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03",
    "SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "*1\r\n$4\r\nPING\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\n",
    "{}\r\n\r\n",
];

/// A second request where some reader might see one.
const SMUGGLED: &str = "GET /v1/credentials HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

#[test]
fn malformed_heads_get_nothing_and_close_the_connection() {
    let served = Served::new();
    let head = served.request_with("");
    let head = head.strip_suffix("\r\n").unwrap();
    for form in MALFORMED {
        let mut stream = served.daemon.tcp();
        let request = form.replace("{head}", head);
        let reply = exchange(&mut stream, &request);
        if let Some(reply) = reply {
            assert_eq!(reply.status, 400, "{form:?}");
            assert!(!is_leaking(&reply), "{form:?}");
            // hyper's own answer: nothing to read, and nothing that says who answers.
            assert_eq!(reply.header("content-length"), Some("0"), "{form:?}");
            assert_eq!(reply.header("server"), None);
            let again = receive(&mut stream, true);
            assert!(again.is_none(), "{form:?}: {again:?}");
        }
    }
    // No connection has taken the daemon with it.
    assert_eq!(served.answer(served.request_with("")).status, 200);
}

#[test]
fn requests_with_a_body_are_refused_however_its_length_is_said() {
    let served = Served::new();
    let length = SMUGGLED.len();
    for headers in [
        format!("Content-Length: {length}\r\n"),
        format!("Content-Length: {length}\r\nContent-Length: {length}\r\n"),
        "Transfer-Encoding: chunked\r\n".to_owned(),
        "Transfer-Encoding: Chunked\r\n".to_owned(),
        "Transfer-Encoding: gzip, chunked\r\n".to_owned(),
        // Which of the two counts is what front and back disagree on.
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        format!("Expect: 100-continue\r\nContent-Length: {length}\r\n"),
    ] {
        let mut stream = served.daemon.tcp();
        let head = served.request_with(&headers);
        let chunked = headers.to_ascii_lowercase().contains("chunked");
        let body = if chunked {
            format!("{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n")
        } else {
            SMUGGLED.to_owned()
        };
        let reply = exchange(&mut stream, format!("{head}{body}")).unwrap();
        assert_eq!(reply.status, 403, "{headers:?}");
        assert_eq!(reply.code(), "AccessDenied", "{headers:?}");
        // And what was inside is nobody's request.
        let again = receive(&mut stream, true);
        assert!(again.is_none(), "{headers:?}: {again:?}");
    }
}

#[test]
fn a_length_of_nothing_is_no_body() {
    let served = Served::new();
    let reply = served.answer(served.request_with("Content-Length: 0\r\n"));
    assert_eq!(reply.status, 200);
}

#[test]
fn what_a_body_might_hide_is_not_answered_with_credentials() {
    let served = Served::new();
    // A reader that goes by the length sees one request, one that goes by chunks sees two.
    let inner = served.request_with("");
    let request = format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
        inner.len() + 5
    );
    let mut stream = served.daemon.tcp();
    let reply = exchange(&mut stream, request).unwrap();
    assert_eq!(reply.status, 403);
    let again = receive(&mut stream, true);
    assert!(again.is_none(), "{again:?}");
}

/// Chunks that some reader might take for others. `{inner}` stands for a whole request.
const TRICKS: &[&str] = &[
    "0x2\r\n{}\r\n0\r\n\r\n{inner}",
    "-2\r\n{}\r\n0\r\n\r\n{inner}",
    "+2\r\n{}\r\n0\r\n\r\n{inner}",
    "\r\n2\r\n{}\r\n0\r\n\r\n{inner}",
    "2\n{}\n0\n\n{inner}",
    "2\r{}\r0\r\r{inner}",
    "2\r\n{}0\r\n\r\n{inner}",
    "2\r\n{}\n0\r\n\r\n{inner}",
    "2\r\n{}XX0\r\n\r\n{inner}",
    "2;a\n\r\n{}\r\n0\r\n\r\n{inner}",
    "10000000000000002\r\n{}\r\n0\r\n\r\n{inner}",
    "fffffffffffffffff\r\n{}\r\n0\r\n\r\n{inner}",
    "2,2\r\n{}\r\n0\r\n\r\n{inner}",
    "two\r\n{}\r\n0\r\n\r\n{inner}",
    "2\0\r\n{}\r\n0\r\n\r\n{inner}",
];

#[test]
fn what_malformed_chunks_might_hide_is_nobodys_request() {
    let served = Served::new();
    let inner = format!("GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = "POST /v1/lease HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    for trick in TRICKS {
        let body = trick.replace("{inner}", &inner);
        // Here POST has a meaning, and the caller needs no token.
        let mut stream = served.daemon.unix();
        if let Some(reply) = exchange(&mut stream, format!("{head}{body}")) {
            assert!([400, 403].contains(&reply.status), "{trick:?}: {reply:?}");
            assert!(!is_leaking(&reply), "{trick:?}");
            let again = receive(&mut stream, true);
            assert!(again.is_none(), "{trick:?}: {again:?}");
        }
    }
}

#[test]
fn a_line_that_ends_without_cr_ends_all_the_same() {
    // RFC 9112, 2.2, leaves that open: what is in such a line must not go unseen.
    let served = Served::new();
    let bare = served.request_with("").replace("\r\n", "\n");
    assert_eq!(served.answer(bare).status, 200);
    for hidden in [
        "X: a\nHost: 127.0.0.1\r\n",
        "X: a\nOrigin: null\r\n",
        "X: a\nX-Forwarded-For: 10.0.0.1\r\n",
        "X: a\nContent-Length: 5\r\n",
        "X: a\nTransfer-Encoding: chunked\r\n",
    ] {
        let reply = served.answer(served.request_with(hidden));
        assert_eq!(reply.status, 403, "{hidden:?}");
    }
    // Nor is what stands after an empty line a part of the request before it.
    let mut stream = served.daemon.tcp();
    let request = served.request_with("X: a\n\nGET / HTTP/1.1\r\nHost: 127.0.0.1\r\n");
    assert_eq!(exchange(&mut stream, request).unwrap().status, 200);
    assert_eq!(receive(&mut stream, true).unwrap().status, 403);
}

#[test]
fn requests_in_one_packet_are_answered_in_their_order() {
    let served = Served::new();
    let good = served.request_with("");
    let bad = format!("GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    let head = good.replacen("GET", "HEAD", 1);
    let mut stream = served.daemon.tcp();
    let all = [&good, &head, &good, &good].map(String::as_str).concat();
    stream.write_all((all + &bad).as_bytes()).unwrap();
    for (has_body, status) in [
        (true, 200),
        (false, 200),
        (true, 200),
        (true, 200),
        (true, 403),
    ] {
        assert_eq!(receive(&mut stream, has_body).unwrap().status, status);
    }
}

#[test]
fn two_hundred_requests_in_a_row_on_one_connection_are_all_answered() {
    let served = Served::new();
    let request = served.request_with("");
    let mut stream = served.daemon.tcp();
    for _ in 0..200 {
        assert_eq!(exchange(&mut stream, &request).unwrap().status, 200);
    }
}

#[test]
fn a_request_split_at_any_byte_is_the_same_request() {
    let served = Served::new();
    let request = served.request_with("Accept: application/json\r\n");
    let mut stream = served.daemon.tcp();
    for cut in 1..request.len() {
        let (first, rest) = request.as_bytes().split_at(cut);
        stream.write_all(first).unwrap();
        // A whole exchange on another connection: by its end the first half has been read.
        let between = format!("GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        assert_eq!(served.answer(between).status, 403);
        assert_eq!(exchange(&mut stream, rest).unwrap().status, 200, "{cut}");
    }
}

#[test]
fn http_1_0_is_answered_and_the_connection_ended() {
    let served = Served::new();
    let mut stream = served.daemon.tcp();
    let request = served.request_with("").replacen("HTTP/1.1", "HTTP/1.0", 1);
    assert_eq!(exchange(&mut stream, request).unwrap().status, 200);
    assert!(receive(&mut stream, true).is_none());
}

#[test]
fn a_client_that_asks_for_the_end_of_the_connection_gets_it() {
    let served = Served::new();
    let mut stream = served.daemon.tcp();
    let reply = exchange(&mut stream, served.request_with("Connection: close\r\n")).unwrap();
    assert_eq!(
        (reply.status, reply.header("connection")),
        (200, Some("close"))
    );
    assert!(receive(&mut stream, true).is_none());
}
