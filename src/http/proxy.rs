//! Which proxy carries a request to a host, as `HTTPS_PROXY` and `NO_PROXY` say.
//!
//! Variables as curl and botocore read them: the lower-case name before the upper-case one, and a
//! URL without a scheme is http. Only https requests are proxied: those without TLS go to
//! addresses that are checked first, and a proxy would look the name up itself.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use zeroize::Zeroizing;

use super::target::{Target, without_brackets};
use crate::environment::Environment;
use crate::secret::percent_decoded;

/// The proxies of an environment. None by default.
#[derive(Debug, Default)]
pub struct Proxies {
    /// For https, or what is wrong with the variable.
    https: Option<Result<Proxy, String>>,
    exceptions: Vec<Exception>,
}

/// A proxy, and what it wants to see.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) target: Target,
    /// `Basic …`, where the URL holds a user.
    pub(super) authorization: Option<HeaderValue>,
}

impl Proxies {
    /// A URL that makes no sense is an error of the requests that need it.
    pub fn of(environment: &Environment) -> Self {
        let either = |lower, upper| {
            let found = environment.variable(lower).map(|value| (lower, value));
            found.or_else(|| environment.variable(upper).map(|value| (upper, value)))
        };
        let https = either("https_proxy", "HTTPS_PROXY").map(|(name, url)| {
            Proxy::parse(url.trim()).ok_or_else(|| {
                format!("{name} is no URL of a proxy such as http://proxy.example.com:3128")
            })
        });
        let exceptions = either("no_proxy", "NO_PROXY").map_or("", |(_, list)| list);
        let exceptions = exceptions
            .split(|it: char| it == ',' || it.is_whitespace())
            .filter_map(Exception::parse);
        Self {
            https,
            exceptions: exceptions.collect(),
        }
    }

    /// The proxy on the way to `target`, or what is wrong with its setting.
    pub(super) fn towards(&self, target: &Target) -> Result<Option<&Proxy>, &str> {
        let Some(proxy) = self.https.as_ref().filter(|_| target.is_https) else {
            return Ok(None);
        };
        if is_local(&target.host) || self.exceptions.iter().any(|it| it.covers(target)) {
            return Ok(None);
        }
        proxy.as_ref().map(Some).map_err(String::as_str)
    }
}

impl Proxy {
    fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let rest = rest.split(['/', '?', '#']).next()?;
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        Some(Self {
            target: Target::new(is_https, &place.parse().ok()?)?,
            authorization: match user.filter(|user| !user.is_empty()) {
                Some(user) => Some(basic(user)?),
                None => None,
            },
        })
    }
}

/// RFC 7617 section 2, from the `user:password` of a URL (RFC 3986 section 3.2.1).
fn basic(user: &str) -> Option<HeaderValue> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let mut plain = percent_decoded(name)?;
    plain.push(b':');
    plain.extend_from_slice(&percent_decoded(password)?);
    let encoded = Zeroizing::new(STANDARD.encode(&*plain));
    let value = Zeroizing::new(format!("Basic {}", *encoded));
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What no proxy stands before, whatever a variable says: this host, and the metadata services on
/// its links.
fn is_local(host: &str) -> bool {
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => {
            address.is_loopback() || address.is_link_local() || address.is_unspecified()
        }
        Ok(IpAddr::V6(address)) => {
            // fd00:ec2::/32, which EC2 keeps for its own services.
            let is_of_ec2 = matches!(address.segments(), [0xfd00, 0x0ec2, ..]);
            address.is_loopback()
                || address.is_unicast_link_local()
                || address.is_unspecified()
                || is_of_ec2
        }
        Err(_) => false,
    }
}

/// An entry of `NO_PROXY`.
#[derive(Debug, PartialEq, Eq)]
struct Exception {
    what: What,
    port: Option<u16>,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Everything,
    Address(IpAddr),
    /// The leading bits that must agree.
    Network(IpAddr, u8),
    /// The name and all below it, lower-case, without the leading dot: `.example.com` excepts
    /// `example.com` too, as it does for curl and botocore.
    Domain(String),
}

impl Exception {
    fn parse(entry: &str) -> Option<Self> {
        if let Some((address, bits)) = entry.split_once('/') {
            let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse().ok()?);
            let is_fit = bits <= if address.is_ipv4() { 32 } else { 128 };
            return is_fit.then_some(Self {
                what: What::Network(address, bits),
                port: None,
            });
        }
        let (host, port) = match entry.rsplit_once(':') {
            // An IPv6 address without brackets has no port.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, Some(port.parse().ok()?))
            }
            _ => (entry, None),
        };
        let host = without_brackets(host);
        if host == "*" {
            return Some(Self {
                what: What::Everything,
                port,
            });
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            let what = What::Address(address.to_canonical());
            return Some(Self { what, port });
        }
        let domain = host.strip_prefix('*').unwrap_or(host);
        let domain = domain.trim_start_matches('.').trim_end_matches('.');
        (!domain.is_empty()).then(|| Self {
            what: What::Domain(domain.to_ascii_lowercase()),
            port,
        })
    }

    fn covers(&self, target: &Target) -> bool {
        if self.port.is_some_and(|port| port != target.port) {
            return false;
        }
        let address = target.host.parse::<IpAddr>().map(|it| it.to_canonical());
        match (&self.what, address) {
            (What::Everything, _) => true,
            (What::Address(excepted), Ok(address)) => *excepted == address,
            (What::Network(network, bits), Ok(address)) => shares(*network, address, *bits),
            (What::Domain(domain), Err(_)) => {
                let host = target.host.trim_end_matches('.').to_ascii_lowercase();
                host.strip_suffix(domain.as_str())
                    .is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }
            _ => false,
        }
    }
}

/// Whether two addresses agree in their leading `bits`.
fn shares(network: IpAddr, address: IpAddr, bits: u8) -> bool {
    let differ_within = |difference: u128, width: u8| {
        let rest = u32::from(width.saturating_sub(bits));
        difference.checked_shr(rest).unwrap_or(0) != 0
    };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let difference = network.to_bits() ^ address.to_bits();
            !differ_within(difference.into(), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            !differ_within(network.to_bits() ^ address.to_bits(), 128)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        let variables = variables.iter();
        let environment: Environment = variables
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Proxies::of(&environment)
    }

    fn is_proxied(proxies: &Proxies, url: &str) -> bool {
        let target = Target::parse(&url.parse().unwrap()).unwrap();
        proxies.towards(&target).unwrap().is_some()
    }

    #[test]
    fn each_form_of_an_exception_covers_what_curl_lets_it_cover() {
        let table = [
            ("sts.amazonaws.com", "https://sts.amazonaws.com", true),
            ("amazonaws.com", "https://sts.amazonaws.com", true),
            (".amazonaws.com", "https://sts.amazonaws.com", true),
            ("*.amazonaws.com", "https://sts.amazonaws.com", true),
            (".sts.amazonaws.com", "https://sts.amazonaws.com", true),
            ("AMAZONAWS.com.", "https://STS.amazonaws.COM.", true),
            ("aws.com", "https://sts.amazonaws.com", false),
            ("s.amazonaws.com", "https://sts.amazonaws.com", false),
            ("a.sts.amazonaws.com", "https://sts.amazonaws.com", false),
            ("*", "https://sts.amazonaws.com", true),
            ("a, *", "https://10.1.2.3", true),
            ("one.example two.example", "https://two.example", true),
            ("one.example,\ttwo.example,,", "https://two.example", true),
            ("sts.amazonaws.com:443", "https://sts.amazonaws.com", true),
            ("sts.amazonaws.com:8443", "https://sts.amazonaws.com", false),
            ("amazonaws.com:8443", "https://a.amazonaws.com:8443", true),
            ("10.1.2.3", "https://10.1.2.3", true),
            ("10.1.2.3:443", "https://10.1.2.3", true),
            ("10.1.2.3:444", "https://10.1.2.3", false),
            ("2.3", "https://10.1.2.3", false),
            ("10.1.2.0/24", "https://10.1.2.255", true),
            ("10.1.2.0/24", "https://10.1.3.0", false),
            ("10.1.2.3/32", "https://10.1.2.3", true),
            ("10.1.2.3/32", "https://10.1.2.2", false),
            ("0.0.0.0/0", "https://10.1.2.3", true),
            ("0.0.0.0/0", "https://sts.amazonaws.com", false),
            ("10.1.2.0/33", "https://10.1.2.3", false),
            ("10.1.2.0/", "https://10.1.2.3", false),
            ("fd00:1::/32", "https://[fd00:1::9]", true),
            ("fd00:1::/32", "https://[fd00:2::9]", false),
            ("::/0", "https://[fd00:2::9]", true),
            ("::/0", "https://10.1.2.3", false),
            ("fd00::1", "https://[fd00::1]", true),
            ("[fd00::1]", "https://[fd00::1]", true),
            ("[fd00::1]:443", "https://[fd00::1]", true),
            ("[fd00::1]:444", "https://[fd00::1]", false),
            ("10.1.2.3", "https://[::ffff:10.1.2.3]", true),
            ("", "https://sts.amazonaws.com", false),
            (".,:,/,*.,[],:443", "https://sts.amazonaws.com", false),
        ];
        for (exceptions, url, is_excepted) in table {
            let proxies = proxies(&[("HTTPS_PROXY", "http://proxy"), ("NO_PROXY", exceptions)]);
            assert_eq!(
                is_proxied(&proxies, url),
                !is_excepted,
                "{exceptions:?} {url}"
            );
        }
    }

    #[test]
    fn this_host_its_links_and_requests_without_tls_have_no_proxy() {
        let all = [
            ("HTTPS_PROXY", "http://proxy"),
            ("https_proxy", "http://proxy"),
            ("HTTP_PROXY", "http://proxy"),
            ("http_proxy", "http://proxy"),
        ];
        for url in [
            "https://localhost",
            "https://LOCALHOST:8443",
            "https://127.0.0.1",
            "https://127.9.9.9",
            "https://[::1]",
            "https://[::ffff:127.0.0.1]",
            "https://0.0.0.0",
            "https://169.254.169.254",
            "https://169.254.170.2",
            "https://[fe80::1]",
            "https://[fd00:ec2::254]",
            "http://sts.amazonaws.com",
        ] {
            assert!(!is_proxied(&proxies(&all), url), "{url}");
        }
        assert!(is_proxied(&proxies(&all), "https://sts.amazonaws.com"));
    }

    #[test]
    fn the_lower_case_variable_wins_and_a_blank_one_is_none() {
        let host = |variables: &[(&str, &str)]| {
            let target = Target::parse(&"https://a.example".parse().unwrap()).unwrap();
            let proxies = proxies(variables);
            let proxy = proxies.towards(&target).unwrap();
            proxy.map(|proxy| proxy.target.host.clone())
        };
        let (upper, lower) = (("HTTPS_PROXY", "http://upper"), ("https_proxy", "lower"));
        assert_eq!(host(&[upper, lower]).as_deref(), Some("lower"));
        let blank = ("https_proxy", " ");
        assert_eq!(host(&[upper, blank]).as_deref(), Some("upper"));
        assert_eq!(host(&[blank, ("HTTP_PROXY", "http://other")]), None);
        let but_that = [upper, ("NO_PROXY", "b.example"), ("no_proxy", "a.example")];
        assert_eq!(host(&but_that), None);
    }

    #[test]
    fn a_url_of_a_proxy_is_taken_apart_and_its_password_never_shown() {
        let read = |url| {
            let proxy = Proxy::parse(url)?;
            assert!(!format!("{proxy:?}").contains("QUJ"), "{proxy:?}");
            let authorization = proxy.authorization.map(|value| {
                let value = value.to_str().unwrap();
                value.to_owned()
            });
            Some((proxy.target.to_string(), authorization))
        };
        let plain = |url: &str| Some((url.to_owned(), None));
        assert_eq!(read("proxy:3128"), plain("http://proxy:3128"));
        assert_eq!(read("http://proxy"), plain("http://proxy:80"));
        assert_eq!(read("HTTPS://proxy/"), plain("https://proxy:443"));
        assert_eq!(read("http://[fd00::1]:1/"), plain("http://[fd00::1]:1"));
        let with = |value: &str| Some(("http://proxy:1".to_owned(), Some(value.to_owned())));
        // echo -n 'ABC:p@:/%' | base64
        let escaped = "http://ABC:p%40:%2f%25@proxy:1";
        assert_eq!(read(escaped), with("Basic QUJDOnBAOi8l"));
        assert_eq!(read("http://ABC:p@:/%@proxy:1"), None);
        assert_eq!(read("http://ABC@proxy:1"), with("Basic QUJDOg=="));
        for wrong in [
            "socks5://proxy:1",
            "http://",
            "http://a b",
            "proxy:port",
            "http://u:%zz@proxy",
            "http://u:%+1@proxy",
            "http://u:%é@proxy",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_variable_makes_the_reader_panic(url in ".{0,40}", list in ".{0,40}", host in "[a-z0-9.:\\[\\]]{1,20}") {
            let proxies = proxies(&[("https_proxy", &url), ("no_proxy", &list)]);
            let target = host.parse().ok().and_then(|host| Target::new(true, &host));
            let _ = target.map(|target| proxies.towards(&target).is_ok());
        }

        #[test]
        fn a_network_covers_an_address_exactly_when_their_prefixes_agree(
            network: u32, address: u32, bits in 0u8..=32,
        ) {
            let agree = (0..bits).all(|bit| (network ^ address) >> (31 - bit) & 1 == 0);
            let of = |bits: u32| IpAddr::from(bits.to_be_bytes());
            prop_assert_eq!(shares(of(network), of(address), bits), agree);
        }
    }
}
