//! Whoever is next to this host, or in a container on it, and can send packets to its loopback
//! addresses: `route_localnet`, as Kubernetes sets it, lets them in (CVE-2020-8558).

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use credd::clock::{Clock, SystemClock};
use credd::os::process;
use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::PATH;
use crate::serving::daemon::InProcess;
use crate::serving::upstream::{self, Upstream};
use crate::serving::{measured, skipped};

/// What a server that is not careful gives to everybody.
const PRIZE: &[u8] = b"HTTP/1.1 200 -\r\n\r\ncontrol-canary";

/// Two network namespaces with a wire between them, gone with the test.
struct Wire {
    here: String,
    there: String,
}

impl Wire {
    /// None where this process may not make them.
    fn laid() -> Option<Self> {
        if !process::is_root() {
            return None;
        }
        let name = |end: &str| format!("credd-guards-{}-{end}", std::process::id());
        let wire = Self {
            here: name("here"),
            there: name("there"),
        };
        let (here, there) = (&wire.here, &wire.there);
        let script = format!(
            "set -e\n\
             ip netns add {here}; ip netns add {there}\n\
             ip link add wire netns {here} type veth peer name wire netns {there}\n\
             ip -n {here} link set lo up\n\
             ip -n {here} addr add 169.254.170.2/32 dev lo\n\
             ip -n {here} addr add 10.98.0.1/24 dev wire; ip -n {here} link set wire up\n\
             ip -n {there} addr add 10.98.0.2/24 dev wire; ip -n {there} link set wire up\n\
             for end in {here} {there}; do\n\
             ip netns exec $end sh -c 'echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet'\n\
             done\n\
             ip -n {there} route add 127.0.0.0/8 via 10.98.0.1 dev wire src 10.98.0.2\n\
             ip -n {there} route add 169.254.170.2 via 10.98.0.1 dev wire\n"
        );
        let laid = Command::new("sh")
            .arg("-c")
            .arg(script)
            .stderr(Stdio::null())
            .status();
        // Dropped where that did not work, with what there is of it.
        laid.is_ok_and(|status| status.success()).then_some(wire)
    }

    /// Does something at one end. Threads that are begun there stay there.
    fn at<T: Send>(end: &str, act: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{end}");
        thread::scope(|scope| {
            let there = scope.spawn(move || {
                let space = rustix::fs::open(path, OFlags::RDONLY, Mode::empty()).unwrap();
                move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                act()
            });
            there.join().unwrap()
        })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for end in [&self.here, &self.there] {
            let _ = Command::new("ip")
                .args(["netns", "del", end])
                .stderr(Stdio::null())
                .status();
        }
    }
}

#[test]
fn a_neighbour_gets_no_byte_even_where_loopback_addresses_are_routed() {
    let Some(wire) = Wire::laid() else {
        skipped("needs root and ip, to make network namespaces");
        return;
    };
    for own in ["127.0.0.1", "169.254.170.2"] {
        let own: IpAddr = own.parse().unwrap();
        let (daemon, _upstream, plain) = Wire::at(&wire.here, || {
            let clock = Arc::new(SystemClock::new());
            let expiry = clock.now().plus(Duration::from_hours(6));
            let upstream = Upstream::answering(upstream::credentials(expiry));
            let identities = [("default", upstream.uri("/"))];
            let address = SocketAddr::from((own, 0)).to_string();
            let daemon = InProcess::listening_on(clock, &identities, &address).warm();
            (daemon, upstream, careless(own))
        });
        let ask = |address| got(address, &daemon.token);
        // From its own namespace credd can be reached, and from the other a server that is not
        // careful.
        let at_home = Wire::at(&wire.here, || ask(daemon.address));
        assert!(at_home.starts_with(b"HTTP/1.1 200 "), "{own}");
        let lost = Wire::at(&wire.there, || ask(plain));
        assert_eq!(
            lost, PRIZE,
            "{own} cannot be reached, so that this test shows nothing"
        );
        let lost = Wire::at(&wire.there, || ask(daemon.address));
        assert!(lost.is_empty(), "{own}: {}", lost.escape_ascii());
        measured(&format!("a neighbour of {own} got {} bytes", lost.len()));
    }
}

/// Says the same to everybody who connects.
fn careless(own: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((own, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(PRIZE);
        }
    });
    address
}

/// All that is answered to a request with the right token.
fn got(address: SocketAddr, token: &str) -> Vec<u8> {
    let patience = Duration::from_secs(5);
    let mut bytes = Vec::new();
    let Ok(mut stream) = TcpStream::connect_timeout(&address, patience) else {
        return bytes;
    };
    let head = "HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n";
    let request = format!("GET {PATH} {head}Authorization: {token}\r\n\r\n");
    stream.set_read_timeout(Some(patience)).unwrap();
    let _ = stream.write_all(request.as_bytes());
    let _ = stream.read_to_end(&mut bytes);
    bytes
}
