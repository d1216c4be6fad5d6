//! GET and HEAD, and nothing else.

use super::{PATH, Served, is_leaking};
use crate::serving::wire::{exchange, receive};

const OTHERS: &[&str] = &[
    "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "QUERY", "LINK", "get",
    "Get", "head", "GETX", "X",
];

#[test]
fn other_methods_are_refused_with_the_right_token_and_without() {
    let served = Served::new();
    let token = &served.daemon.token;
    for method in OTHERS {
        for path in [PATH, "/v1/credentials/default", "/v1/lease", "/"] {
            for authorization in [format!("Authorization: {token}\r\n"), String::new()] {
                let reply = served.answer(format!(
                    "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}\r\n"
                ));
                assert_eq!(reply.status, 403, "{method} {path}");
                assert_eq!(reply.code(), "MethodNotAllowed", "{method} {path}");
                assert!(!is_leaking(&reply), "{method} {path}");
            }
        }
    }
}

#[test]
fn a_preflight_gets_no_leave() {
    let served = Served::new();
    let reply = served.answer(format!(
        "OPTIONS {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://example.com\r\n\
         Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n\r\n"
    ));
    assert_eq!(reply.status, 403);
}

#[test]
fn head_gets_the_headers_of_get_and_no_body() {
    let served = Served::new();
    let get = served.request_with("");
    let mut stream = served.daemon.tcp();
    let full = exchange(&mut stream, &get).unwrap();
    let length = full.body.len().to_string();
    // On one connection: a body that came after all would be taken for the next answer.
    for _ in 0..2 {
        let reply = exchange(&mut stream, get.replacen("GET", "HEAD", 1)).unwrap();
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-length"), Some(length.as_str()));
        assert_eq!(reply.header("content-type"), full.header("content-type"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    assert_eq!(exchange(&mut stream, &get).unwrap().body, full.body);
}

#[test]
fn head_is_guarded_as_get_is() {
    let served = Served::new();
    for request in [
        format!("HEAD {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
        served
            .request_with("Origin: null\r\n")
            .replacen("GET", "HEAD", 1),
    ] {
        assert_eq!(served.answer(&request).status, 403, "{request}");
    }
}

#[test]
fn a_connection_that_asks_nothing_gets_nothing() {
    let served = Served::new();
    let mut stream = served.daemon.tcp();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(receive(&mut stream, true).is_none());
}

#[test]
fn posting_for_credentials_is_refused_on_the_unix_socket_too() {
    let served = Served::new();
    for path in [PATH, "/v1/credentials/default"] {
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}");
        let reply = exchange(&mut served.daemon.unix(), request).unwrap();
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (403, "MethodNotAllowed")
        );
    }
    let request = "POST /v1/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let reply = exchange(&mut served.daemon.admin(), request).unwrap();
    assert_eq!((reply.status, reply.code().as_str()), (404, "NotFound"));
}
