//! The end of the real program: within a bound, and at once for whoever asks twice.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use credd::clock::{Clock, SystemClock};
use rustix::process::Signal;

use super::clients::Clients;
use super::{container, listening, write};
use crate::serving::eventually;
use crate::serving::program::{Place, Running};
use crate::serving::upstream::{self, Upstream};

/// What a unit and a task definition give at the least, and then kill (`TimeoutStopSec=` of
/// `credd.service`; ECS `stopTimeout`, 30 s if unset).
const LEAST_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A daemon with a client that never finishes its request.
fn held_up() -> (Place, Running, TcpStream) {
    let expiry = SystemClock::new().now().plus(Duration::from_hours(6));
    let upstream = Upstream::answering(upstream::credentials(expiry));
    let place = Place::bare();
    let identity = container("default", &upstream.uri("/"));
    write(&place, &[listening("127.0.0.1:0"), identity].concat());
    let daemon = place.serve();
    place.warm();
    let mut client = TcpStream::connect(place.address()).unwrap();
    client
        .write_all(b"GET /v1/credentials HTTP/1.1\r\nHost: ")
        .unwrap();
    // Somebody else has been answered since, so that the beginning was read.
    assert!(place.run(&["get"]).is_success());
    (place, daemon, client)
}

fn are_gone(place: &Place) -> bool {
    let admin = place.runtime().join("admin/credd.sock");
    !place.socket().exists() && !admin.exists()
}

#[test]
fn a_stop_ends_before_anybody_kills_whatever_clients_do() {
    let (place, mut daemon, _client) = held_up();
    let clock = SystemClock::new();
    let begun = clock.boot();
    daemon.terminate();
    let took = begun.until(clock.boot());
    assert!(took < LEAST_STOP_TIMEOUT, "{took:?}");
    assert!(are_gone(&place));
}

#[test]
fn a_second_signal_ends_the_drain_and_leaves_no_socket_behind() {
    // The kernel makes one of two that are equal and come at once.
    for (first, second) in [(Signal::TERM, Signal::INT), (Signal::INT, Signal::TERM)] {
        let (place, mut daemon, _client) = held_up();
        daemon.signal(first);
        daemon.signal(second);
        assert!(daemon.end().success(), "{}", daemon.output());
        assert!(
            daemon.output().contains("as a second signal asks"),
            "{}",
            daemon.output()
        );
        assert!(are_gone(&place));
    }
}

#[test]
fn a_stop_in_the_middle_of_a_reload_waits_for_nothing() {
    let (place, mut daemon, _client) = held_up();
    let hanging = Upstream::hanging();
    crate::commands::aws::configure(&place, &container("slow", &hanging.uri("/")));
    daemon.signal(Signal::HUP);
    eventually("the new identity is being resolved", || {
        (hanging.calls() > 0).then_some(())
    });
    // What is in force is served meanwhile, and what is not yet is not.
    let clients = Clients::of(&place, "default");
    assert!(!place.run(&["get", "slow"]).is_success());
    let (_, failed) = clients.end();
    assert_eq!(failed, Vec::<String>::new());
    let clock = SystemClock::new();
    let begun = clock.boot();
    daemon.terminate();
    assert!(begun.until(clock.boot()) < LEAST_STOP_TIMEOUT);
    assert!(are_gone(&place));
    assert!(!daemon.output().contains("reloaded"));
}
