//! How far answers travel: to this host and no further.

use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketType, bind, connect, ipproto, recv, socket};

use super::Served;
use crate::serving::skipped;
use crate::serving::wire::exchange;

#[test]
fn answers_have_a_time_to_live_of_one() {
    // Sees the packets themselves, which needs the right to: the option of a socket can be read
    // only by whoever holds it.
    let Ok(packets) = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::TCP)) else {
        skipped("needs the right to see packets (CAP_NET_RAW)");
        return;
    };
    let patience = Some(Duration::from_millis(200));
    set_socket_timeout(&packets, Timeout::Recv, patience).unwrap();
    let served = Served::new();
    let mut stream = served.daemon.tcp();
    let ports = (
        served.daemon.address.port(),
        stream.local_addr().unwrap().port(),
    );
    // The socket sees all of this host's packets, and loses some when there are many.
    let seen = (0..100).find_map(|_| {
        assert_eq!(
            exchange(&mut stream, served.request_with(""))
                .unwrap()
                .status,
            200
        );
        let mut buffer = vec![MaybeUninit::uninit(); 65536];
        std::iter::from_fn(|| {
            let ((packet, _), _) =
                recv(&packets, buffer.as_mut_slice(), RecvFlags::empty()).ok()?;
            Some(Packet::read(packet))
        })
        .take(10_000)
        .flatten()
        .find(|seen| (seen.from, seen.to) == ports && seen.carries_data)
    });
    assert_eq!(seen.unwrap().time_to_live, 1);
}

struct Packet {
    from: u16,
    to: u16,
    time_to_live: u8,
    carries_data: bool,
}

impl Packet {
    /// An IPv4 header (RFC 791) with a TCP header after it (RFC 9293).
    fn read(bytes: &[u8]) -> Option<Self> {
        let segment = bytes.get(usize::from(bytes.first()? & 0xf) * 4..)?;
        let number = |at: usize| {
            Some(u16::from_be_bytes([
                *segment.get(at)?,
                *segment.get(at + 1)?,
            ]))
        };
        let header = usize::from(segment.get(12)? >> 4) * 4;
        Some(Self {
            from: number(0)?,
            to: number(2)?,
            time_to_live: *bytes.get(8)?,
            carries_data: segment.len() > header,
        })
    }
}

#[test]
fn a_connection_from_another_address_of_the_host_is_not_taken() {
    // As route_localnet lets a neighbour's packets in: loopback here, but not there.
    let Some(own) = an_address_that_is_not_loopback() else {
        skipped("this host has no other address than loopback");
        return;
    };
    let served = Served::new();
    // Not what a client does, but what the kernel lets it do.
    let client = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&client, &SocketAddr::from((own, 0))).unwrap();
    connect(&client, &served.daemon.address).unwrap();
    let mut stream = TcpStream::from(client);
    assert!(exchange(&mut stream, served.request_with("")).is_none());
}

/// The one that packets to far away would come from; none are sent.
fn an_address_that_is_not_loopback() -> Option<Ipv4Addr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(address) if !address.ip().is_loopback() => Some(*address.ip()),
        _ => None,
    }
}
