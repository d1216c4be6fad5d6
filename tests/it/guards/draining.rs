//! The end of a daemon, as its clients see it.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use credd::clock::Clock;

use super::PATH;
use crate::serving::clock::HandClock;
use crate::serving::daemon::InProcess;
use crate::serving::eventually;
use crate::serving::upstream::{self, Upstream};
use crate::serving::wire::{exchange, receive};

/// A daemon for which no time passes: what waits for a deadline waits for ever.
struct Timeless {
    clock: Arc<HandClock>,
    upstream: Upstream,
    daemon: InProcess,
}

impl Timeless {
    fn new() -> Self {
        let clock = Arc::new(HandClock::new());
        let upstream = Upstream::hanging();
        let identities = [("default", upstream.uri("/"))];
        let daemon = InProcess::start(Arc::clone(&clock) as _, &identities);
        // It sets deadlines of its own, which are not to be taken for a connection's.
        eventually("the first attempt is under way", || {
            (upstream.calls() == 1).then_some(())
        });
        Self {
            clock,
            upstream,
            daemon,
        }
    }

    fn give(&self) {
        let expiry = self.clock.now().plus(Duration::from_hours(6));
        self.upstream.answer(upstream::credentials(expiry));
    }

    fn warm(mut self) -> Self {
        self.give();
        self.daemon = self.daemon.warm();
        self
    }

    fn request(&self) -> String {
        let token = &self.daemon.token;
        format!("GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n")
    }

    fn wait_for_the_end(&self) {
        eventually("the daemon ends", || self.daemon.has_ended().then_some(()));
    }
}

#[test]
fn a_request_that_waits_is_answered_before_the_end() {
    let mut timeless = Timeless::new();
    // The refresher's deadlines are set by then.
    eventually("the upstream is asked", || {
        (timeless.upstream.calls() > 0).then_some(())
    });
    let clock = Arc::clone(&timeless.clock);
    let mut stream = clock.until_a_deadline(|| timeless.daemon.tcp());
    let request = timeless.request();
    clock.until_a_deadline(|| stream.write_all(request.as_bytes()).unwrap());
    timeless.daemon.stop();
    eventually("nobody listens any more", || {
        TcpStream::connect(timeless.daemon.address).err()
    });
    assert!(!timeless.daemon.has_ended());
    timeless.give();
    let reply = receive(&mut stream, true).unwrap();
    assert_eq!(
        (reply.status, reply.header("connection")),
        (200, Some("close"))
    );
    timeless.wait_for_the_end();
}

#[test]
fn idle_connections_do_not_put_the_end_off() {
    let mut timeless = Timeless::new().warm();
    let mut idle = timeless.daemon.tcp();
    assert_eq!(exchange(&mut idle, timeless.request()).unwrap().status, 200);
    timeless.daemon.stop();
    timeless.wait_for_the_end();
    assert!(receive(&mut idle, true).is_none());
}

#[test]
fn who_has_just_connected_is_answered_before_the_end() {
    let mut timeless = Timeless::new().warm();
    let mut early = timeless.daemon.tcp();
    // Taken after the other, which is nowhere in the kernel's queue any more.
    let reply = exchange(&mut timeless.daemon.tcp(), timeless.request());
    assert_eq!(reply.unwrap().status, 200);
    timeless.daemon.stop();
    eventually("nobody listens any more", || {
        TcpStream::connect(timeless.daemon.address).err()
    });
    assert_eq!(
        exchange(&mut early, timeless.request()).unwrap().status,
        200
    );
    timeless.wait_for_the_end();
}

#[test]
fn an_open_lease_does_not_put_the_end_off() {
    let mut timeless = Timeless::new().warm();
    let request = "POST /v1/lease HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";
    let mut stream = timeless.daemon.unix();
    assert_eq!(exchange(&mut stream, request).unwrap().status, 200);
    timeless.daemon.stop();
    timeless.wait_for_the_end();
}

#[test]
fn half_a_head_and_silence_put_the_end_off_by_a_second_at_most() {
    let mut timeless = Timeless::new().warm();
    let _silent = timeless.daemon.tcp();
    let mut stream = timeless.daemon.tcp();
    stream.write_all(b"GET / HT").unwrap();
    let others = timeless.request();
    assert_eq!(
        exchange(&mut timeless.daemon.tcp(), others).unwrap().status,
        200
    );
    timeless.daemon.stop();
    eventually("the daemon ends", || {
        timeless.clock.wind(Duration::from_millis(1));
        timeless.daemon.has_ended().then_some(())
    });
    let taken = timeless.clock.boot();
    assert!(
        taken < credd::clock::BootInstant::since_boot(Duration::from_secs(3)),
        "{taken:?}"
    );
}

#[test]
fn the_sockets_names_go_and_the_token_file_stays() {
    let mut timeless = Timeless::new().warm();
    let socket = timeless.daemon.socket();
    let token = socket.with_file_name("tokens/default/token");
    assert!(UnixStream::connect(&socket).is_ok());
    timeless.daemon.stop();
    timeless.wait_for_the_end();
    assert!(!socket.exists());
    assert!(!socket.with_file_name("admin/credd.sock").exists());
    assert!(token.exists());
}
