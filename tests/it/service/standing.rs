//! What the service manager is told of how the identities do.

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use credd::clock::{Clock, SystemClock};
use credd::environment::Environment;

use super::manager::Manager;
use crate::reload::write;
use crate::serving::daemon::{InProcess, config, identities};
use crate::serving::eventually;
use crate::serving::upstream::{Answer, Upstream, credentials};
use crate::support::clock::TestClock;

const HOUR: Duration = Duration::from_hours(1);

/// A daemon in this process, by a clock that is wound by hand, and all that it says.
struct Told {
    clock: Arc<TestClock>,
    manager: UnixDatagram,
    said: Vec<String>,
    _daemon: InProcess,
    _folder: tempfile::TempDir,
}

impl Told {
    fn of(given: &[(&str, &Upstream)]) -> Self {
        let clock = TestClock::new();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let given: Vec<_> = given
            .iter()
            .map(|(name, it)| (*name, it.uri("/")))
            .collect();
        let variable = ("NOTIFY_SOCKET".to_owned(), path.display().to_string());
        let daemon = InProcess::with(
            Arc::clone(&clock) as _,
            config(identities(&given), "127.0.0.1:0"),
            Environment::from_iter([variable]),
        );
        Self {
            clock,
            manager,
            said: Vec::new(),
            _daemon: daemon,
            _folder: folder,
        }
    }

    fn said(&mut self) -> &[String] {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.manager.recv(&mut buffer) {
            let said = String::from_utf8(buffer[..length].to_vec()).unwrap();
            self.said.push(said);
        }
        &self.said
    }

    fn is_ready(&mut self) -> bool {
        let count = self.said().iter().filter(|it| *it == "READY=1").count();
        assert!(count <= 1, "{:?}", self.said);
        count == 1
    }

    #[track_caller]
    fn until(&mut self, line: &str) {
        eventually(line, || {
            let last = self
                .said()
                .iter()
                .rev()
                .find(|it| it.starts_with("STATUS="));
            (last? == line).then_some(())
        });
    }
}

#[test]
fn it_is_ready_once_every_identity_is_served_and_not_before() {
    let clock = TestClock::new();
    let (one, other) = (Upstream::hanging(), Upstream::hanging());
    let mut told = Told::of(&[("one", &one), ("other", &other)]);
    told.until("STATUS=2 identities: 2 warming");
    one.answer(credentials(clock.now().plus(6 * HOUR)));
    told.until("STATUS=2 identities: 1 fresh, 1 warming");
    assert!(!told.is_ready());
    other.answer(credentials(clock.now().plus(6 * HOUR)));
    eventually("it is ready", || told.is_ready().then_some(()));
    told.until("STATUS=2 identities: 2 fresh");
}

#[test]
fn what_cannot_be_had_is_waited_for_twenty_seconds_and_named() {
    let clock = TestClock::new();
    let good = Upstream::answering(credentials(clock.now().plus(6 * HOUR)));
    let bad = Upstream::answering(denial());
    let mut told = Told::of(&[("bad", &bad), ("good", &good)]);
    told.until("STATUS=2 identities: 1 fresh, 1 failed; bad has no credentials (denied)");
    told.clock.advance(Duration::from_secs(19));
    assert!(!told.is_ready());
    told.clock.advance(Duration::from_secs(1));
    eventually("it is ready", || told.is_ready().then_some(()));
}

#[test]
fn the_line_follows_the_identities_by_time_and_by_failure() {
    let clock = TestClock::new();
    let upstream = Upstream::answering(credentials(clock.now().plus(HOUR)));
    let mut told = Told::of(&[("default", &upstream)]);
    told.until("STATUS=1 identity: 1 fresh");
    upstream.answer(denial());
    told.clock.advance(Duration::from_mins(50));
    told.until("STATUS=1 identity: 1 late; default cannot be refreshed (denied)");
    told.clock.advance(Duration::from_mins(10));
    told.until("STATUS=1 identity: 1 expired; default has no credentials (denied)");
    assert!(told.is_ready());
}

fn denial() -> Answer {
    Answer {
        status: 403,
        body: r#"{"code": "AccessDenied", "message": "no"}"#.to_owned(),
    }
}

/// The manager starts what is ordered after credd as soon as it hears the word, whatever that was
/// about.
#[test]
fn a_reload_before_it_is_ready_does_not_make_it_so_and_one_after_that_is_said_to_begin_and_to_end()
{
    let upstream = Upstream::hanging();
    let uri = upstream.uri("/");
    let config = format!("[identity.default]\nprovider = \"container\"\nuri = \"{uri}\"\n");
    let mut manager = Manager::with(&config);
    let mut daemon = manager.start();
    eventually("the daemon answers", || {
        manager.place.run(&["status"]).is_success().then_some(())
    });
    assert!(manager.place.run(&["reload"]).is_success());
    // One that is refused.
    write(&manager.place, "unknown = 1");
    assert_eq!(manager.place.run(&["reload"]).code(), Some(1));
    write(&manager.place, &config);
    manager.hears_line("the last reload failed");
    let is_told = |it: &String| it.starts_with("READY=") || it.starts_with("RELOADING=");
    assert!(
        !manager.heard().iter().any(is_told),
        "{:?}",
        manager.heard()
    );

    let expiry = SystemClock::new().now().plus(6 * HOUR);
    upstream.answer(credentials(expiry));
    manager.hears("READY=1");
    manager.forget();
    assert!(manager.place.run(&["reload"]).is_success());
    manager.hears("READY=1");
    let told: Vec<_> = manager.heard().iter().filter(|it| is_told(it)).collect();
    let [begins, ends] = told[..] else {
        panic!("{told:?}");
    };
    assert!(
        begins.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{begins}"
    );
    assert_eq!(ends, "READY=1");
    daemon.terminate();
}

#[test]
fn the_token_is_there_and_requests_are_answered_by_the_time_it_is_ready() {
    let expiry = SystemClock::new().now().plus(6 * HOUR);
    let upstream = Upstream::answering(credentials(expiry));
    let uri = upstream.uri("/");
    let config = format!("[identity.default]\nprovider = \"container\"\nuri = \"{uri}\"\n");
    let mut manager = Manager::with(&config);
    let mut daemon = manager.start();
    eventually("it is ready", || {
        let is_ready = manager.heard().iter().any(|it| it == "READY=1");
        is_ready.then_some(())
    });
    let got = crate::commands::status(&manager.url(), &manager.place.token());
    assert_eq!(got, Some(200));
    assert!(manager.place.run(&["health"]).is_success());
    daemon.terminate();
    manager.hears("STOPPING=1");
}
