//! How much, how many and how long: what one client can cost the others.

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use credd::clock::Clock;
use credd::os::process;
use credd::serve::Limits;

use super::{PATH, Served};
use crate::serving::clock::HandClock;
use crate::serving::daemon::InProcess;
use crate::serving::eventually;
use crate::serving::upstream::{self, Upstream};
use crate::serving::wire::{Wire, exchange, is_closed, receive};

/// As often as the daemon looks at a connection.
const LOOK: Duration = Duration::from_secs(2);

#[test]
fn a_head_of_more_than_16_kib_is_too_large() {
    let served = Served::new();
    let long = |bytes: usize| served.request_with(&format!("X-Long: {}\r\n", "x".repeat(bytes)));
    assert_eq!(served.answer(long(15 * 1024)).status, 200);
    for bytes in [16 * 1024, 17 * 1024, 64 * 1024, 1024 * 1024] {
        let mut stream = served.daemon.tcp();
        // Closing with bytes unread resets the connection, which may overtake the answer.
        if let Some(reply) = exchange(&mut stream, long(bytes)) {
            assert_eq!(reply.status, 431, "{bytes}");
        }
    }
    // One that comes byte by byte lets the answer through.
    let mut stream = served.daemon.tcp();
    let request = long(20 * 1024);
    stream.write_all(&request.as_bytes()[..16 * 1024]).unwrap();
    assert_eq!(receive(&mut stream, true).unwrap().status, 431);
    assert!(receive(&mut stream, true).is_none());
}

#[test]
fn a_token_as_long_as_a_web_identity_token_gets_an_answer() {
    let served = Served::new();
    let token = "x".repeat(8 * 1024);
    let reply = served.answer(format!(
        "GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n"
    ));
    assert_eq!(reply.status, 403);
}

#[test]
fn more_than_a_hundred_headers_are_too_many() {
    let served = Served::new();
    let many = |count: usize| -> String {
        let headers: Vec<String> = (0..count).map(|it| format!("X-{it}: x\r\n")).collect();
        served.request_with(&headers.concat())
    };
    assert_eq!(served.answer(many(90)).status, 200);
    for count in [101, 500, 1000] {
        let reply = served.asked(many(count)).unwrap();
        assert_eq!(reply.status, 431, "{count}");
    }
}

#[test]
fn a_uri_as_long_as_a_head_may_be_is_not_found_and_a_longer_one_is_too_large() {
    let served = Served::new();
    let token = &served.daemon.token;
    let ask = |bytes: usize| {
        let path = "x".repeat(bytes);
        served.asked(format!(
            "GET /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n"
        ))
    };
    assert_eq!(ask(8 * 1024).unwrap().status, 404);
    if let Some(reply) = ask(64 * 1024) {
        assert!([414, 431].contains(&reply.status), "{reply:?}");
    }
}

/// A daemon whose time is in the test's hand.
struct Wound {
    clock: Arc<HandClock>,
    daemon: InProcess,
    _upstream: Upstream,
}

impl Wound {
    fn new() -> Self {
        let clock = Arc::new(HandClock::new());
        let expiry = clock.now().plus(Duration::from_hours(6));
        let upstream = Upstream::answering(upstream::credentials(expiry));
        let identities = [("default", upstream.uri("/"))];
        let daemon = InProcess::start(Arc::clone(&clock) as _, &identities).warm();
        Self {
            clock,
            daemon,
            _upstream: upstream,
        }
    }

    /// A connection that the daemon has begun to look at.
    fn connect<S>(&self, connect: impl FnOnce(&InProcess) -> S) -> S {
        self.clock.until_a_deadline(|| connect(&self.daemon))
    }

    /// Winds on from look to look until the connection is closed, and says how many it took.
    fn looks_until_closed<S: Wire>(
        &self,
        stream: &mut S,
        mut meanwhile: impl FnMut(&mut S),
    ) -> u32 {
        (1..100)
            .find(|_| {
                meanwhile(stream);
                let before = self.clock.deadlines();
                self.clock.wind(LOOK);
                eventually("the daemon looks again or closes", || {
                    (is_closed(stream) || self.clock.deadlines() > before).then_some(())
                });
                is_closed(stream)
            })
            .unwrap()
    }

    fn request(&self) -> String {
        let token = &self.daemon.token;
        format!("GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n")
    }
}

#[test]
fn a_connection_that_says_nothing_is_closed_within_four_seconds() {
    // A daemon each: that a connection has ended makes it set another deadline.
    let wound = Wound::new();
    let mut stream = wound.connect(InProcess::tcp);
    assert_eq!(wound.looks_until_closed(&mut stream, |_| {}), 2);
    let wound = Wound::new();
    let mut stream = wound.connect(InProcess::unix);
    assert_eq!(wound.looks_until_closed(&mut stream, |_| {}), 2);
    let wound = Wound::new();
    let mut stream = wound.connect(InProcess::admin);
    assert_eq!(wound.looks_until_closed(&mut stream, |_| {}), 2);
}

#[test]
fn a_head_that_drips_is_closed_as_silence_is() {
    let wound = Wound::new();
    let mut stream = wound.connect(InProcess::tcp);
    let request = wound.request();
    let mut drops = request.bytes();
    let drip = |stream: &mut TcpStream| {
        stream.write_all(&[drops.next().unwrap()]).unwrap();
    };
    assert_eq!(wound.looks_until_closed(&mut stream, drip), 2);
}

#[test]
fn a_connection_may_idle_for_a_minute_after_an_answer_and_not_for_two() {
    let wound = Wound::new();
    let mut stream = wound.connect(InProcess::tcp);
    assert_eq!(exchange(&mut stream, wound.request()).unwrap().status, 200);
    let looks = wound.looks_until_closed(&mut stream, |_| {});
    let idled = LOOK * looks;
    assert!(idled > Duration::from_mins(1), "{idled:?}");
    assert!(idled < Duration::from_mins(2), "{idled:?}");
}

#[test]
fn a_second_head_that_drips_is_closed_too() {
    let wound = Wound::new();
    let mut stream = wound.connect(InProcess::tcp);
    assert_eq!(exchange(&mut stream, wound.request()).unwrap().status, 200);
    let looks = wound.looks_until_closed(&mut stream, |stream| stream.write_all(b"G").unwrap());
    assert!(looks <= 3, "{looks}");
}

#[test]
fn whoever_is_refused_does_not_keep_the_connection() {
    let served = Served::new();
    let mut stream = served.daemon.tcp();
    let stranger = format!("GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    let reply = exchange(&mut stream, stranger).unwrap();
    assert_eq!(
        (reply.status, reply.header("connection")),
        (403, Some("close"))
    );
    assert!(receive(&mut stream, true).is_none());
}

#[test]
fn a_thousand_silent_connections_keep_nobody_off_the_admin_socket() {
    let _crowd = crowd();
    // Time stands still, so no stranger is shown the door.
    let wound = Wound::new();
    let silent: Vec<TcpStream> = (0..1100).map(|_| wound.daemon.tcp()).collect();
    let status = "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for _ in 0..5 {
        let reply = exchange(&mut wound.daemon.admin(), status);
        assert_eq!(reply.unwrap().status, 200);
    }
    drop(silent);
}

#[test]
fn after_as_many_connections_as_a_caller_may_have_there_is_room_for_as_many_more() {
    let _crowd = crowd();
    let wound = Wound::new();
    let request = wound.request();
    for _ in 0..2 {
        let mut streams: Vec<TcpStream> = Vec::new();
        for _ in 0..Limits::default().connections {
            // The daemon may not have noticed yet that those before have gone.
            streams.push(eventually("there is room", || {
                let mut stream = wound.daemon.tcp();
                (exchange(&mut stream, &request)?.status == 200).then_some(stream)
            }));
        }
    }
}

/// Two crowds at once would be more descriptors than one process has.
fn crowd() -> MutexGuard<'static, ()> {
    static CROWD: Mutex<()> = Mutex::new(());
    process::raise_descriptor_limit();
    CROWD.lock().unwrap_or_else(PoisonError::into_inner)
}
