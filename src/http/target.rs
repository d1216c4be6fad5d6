//! Where a request goes: taken from its URL, and resolved once.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use hyper::Uri;
use hyper::http::uri::Authority;

/// The origin of a URL.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) is_https: bool,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Target {
    /// Without a port, the scheme's own. A port that is no number is no port at all to
    /// [`Authority::port`]; here it is an error.
    pub(super) fn new(is_https: bool, authority: &Authority) -> Option<Self> {
        let place = authority.as_str();
        let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
        let port = match place.strip_prefix(authority.host())?.strip_prefix(':') {
            Some(port) if !port.is_empty() => port.parse().ok()?,
            _ if is_https => 443,
            _ => 80,
        };
        let host = without_brackets(authority.host());
        (!host.is_empty()).then(|| Self {
            is_https,
            host: host.to_owned(),
            port,
        })
    }

    pub(super) fn parse(uri: &Uri) -> Option<Self> {
        let is_https = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        Self::new(is_https, uri.authority()?)
    }

    /// `host:port`, as a CONNECT request names it (RFC 9110 section 9.3.6).
    pub(super) fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }

    pub(super) async fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        Ok(tokio::net::lookup_host((self.host.as_str(), self.port))
            .await?
            .collect())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(formatter, "{scheme}://{}", self.authority())
    }
}

pub(super) fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}
