//! Headers that betray a proxy or a browser: the defence against server-side request forgery and
//! against web pages.

use super::{Served, is_leaking};

/// As proxies, load balancers and service meshes mark what they forward.
const OF_PROXIES: &[&str] = &[
    "X-Forwarded-For: 10.0.0.1",
    "x-forwarded-for: 127.0.0.1",
    "X-FORWARDED-FOR: ",
    "X-Forwarded-Host: 127.0.0.1",
    "X-Forwarded-Proto: http",
    "X-Forwarded-Port: 80",
    "X-Forwarded-Server: proxy",
    "X-Forwarded-Prefix: /",
    "X-Forwarded: for=10.0.0.1",
    "X-Forwarded-Client-Cert: Hash=0",
    "Forwarded: for=10.0.0.1",
    "forwarded: for=127.0.0.1;host=127.0.0.1",
    "Via: 1.1 proxy",
    "VIA: 1.0 squid",
    "X-Real-IP: 10.0.0.1",
    "x-real-ip: 127.0.0.1",
    "Proxy-Connection: keep-alive",
    "X-Original-URL: /v1/credentials",
    "X-Original-Host: 127.0.0.1",
    "X-Original-Forwarded-For: 10.0.0.1",
    "X-Rewrite-URL: /v1/credentials",
    "Client-IP: 10.0.0.1",
    "X-Client-IP: 10.0.0.1",
    "X-Cluster-Client-IP: 10.0.0.1",
    "True-Client-IP: 10.0.0.1",
    "Fastly-Client-IP: 10.0.0.1",
    "CF-Connecting-IP: 10.0.0.1",
    "CDN-Loop: cloudflare",
    "X-Varnish: 1",
    "X-Envoy-External-Address: 10.0.0.1",
];

/// As browsers mark what pages make them send.
const OF_BROWSERS: &[&str] = &[
    "Origin: http://127.0.0.1",
    "Origin: http://localhost",
    "Origin: null",
    "Origin: ",
    "origin: https://example.com",
    "Referer: http://127.0.0.1/",
    "referer: https://example.com/page",
    "Cookie: a=b",
    "cookie: ",
    "Sec-Fetch-Site: cross-site",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Site: none",
    "sec-fetch-mode: navigate",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-User: ?1",
    "Sec-Fetch-Storage-Access: none",
    "Sec-CH-UA: \"Chromium\";v=\"156\"",
    "sec-ch-ua-platform: \"Linux\"",
    "Sec-GPC: 1",
    "Sec-Purpose: prefetch",
    "Sec-WebSocket-Version: 13",
    "DNT: 1",
    "Upgrade-Insecure-Requests: 1",
    "Service-Worker: script",
    "Ping-From: http://127.0.0.1/",
    "Ping-To: http://127.0.0.1/",
    "Access-Control-Request-Method: GET",
    "Access-Control-Request-Headers: authorization",
    "Access-Control-Request-Private-Network: true",
    "access-control-request-local-network: true",
];

/// What the SDKs send, and what a person's `curl` may.
const OF_CLIENTS: &[&str] = &[
    "User-Agent: Boto3/1.43.11 md/Botocore#1.43.11",
    "User-Agent: Mozilla/5.0",
    "Accept: application/json",
    "Accept: */*",
    "Accept-Encoding: gzip, deflate, br",
    "Accept-Language: en",
    "Connection: keep-alive",
    "Cache-Control: no-cache",
    "Pragma: no-cache",
    "amz-sdk-request: attempt=1; max=3",
    "amz-sdk-invocation-id: 1",
    "X-Amz-User-Agent: aws-sdk-js/3",
    // As tracing agents add to whatever a program asks over HTTP.
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "X-Amzn-Trace-Id: Root=1-67891233-abcdef012345678912345678",
    "X-Amzn-Trace-Id: Root=1-67891233-abcdef012345678912345678;Parent=463ac35c9f6413ad;Sampled=1",
    "baggage: userId=alice",
    "b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1",
    "X-B3-TraceId: 80f198ee56343ba864fe8b2a57d3eff7",
    "x-datadog-trace-id: 1",
    "X-Request-ID: 1",
    "Range: bytes=0-1",
    "If-None-Match: *",
    "If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT",
];

#[test]
fn what_a_proxy_has_forwarded_is_refused() {
    let served = Served::new();
    for header in OF_PROXIES {
        let reply = served.answer(served.request_with(&format!("{header}\r\n")));
        assert_eq!(reply.status, 403, "{header}");
        assert_eq!(reply.code(), "AccessDenied", "{header}");
        assert!(!is_leaking(&reply), "{header}");
    }
}

#[test]
fn what_a_browser_has_sent_is_refused() {
    let served = Served::new();
    for header in OF_BROWSERS {
        let reply = served.answer(served.request_with(&format!("{header}\r\n")));
        assert_eq!(reply.status, 403, "{header}");
        assert_eq!(reply.code(), "AccessDenied", "{header}");
        assert!(!is_leaking(&reply), "{header}");
    }
}

#[test]
fn what_sdks_send_changes_nothing_in_the_answer() {
    let served = Served::new();
    let plain = served.answer(served.request_with(""));
    assert_eq!(plain.status, 200);
    for header in OF_CLIENTS {
        let reply = served.answer(served.request_with(&format!("{header}\r\n")));
        assert_eq!(reply.status, 200, "{header}");
        assert_eq!(reply.body, plain.body, "{header}");
        let names = |headers: &[(String, String)]| -> Vec<String> {
            headers.iter().map(|(name, _)| name.clone()).collect()
        };
        assert_eq!(names(&reply.headers), names(&plain.headers), "{header}");
    }
}

#[test]
fn an_ask_for_http_2_is_answered_as_any_other_and_one_for_a_web_socket_refused() {
    let served = Served::new();
    let http_2 =
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
    let reply = served.answer(served.request_with(http_2));
    assert_eq!((reply.status, reply.header("upgrade")), (200, None));
    // No page can leave its origin out, but other programs can.
    let web_socket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let reply = served.answer(served.request_with(web_socket));
    assert_eq!((reply.status, reply.header("upgrade")), (403, None));
}
