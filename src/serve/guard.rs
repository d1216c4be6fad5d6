//! What every request must satisfy before anyone looks at what it asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::header::HeaderValue;
use hyper::{Method, Request};

use super::Refusal;

/// The methods that an endpoint takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Methods {
    Read,
    ReadAndPost,
    ReadAndPut,
}

impl Methods {
    fn include(self, method: &Method) -> bool {
        match *method {
            Method::GET | Method::HEAD => true,
            Method::POST => self == Self::ReadAndPost,
            Method::PUT => self == Self::ReadAndPut,
            _ => false,
        }
    }
}

/// The hosts that an endpoint is asked as: literals that no DNS answer can stand for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hosts<'a> {
    /// Loopback, `localhost`, and the addresses of the ECS and EKS agents.
    Local,
    /// These, and the addresses of the instance metadata service.
    Only(&'a [IpAddr]),
    /// Whatever others call this host: for what a page in a browser may know.
    Any,
}

/// Refuses what a credentials client never sends: a foreign `Host` (DNS rebinding), marks of a
/// proxy (server-side request forgery) or of a browser (cross-site requests), other methods, and
/// bodies where none is read (request smuggling).
pub(super) fn check<B>(request: &Request<B>, methods: Methods) -> Result<(), Refusal> {
    check_at(request, methods, Hosts::Local)
}

/// The same for an endpoint that has hosts of its own.
pub(super) fn check_at<B>(
    request: &Request<B>,
    methods: Methods,
    allowed: Hosts<'_>,
) -> Result<(), Refusal> {
    let method = request.method();
    if !methods.include(method) {
        return Err(Refusal::forbidden(
            "MethodNotAllowed",
            "only GET and HEAD are answered here",
        ));
    }
    // An absolute form names a second host, and CONNECT's authority form only a host.
    if request.uri().scheme().is_some() || request.uri().authority().is_some() {
        return Err(Refusal::forbidden(
            "AccessDenied",
            "ask for a path, not for a whole URL",
        ));
    }
    let mut hosts = 0;
    for (name, value) in request.headers() {
        match name.as_str() {
            "host" => {
                hosts += 1;
                if !allowed.include(value) {
                    return Err(allowed.refusal());
                }
            }
            name if method != Method::POST && announces_a_body(name, value) => {
                return Err(Refusal::forbidden(
                    "AccessDenied",
                    "requests with a body are refused",
                ));
            }
            name if betrays_a_proxy(name) => {
                return Err(Refusal::forbidden(
                    "AccessDenied",
                    "requests that a proxy has forwarded are refused; add 127.0.0.1 to NO_PROXY",
                ));
            }
            name if betrays_a_browser(name) => {
                return Err(Refusal::forbidden(
                    "AccessDenied",
                    "requests of browsers are refused",
                ));
            }
            _ => {}
        }
    }
    if hosts == 1 {
        Ok(())
    } else {
        Err(allowed.refusal())
    }
}

/// Where both headers are there, hyper goes by the coding and drops the length.
fn announces_a_body(name: &str, value: &HeaderValue) -> bool {
    name == "transfer-encoding" || name == "content-length" && value != "0"
}

/// As proxies, load balancers and content networks mark what they forward. `X-Amzn-Trace-Id` is
/// none of them, though AWS's balancers add it: so does X-Ray to all that a program asks.
fn betrays_a_proxy(name: &str) -> bool {
    ["x-forwarded", "x-original-", "x-rewrite-"]
        .iter()
        .any(|start| name.starts_with(start))
        || name.ends_with("client-ip")
        || name.ends_with("connecting-ip")
        || matches!(
            name,
            "forwarded"
                | "via"
                | "x-real-ip"
                | "proxy-connection"
                | "cdn-loop"
                | "x-varnish"
                | "x-envoy-external-address"
        )
}

/// What no page can keep a browser from sending, or send itself: all of `Sec-` is the browser's
/// own (Fetch standard, "forbidden request-header").
fn betrays_a_browser(name: &str) -> bool {
    name.starts_with("sec-")
        || name.starts_with("access-control-request-")
        || matches!(
            name,
            "origin"
                | "referer"
                | "cookie"
                | "dnt"
                | "upgrade-insecure-requests"
                | "service-worker"
                | "ping-from"
                | "ping-to"
        )
}

impl Hosts<'_> {
    /// With a port or without (the C SDK sends none).
    fn include(self, value: &HeaderValue) -> bool {
        if matches!(self, Self::Any) {
            return true;
        }
        let Ok(text) = value.to_str() else {
            return false;
        };
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let Some((host, port)) = rest.split_once(']') else {
                    return false;
                };
                return is_port_or_nothing(port)
                    && host
                        .parse()
                        .is_ok_and(|address: Ipv6Addr| self.include_address(address.into()));
            }
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let is_local = matches!(self, Self::Local);
        // std's parser takes four decimal numbers without leading zeros, and nothing else.
        is_port_or_nothing(port)
            && (is_local && host.eq_ignore_ascii_case("localhost")
                || host
                    .parse()
                    .is_ok_and(|address: Ipv4Addr| self.include_address(address.into())))
    }

    fn include_address(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Local => is_ours(address),
            Self::Only(addresses) => {
                INSTANCE_METADATA.contains(&address) || addresses.contains(&address)
            }
        }
    }

    fn refusal(self) -> Refusal {
        let message = match self {
            Self::Any => "there must be one Host header",
            Self::Local => "the Host header must be one loopback address or localhost",
            Self::Only(_) => {
                "the Host header must be one address: the one that credd listens on, \
                 169.254.169.254 or [fd00:ec2::254]"
            }
        };
        Refusal::forbidden("AccessDenied", message)
    }
}

/// 169.254.169.254 and `[fd00:ec2::254]`.
const INSTANCE_METADATA: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254)),
];

fn is_port_or_nothing(text: &str) -> bool {
    text.is_empty()
        || text.strip_prefix(':').is_some_and(|port| {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
        })
}

/// Loopback, and the link-local addresses of the ECS and EKS agents, in whose place credd may
/// stand.
fn is_ours(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_loopback() || matches!(address.octets(), [169, 254, 170, 2 | 23])
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.segments() == [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x23]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_allowed(host: &str) -> bool {
        HeaderValue::from_str(host).is_ok_and(|value| Hosts::Local.include(&value))
    }

    #[test]
    fn an_endpoint_with_hosts_of_its_own_is_asked_as_those_and_as_instance_metadata() {
        let own = ["127.0.0.1".parse().unwrap(), "fd00:ec2::7".parse().unwrap()];
        let is_allowed = |host| Hosts::Only(&own).include(&HeaderValue::from_static(host));
        for host in [
            "127.0.0.1",
            "127.0.0.1:1338",
            "[fd00:ec2::7]:80",
            "169.254.169.254",
            "169.254.169.254:80",
            "[fd00:ec2::254]",
            "[FD00:EC2::254]:80",
        ] {
            assert!(is_allowed(host), "{host}");
        }
        for host in [
            "localhost",
            "127.0.0.2",
            "[::1]",
            "169.254.170.2",
            "[fd00:ec2::23]",
            "[::ffff:169.254.169.254]",
            "169.254.169.254.",
            "169.254.43518",
            "2852039166",
            "instance-data",
            "instance-data.ec2.internal",
            "metadata.google.internal",
            "",
        ] {
            assert!(!is_allowed(host), "{host}");
        }
    }

    #[test]
    fn literals_of_this_host_and_localhost_are_allowed_with_and_without_a_port() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9169",
            "127.1.2.3:1",
            "localhost",
            "LocalHost:80",
            "[::1]",
            "[::1]:65535",
            "169.254.170.2",
            "169.254.170.23:80",
            "[fd00:ec2::23]",
        ] {
            assert!(is_allowed(host), "{host}");
        }
    }

    #[test]
    fn everything_else_is_not() {
        for host in [
            "",
            " ",
            ":",
            ":80",
            "example.com",
            "localhost.",
            "localhost.example.com",
            "127.0.0.1.",
            "127.0.0.1.nip.io",
            "127.1",
            "127.0.1",
            "2130706433",
            "0177.0.0.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "127.0.0.01",
            "0.0.0.0",
            "[::]",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:",
            "127.0.0.1:",
            "127.0.0.1:65536",
            "127.0.0.1:+80",
            "127.0.0.1:80:80",
            "user@127.0.0.1",
            "127.0.0.1/",
            "127.0.0.1 127.0.0.1",
            "127.0.0.1,127.0.0.1",
            "[::ffff:127.0.0.1]",
            "169.254.169.254",
            "10.0.0.1",
            "[::1%lo]",
            "[fe80::1]",
            "localhost:http",
        ] {
            assert!(!is_allowed(host), "{host}");
        }
    }

    proptest! {
        #[test]
        fn no_host_makes_the_check_panic(host in "\\PC*") {
            let _ = is_allowed(&host);
        }
    }
}
