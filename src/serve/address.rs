//! Addresses of this host that only this host reaches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Those of the ECS agent (ECS developer guide, "Task IAM role") and of the EKS Pod Identity agent
/// (EKS user guide, "EKS Pod Identity agent").
pub const AGENTS: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
];

/// Those of instance metadata (EC2 user guide, "Access instance metadata").
pub const METADATA: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Whether an endpoint may listen on it: loopback, and what it is known by.
pub fn is_for_this_host(address: IpAddr, known_by: &[IpAddr]) -> bool {
    address.is_loopback() || known_by.contains(&address)
}
