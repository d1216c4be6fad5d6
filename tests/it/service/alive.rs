//! The watchdog: pings for as long as every part answers, and none once one hangs.

use std::future::Future;
use std::os::unix::net::UnixDatagram;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use credd::authz::ListenerName;
use credd::clock::SharedClock;
use credd::credentials::Failure;
use credd::daemon::watchdog;
use credd::environment::Environment;
use credd::identity::IdentityName;
use credd::providers::{Provider, Providing};
use credd::pulse::Pulse;
use credd::refresh::refresher;
use credd::serve::{Connections, Limits, Listener, Peer, Refusal, Witness};
use credd::systemd::Notifier;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::manager::Manager;
use crate::serving::eventually;
use crate::support::chance::Chance;
use crate::support::clock::TestClock;
use crate::support::patience::{run, settle};

const INTERVAL: Duration = Duration::from_secs(30);

/// A loop of credd's own that stops coming round when a test says so.
async fn stalling(it: impl Future<Output = ()>, mut hangs: watch::Receiver<bool>) {
    let mut it = pin!(it);
    loop {
        tokio::select! {
            biased;
            it = hangs.wait_for(|&hangs| hangs) => drop(it),
            () = &mut it => return,
        }
        let _ = hangs.wait_for(|&hangs| !hangs).await;
    }
}

/// Asks for ever.
#[derive(Debug)]
struct Endless;

impl Provider for Endless {
    fn provide(&mut self) -> Providing<'_> {
        Box::pin(async {
            std::future::pending::<()>().await;
            Err(Failure::transient("never").into())
        })
    }
}

/// A listener and a refresher, watched.
struct Watched {
    clock: Arc<TestClock>,
    listener: watch::Sender<bool>,
    refresher: watch::Sender<bool>,
    manager: UnixDatagram,
    _stop: watch::Sender<bool>,
    _running: JoinSet<()>,
    _folder: TempDir,
}

struct Nobody;

impl credd::serve::Endpoint for Nobody {
    fn respond(
        self: Arc<Self>,
        _: hyper::Request<hyper::body::Incoming>,
        _: Arc<Peer>,
    ) -> credd::serve::Responding {
        Box::pin(async { Refusal::too_many().into_response() })
    }
}

impl Watched {
    async fn start() -> Self {
        let clock = TestClock::new();
        let shared: SharedClock = Arc::clone(&clock) as _;
        let (pulse, mut running) = (Pulse::default(), JoinSet::new());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();

        let (stop, stopped) = watch::channel(false);
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let connections =
            Connections::new(Arc::clone(&shared), Limits::default(), Witness::default())
                .watched_by(pulse.clone());
        let name = ListenerName::http();
        let serving = credd::serve::serve(
            Arc::new(listener),
            name,
            Arc::new(Nobody),
            connections.into(),
            stopped,
        );
        let listener = watch::Sender::new(false);
        running.spawn(stalling(serving, listener.subscribe()));

        let (name, chance) = (IdentityName::default(), Box::new(Chance::new(1)));
        let (refreshing, _) = refresher(name, Box::new(Endless), Arc::clone(&shared), chance);
        let refreshing = refreshing.watched_by(&pulse).run();
        let refresher = watch::Sender::new(false);
        running.spawn(stalling(refreshing, refresher.subscribe()));

        let variable = ("NOTIFY_SOCKET".to_owned(), path.display().to_string());
        let notifier = Notifier::of(&Environment::from_iter([variable]));
        running.spawn(async move {
            watchdog::watch(&pulse, &notifier, INTERVAL, &*shared).await;
        });
        settle().await;
        Self {
            clock,
            listener,
            refresher,
            manager,
            _stop: stop,
            _running: running,
            _folder: folder,
        }
    }

    /// How many pings come in a minute, which has two intervals.
    async fn pings(&self) -> usize {
        let mut pings = 0;
        for _ in 0..60 {
            self.clock.advance(Duration::from_secs(1));
            settle().await;
            let mut buffer = [0; 64];
            while let Ok(length) = self.manager.recv(&mut buffer) {
                assert_eq!(&buffer[..length], b"WATCHDOG=1");
                pings += 1;
            }
        }
        pings
    }
}

#[test]
fn pings_stop_while_a_listener_or_a_refresher_hangs() {
    run(async || {
        let watched = Watched::start().await;
        // At the start and at each half of the interval, also while attempts last their 90 s.
        assert_eq!(watched.pings().await, 5);
        assert_eq!(watched.pings().await, 4);
        assert_eq!(watched.pings().await, 4);
        for hangs in [&watched.listener, &watched.refresher] {
            hangs.send_replace(true);
            assert_eq!(watched.pings().await, 0);
            hangs.send_replace(false);
            // One of them for the question that was left open.
            assert_eq!(watched.pings().await, 5);
        }
    });
}

/// After a busy moment both have come: the answers, and the time to look again.
#[test]
fn answers_that_come_at_the_last_moment_are_passed_on() {
    run(async || {
        let clock = TestClock::new();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let variable = ("NOTIFY_SOCKET".to_owned(), path.display().to_string());
        let notifier = Notifier::of(&Environment::from_iter([variable]));
        let pulse = Pulse::default();
        let mut heart = pulse.heart("a loop");
        let mut watching = pin!(watchdog::watch(&pulse, &notifier, INTERVAL, &*clock));
        for round in 0..50 {
            // It asks, is answered, and comes round only when half of the interval is over.
            poll_once(watching.as_mut()).await;
            heart.beat().await;
            clock.advance(INTERVAL / 2);
            poll_once(watching.as_mut()).await;
            let mut buffer = [0; 64];
            let length = manager.recv(&mut buffer);
            let length = length.unwrap_or_else(|_| panic!("no ping in round {round}"));
            assert_eq!(&buffer[..length], b"WATCHDOG=1");
        }
    });
}

async fn poll_once(mut it: std::pin::Pin<&mut impl Future<Output = ()>>) {
    std::future::poll_fn(|context| {
        assert!(it.as_mut().poll(context).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
}

#[test]
fn a_process_that_stands_still_does_not_ping() {
    let mut manager = Manager::with("");
    // Short, for the test; half a minute in the unit.
    let daemon = manager.start_with(&[("WATCHDOG_USEC", "200000")]);
    manager.hears("WATCHDOG=1");
    daemon.signal(Signal::STOP);
    let state = || {
        let path = format!("/proc/{}/stat", daemon.id());
        let stat = credd::os::files::read_text_now(path.as_ref(), 4096).unwrap();
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        rest.starts_with('T').then_some(())
    };
    eventually("the process stands", state);
    manager.forget();
    let clock = credd::clock::SystemClock::new();
    let begun = credd::clock::Clock::boot(&clock);
    eventually("five intervals pass", || {
        let now = credd::clock::Clock::boot(&clock);
        (begun.until(now) > Duration::from_secs(1)).then_some(())
    });
    assert!(manager.heard().is_empty(), "{:?}", manager.heard());
    daemon.signal(Signal::CONT);
    manager.hears("WATCHDOG=1");
}

#[test]
fn nobody_pings_for_another_process() {
    let mut manager = Manager::with("");
    let variables = [("WATCHDOG_USEC", "20000"), ("WATCHDOG_PID", "1")];
    let mut daemon = manager.start_with(&variables);
    eventually("the daemon answers", || {
        manager.place.run(&["status"]).is_success().then_some(())
    });
    daemon.terminate();
    manager.hears("STOPPING=1");
    assert!(!manager.heard().contains(&"WATCHDOG=1".to_owned()));
}
