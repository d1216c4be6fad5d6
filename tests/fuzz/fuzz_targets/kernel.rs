//! What the kernel says of callers: whose a socket is, and which control groups a process is in.
#![no_main]

use std::net::{Ipv4Addr, SocketAddr};

use credd::os::cgroup;
use credd::os::sock_diag::{Answer, Ends, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|received: &[u8]| {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let ends = Ends {
        local: at(1000),
        remote: at(9169),
    };
    if let Answer::Owner(_) = read(received, 7, ends) {
        // A header and a whole socket.
        assert!(received.len() >= 88);
    }
    let text = String::from_utf8_lossy(received);
    let membership = cgroup::parse(&text);
    for name in [membership.unit, membership.container]
        .into_iter()
        .flatten()
    {
        assert!(text.contains(&*name) && !name.contains('/'));
    }
});
