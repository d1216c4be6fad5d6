//! What is refused before anybody looks at a token.

use super::*;

#[test]
fn the_host_must_be_the_listeners_own_literal_or_that_of_instance_metadata() {
    let instance = Instance::new();
    let token = shown(&instance.token());
    let ask = |host: &str| {
        let host = if host == "-" {
            String::new()
        } else {
            format!("Host: {host}\r\n")
        };
        instance.raw(format!("GET {ROLE}default HTTP/1.1\r\n{host}{token}\r\n"))
    };
    for host in [
        "127.0.0.1",
        "127.0.0.1:80",
        &instance.daemon.imds[0].to_string(),
        "169.254.169.254",
        "169.254.169.254:80",
        "[fd00:ec2::254]",
        "[FD00:EC2::254]:80",
        " 169.254.169.254 ",
    ] {
        assert_eq!(ask(host).status, 200, "{host}");
    }
    for host in [
        "-",
        "",
        "localhost",
        "LOCALHOST:80",
        "127.0.0.2",
        "[::1]",
        "169.254.170.2",
        "169.254.170.23",
        "[fd00:ec2::23]",
        "169.254.169.254.",
        "169.254.169.254.nip.io",
        "169.254.169.254@evil.test",
        "evil.test@169.254.169.254",
        "evil.test",
        "evil.test:80",
        "rebound.evil.test",
        "instance-data",
        "instance-data.ec2.internal",
        "metadata.google.internal",
        "2852039166",
        "0xa9fea9fe",
        "0xA9.0xFE.0xA9.0xFE",
        "0251.0376.0251.0376",
        "169.254.43518",
        "169.16689662",
        "169.254.169.0254",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[fd00:ec2::254%lo]",
        "fd00:ec2::254",
        "169.254.169.254:",
        "169.254.169.254:http",
        "169.254.169.254:65536",
        "169.254.169.254, 127.0.0.1",
        "169.254.169.254/",
    ] {
        let reply = ask(host);
        assert!(
            [400, 403].contains(&reply.status),
            "{host}: {}",
            reply.status
        );
        assert!(!is_leaking(&reply), "{host}");
    }
    let reply = instance.raw(format!(
        "GET {ROLE}default HTTP/1.1\r\nHost: 169.254.169.254\r\nHost: evil.test\r\n{token}\r\n"
    ));
    assert_eq!(reply.status, 403);
}

/// EC2 refuses them on the token request only; here they are refused on every one, as Google's
/// metadata server does.
#[test]
fn what_a_proxy_has_forwarded_is_refused_on_every_request() {
    let instance = Instance::new();
    let token = instance.token();
    for header in [
        "X-Forwarded-For: 10.0.0.1",
        "X-Forwarded-For: 127.0.0.1",
        "x-forwarded-for: ",
        "X-Forwarded-Host: 169.254.169.254",
        "X-Forwarded-Proto: http",
        "Forwarded: for=10.0.0.1",
        "Via: 1.1 proxy",
        "X-Real-IP: 10.0.0.1",
    ] {
        let put = instance.put(&format!("{header}\r\n{}", ttl("60")));
        assert_eq!(put.status, 403, "{header}");
        for path in [
            ROLE,
            "/latest/meta-data/iam/security-credentials/default",
            REGION,
        ] {
            let reply = instance.ask("GET", path, &format!("{header}\r\n{}", shown(&token)));
            assert_eq!(reply.status, 403, "{header} {path}");
            assert!(!is_leaking(&reply));
        }
    }
}

/// A page behind a rebound name is of one origin with what it asks, so that it may PUT with any
/// header: that alone stops no browser.
#[test]
fn what_a_browser_sends_is_refused() {
    let instance = Instance::new();
    let token = instance.token();
    for header in [
        "Origin: http://169.254.169.254",
        "Origin: null",
        "Referer: http://169.254.169.254/",
        "Cookie: a=b",
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Mode: cors",
        "Access-Control-Request-Method: PUT",
    ] {
        let put = instance.put(&format!("{header}\r\n{}", ttl("60")));
        assert_eq!(put.status, 403, "{header}");
        let get = instance.ask("GET", ROLE, &format!("{header}\r\n{}", shown(&token)));
        assert_eq!(get.status, 403, "{header}");
    }
    for reply in [instance.put(&ttl("60")), instance.get(ROLE)] {
        let is_cors = |(name, _): &(String, String)| name.starts_with("access-control-");
        assert!(!reply.headers.iter().any(is_cors), "{:?}", reply.headers);
    }
}

#[test]
fn bodies_and_whole_urls_are_refused() {
    let instance = Instance::new();
    let token = shown(&instance.token());
    for body in [
        "Content-Length: 1\r\n\r\nx",
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let host = "Host: 169.254.169.254\r\n";
        let put = format!("PUT {TOKEN} HTTP/1.1\r\n{host}{}{body}", ttl("60"));
        assert_eq!(instance.raw(put).status, 403, "{body}");
        let get = format!("GET {ROLE} HTTP/1.1\r\n{host}{token}{body}");
        assert_eq!(instance.raw(get).status, 403, "{body}");
    }
    let path = format!("http://169.254.169.254{ROLE}default");
    assert_eq!(instance.ask("GET", &path, &token).status, 403);
}
