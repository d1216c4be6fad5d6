//! Every way to write a host: the defence against DNS rebinding.

use super::{PATH, Served, is_leaking};

/// Literals that no DNS answer can stand for, and `localhost`.
const ALLOWED: &[&str] = &[
    "127.0.0.1",
    "127.0.0.1:1",
    "127.0.0.1:80",
    "127.0.0.1:9169",
    "127.0.0.1:65535",
    "127.0.0.1:00080",
    "127.0.0.2",
    "127.1.2.3",
    "127.1.2.3:9169",
    "127.255.255.254",
    "localhost",
    "localhost:80",
    "localhost:9169",
    "LOCALHOST",
    "LocalHost:9169",
    "[::1]",
    "[::1]:80",
    "[::1]:9169",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]:9169",
    "[::0001]",
    "169.254.170.2",
    "169.254.170.2:80",
    "169.254.170.23",
    "169.254.170.23:80",
    "[fd00:ec2::23]",
    "[fd00:ec2::23]:80",
    "[FD00:EC2::23]",
    // Blanks around a value are no part of it (RFC 9110, 5.5).
    " 127.0.0.1",
    "127.0.0.1  ",
    "\t127.0.0.1:9169\t",
];

/// Everything that a rebound name, a proxy or a lenient parser might make of this host.
const REFUSED: &[&str] = &[
    // Nothing.
    "",
    " ",
    "\t",
    ":",
    ":80",
    ":9169",
    "-",
    "*",
    "?",
    ".",
    "..",
    "/",
    "#",
    "%",
    "@",
    "[]",
    "[]:80",
    "[",
    "]",
    "][",
    // Names.
    "example.com",
    "example.com:80",
    "example.com:9169",
    "attacker.test",
    "rebind.network",
    "7f000001.01020304.rbndr.us",
    "127.0.0.1.nip.io",
    "127.0.0.1.nip.io:9169",
    "localtest.me",
    "lvh.me",
    "localhost.localdomain",
    "localhost6",
    "localhost4",
    "ip6-localhost",
    "ip6-loopback",
    "loopback",
    "localhost.",
    "localhost.:9169",
    "localhost..",
    ".localhost",
    "foo.localhost",
    "foo.localhost:9169",
    "localhost.example.com",
    "localhost-example.com",
    "xlocalhost",
    "localhostx",
    "local host",
    "local",
    "host.docker.internal",
    "gateway.docker.internal",
    "kubernetes.default.svc",
    "metadata.google.internal",
    "instance-data",
    "credd",
    "a",
    "xn--lcalhost-m4a",
    "l\u{f6}calhost",
    "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
    "127\u{3002}0\u{3002}0\u{3002}1",
    "\u{24db}ocalhost",
    // Trailing and doubled dots.
    "127.0.0.1.",
    "127.0.0.1.:9169",
    "127.0.0.1..",
    ".127.0.0.1",
    "127..0.0.1",
    "127.0.0..1",
    "127.0..1",
    // Numbers that inet_aton(3) reads as 127.0.0.1.
    "127.1",
    "127.1:9169",
    "127.0.1",
    "127",
    "2130706433",
    "2130706433:9169",
    "017700000001",
    "0177.0.0.1",
    "0177.0.0.01",
    "0177.0000.0000.0001",
    "0x7f.0.0.1",
    "0X7F.0.0.1",
    "0x7f.0x0.0x0.0x1",
    "0x7f000001",
    "0x7f000001:9169",
    "0x7f.1",
    "127.0x1",
    "127.0.0.01",
    "127.0.0.001",
    "127.00.0.1",
    "0127.0.0.1",
    "127.0.0.0x1",
    "00000177.0.0.1",
    "6425673729",
    "127.0.0.257",
    "127.0.0.1.1",
    "383.0.0.1",
    "-127.0.0.1",
    "+127.0.0.1",
    "127.0.0.-1",
    "127.0.0.1e0",
    // This host by another address.
    "0",
    "0.0.0.0",
    "0.0.0.0:9169",
    "0.0.0.1",
    "0x0",
    "00.0.0.0",
    "[::]",
    "[::]:9169",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:7f00:1]:9169",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[::ffff:0:127.0.0.1]",
    "[::2]",
    "[1::1]",
    // Other addresses.
    "10.0.0.1",
    "192.168.0.1",
    "172.17.0.1",
    "8.8.8.8",
    "126.0.0.1",
    "128.0.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.169.254:80",
    "169.254.170.1",
    "169.254.170.3",
    "169.254.170.22",
    "169.254.170.24",
    "169.254.171.2",
    "169.254.170.2.",
    "169.254.43518",
    "0xa9fea902",
    "2852039170",
    "[fd00:ec2::254]",
    "[fd00:ec2::24]",
    "[fd00:ec2::2:23]",
    "[fd00:ec2:0:0:0:0:1:23]",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "[ff02::1]",
    "[2001:db8::1]",
    // IPv6 forms that are none.
    "::1",
    "::1:9169",
    "[::1",
    "::1]",
    "[[::1]]",
    "[::1]]",
    "[::1]x",
    "[::1]9169",
    "[::1].",
    "[::1]:",
    "[::1]::80",
    "[::1]:65536",
    "[::1]:-1",
    "[::1] :80",
    "[ ::1]",
    "[::1 ]",
    "[::1%lo]",
    "[::1%25lo]",
    "[::1%1]",
    "[::01:]",
    "[:::1]",
    "[0:0:0:0:0:0:0:0:1]",
    "[0:0:0:0:0:0:1]",
    "[00000::1]",
    "[::g]",
    "[127.0.0.1]",
    "[localhost]",
    "[v1.::1]",
    "x[::1]",
    // Ports that are none.
    "127.0.0.1:",
    "127.0.0.1:65536",
    "127.0.0.1:99999",
    "127.0.0.1:4294967376",
    "127.0.0.1:+80",
    "127.0.0.1:-80",
    "127.0.0.1: 80",
    "127.0.0.1 :80",
    "127.0.0.1:80x",
    "127.0.0.1:0x50",
    "127.0.0.1:80:80",
    "127.0.0.1::80",
    "127.0.0.1:http",
    "127.0.0.1:80.0",
    "127.0.0.1:\u{0665}",
    "localhost:",
    "localhost:65536",
    "localhost:http",
    "localhost:80:80",
    "localhost::1",
    // Userinfo, paths, lists, quotes, escapes.
    "user@127.0.0.1",
    "user:password@127.0.0.1",
    "@127.0.0.1",
    "127.0.0.1@example.com",
    "127.0.0.1:80@example.com",
    "example.com@127.0.0.1",
    "example.com#@127.0.0.1",
    "example.com\\@127.0.0.1",
    "example.com?127.0.0.1",
    "http://127.0.0.1",
    "http://127.0.0.1/",
    "//127.0.0.1",
    "/127.0.0.1",
    "127.0.0.1/",
    "127.0.0.1/v1",
    "127.0.0.1?",
    "127.0.0.1?x",
    "127.0.0.1#",
    "127.0.0.1\\",
    "127.0.0.1;",
    "127.0.0.1;x",
    "127.0.0.1,",
    ",127.0.0.1",
    "127.0.0.1,127.0.0.1",
    "127.0.0.1, example.com",
    "example.com, 127.0.0.1",
    "127.0.0.1 127.0.0.1",
    "127.0.0.1 example.com",
    "127.0.0.1\texample.com",
    "\"127.0.0.1\"",
    "'127.0.0.1'",
    "<127.0.0.1>",
    "(127.0.0.1)",
    "127.0.0.1%00",
    "127.0.0.1%00.example.com",
    "127.0.0.1%20",
    "127.0.0.1%2eexample.com",
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "localhost%00",
    "loc%61lhost",
    "localhost/",
    "localhost,localhost",
    "localhost localhost",
    "127,0,0,1",
    "127 0 0 1",
    "127_0_0_1",
    "127-0-0-1.example.com",
    "127.0.0.*",
    "127.0.0.1/8",
    "unix:",
    "unix:/run/credd/credd.sock",
];

/// Whole heads, for what one value cannot say. `{token}` is the right one.
const REFUSED_HEADS: &[&str] = &[
    // No Host.
    "GET /v1/credentials HTTP/1.1\r\nAuthorization: {token}\r\n\r\n",
    "GET /v1/credentials HTTP/1.0\r\nAuthorization: {token}\r\n\r\n",
    // Two.
    "GET /v1/credentials HTTP/1.1\r\nAuthorization: {token}\r\nHost: 127.0.0.1\r\nHost: 127.0.0.1\r\n\r\n",
    "GET /v1/credentials HTTP/1.1\r\nHost: example.com\r\nAuthorization: {token}\r\nHost: 127.0.0.1\r\n\r\n",
    "GET /v1/credentials HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\nHost: example.com\r\n\r\n",
    "GET /v1/credentials HTTP/1.1\r\nHOST: 127.0.0.1\r\nhost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n",
    // One that is good, in a request that names another besides.
    "GET http://example.com/v1/credentials HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n",
    "GET http://127.0.0.1/v1/credentials HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n",
    "GET http://127.0.0.1/v1/credentials HTTP/1.1\r\nHost: example.com\r\nAuthorization: {token}\r\n\r\n",
    "GET HTTP://LOCALHOST/v1/credentials HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n",
    "GET https://127.0.0.1/v1/credentials HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n",
    "GET ftp://127.0.0.1/v1/credentials HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n",
    "GET http://user@127.0.0.1/v1/credentials HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n",
    "GET http://127.0.0.1:9169/v1/credentials HTTP/1.0\r\nAuthorization: {token}\r\n\r\n",
    "GET 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n",
    "CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n",
    // A good one in a place that is not looked at.
    "GET /v1/credentials HTTP/1.1\r\nX-Host: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n",
    "GET /v1/credentials HTTP/1.1\r\nHost: example.com\r\nX-Host: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n",
    "GET /v1/credentials?host=127.0.0.1 HTTP/1.1\r\nHost: example.com\r\nAuthorization: {token}\r\n\r\n",
];

#[test]
fn hosts_that_can_only_mean_this_one_are_answered() {
    let served = Served::new();
    let head = served.request_line_and_token();
    for host in ALLOWED {
        let reply = served.answer(format!("{head}Host: {host}\r\n\r\n"));
        assert_eq!(reply.status, 200, "{host:?}");
    }
}

#[test]
fn more_than_two_hundred_other_hosts_are_refused_and_cost_the_upstream_nothing() {
    let served = Served::new();
    let head = served.request_line_and_token();
    let before = served.upstream.calls();
    let mut forms = 0;
    for host in REFUSED {
        let reply = served.answer(format!("{head}Host: {host}\r\n\r\n"));
        assert_eq!(reply.status, 403, "{host:?}");
        assert_eq!(reply.code(), "AccessDenied", "{host:?}");
        assert!(!is_leaking(&reply), "{host:?}");
        forms += 1;
    }
    for head in REFUSED_HEADS {
        let reply = served.answer(head.replace("{token}", &served.daemon.token));
        assert_eq!(reply.status, 403, "{head:?}");
        assert!(!is_leaking(&reply), "{head:?}");
        forms += 1;
    }
    assert!(forms >= 200, "{forms}");
    assert_eq!(served.upstream.calls(), before);
}

#[test]
fn the_host_is_looked_at_before_the_token_and_before_the_path() {
    let served = Served::new();
    for path in [PATH, "/", "/v1/credentials/none"] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: example.com\r\n\r\n");
        let reply = served.answer(head);
        let message = reply.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("Host"), "{path}: {message}");
    }
}

#[test]
fn unix_sockets_ask_for_the_same_host() {
    use crate::serving::wire::exchange;

    let served = Served::new();
    for (host, status) in [("localhost", 200), ("127.0.0.1", 200), ("example.com", 403)] {
        let request = format!("GET {PATH} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let reply = exchange(&mut served.daemon.unix(), &request).unwrap();
        assert_eq!(reply.status, status, "{host}");
        let request = format!("GET /v1/status HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let reply = exchange(&mut served.daemon.admin(), &request).unwrap();
        assert_eq!(reply.status, status, "{host}");
    }
}
