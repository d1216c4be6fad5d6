//! Addresses to listen on: those of this host that only this host can reach.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::config::PORT;
use crate::config::findings::Findings;
use crate::config::table::Text;
use crate::serve;

/// What an endpoint may listen on besides loopback.
pub(super) struct Kind {
    pub(super) example: &'static str,
    /// The address and the port of `example`.
    ip: &'static str,
    port: u16,
    others: &'static [IpAddr],
    /// Whether it may be any address.
    is_open: bool,
    problem: &'static str,
    hint: &'static str,
}

pub(super) const HTTP: Kind = Kind {
    example: "127.0.0.1:9169",
    ip: "127.0.0.1",
    port: PORT,
    others: serve::AGENTS,
    is_open: false,
    problem: "credd listens on loopback addresses only, and on those of the ECS and EKS agents",
    hint: "use `127.0.0.1` or `[::1]`; the agents' are `169.254.170.2`, `169.254.170.23` and \
           `[fd00:ec2::23]`",
};

pub(super) const IMDS: Kind = Kind {
    example: "169.254.169.254:80",
    ip: "169.254.169.254",
    port: 80,
    others: serve::METADATA,
    is_open: false,
    problem: "instance metadata is served on EC2's own addresses and on loopback ones only",
    hint: "use `169.254.169.254` or `[fd00:ec2::254]`",
};

pub(super) const METRICS: Kind = Kind {
    example: "127.0.0.1:9170",
    ip: "127.0.0.1",
    port: 9170,
    others: &[],
    is_open: false,
    problem: "metrics are served on loopback addresses, unless the config says otherwise",
    hint: "use `127.0.0.1` or `[::1]`, or say `beyond-this-host = true`: whoever reaches the address \
           then reads the names of identities and how they are doing",
};

pub(super) const METRICS_BEYOND: Kind = Kind {
    is_open: true,
    ..METRICS
};

/// All that are listened on, so that each is listed once.
#[derive(Default)]
pub(super) struct Addresses(BTreeSet<SocketAddr>);

impl Addresses {
    pub(super) fn read(
        &mut self,
        listen: &[Text<'_>],
        kind: &Kind,
        findings: &mut Findings,
    ) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        for text in listen {
            let Some(address) = address(text, kind, findings) else {
                continue;
            };
            // The second of two would not get the port that the first has.
            if address.port() != 0 && !self.0.insert(address) {
                findings
                    .meaning(text.span.clone(), "this address is listed twice")
                    .hint("remove it");
            }
            addresses.push(address);
        }
        addresses
    }
}

fn address(text: &Text<'_>, kind: &Kind, findings: &mut Findings) -> Option<SocketAddr> {
    let Ok(address) = text.value.parse::<SocketAddr>() else {
        findings
            .refuse(text, "not an IP address and a port")
            .hint(hint(text.value, kind));
        return None;
    };
    if !kind.is_open && !serve::is_for_this_host(address.ip(), kind.others) {
        findings.refuse(text, kind.problem).hint(kind.hint);
        return None;
    }
    Some(address)
}

fn hint(text: &str, kind: &Kind) -> String {
    let port = text
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse::<u16>().ok())
        .unwrap_or(kind.port);
    let inner = text.trim_start_matches('[').trim_end_matches(']');
    match inner.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => format!("add a port: `{address}:{port}`"),
        Ok(IpAddr::V6(address)) if address == Ipv6Addr::LOCALHOST => {
            format!("brackets and a port: `[{address}]:{port}`")
        }
        // What stands last may be a port or a part of the address.
        Ok(IpAddr::V6(_)) => format!("brackets and a port: `[::1]:{port}`"),
        Err(_) => format!("as in `{}:{port}`", kind.ip),
    }
}
