//! A clock that is wound by hand, steps either way and sleeps through suspends.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use credd::clock::{BootInstant, Clock, Jumps, Sleep, Timestamp};
use tokio::sync::watch;

/// Where every test begins.
pub(crate) const START: &str = "2026-11-22T09:30:00Z";

/// Boots some time before the test begins, as hosts do.
const UPTIME: Duration = Duration::from_hours(1);

/// Stands still until it is told otherwise.
pub(crate) struct TestClock {
    state: Arc<Mutex<State>>,
    jumps: watch::Sender<u64>,
}

struct State {
    boot: Duration,
    /// Like `boot`, but for suspends: what deadlines go by.
    running: Duration,
    /// What the wall clock shows at boot, by those who set it last.
    wall_at_boot: Timestamp,
    next: u64,
    sleepers: BTreeMap<u64, Sleeper>,
}

struct Sleeper {
    until: Until,
    waker: Option<Waker>,
}

#[derive(Clone, Copy)]
enum Until {
    Boot(Duration),
    Running(Duration),
}

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        let state = State {
            boot: UPTIME,
            running: UPTIME,
            wall_at_boot: Timestamp::parse(START).unwrap().minus(UPTIME),
            next: 0,
            sleepers: BTreeMap::new(),
        };
        Arc::new(Self {
            state: Arc::new(Mutex::new(state)),
            jumps: watch::Sender::new(0),
        })
    }

    /// Time passes.
    pub(crate) fn advance(&self, duration: Duration) {
        self.change(|state| {
            state.boot += duration;
            state.running += duration;
        });
    }

    /// Time passes until `instant`, if that is to come.
    pub(crate) fn advance_to(&self, instant: BootInstant) {
        self.advance(self.boot().until(instant));
    }

    /// Somebody sets the wall clock this much ahead.
    pub(crate) fn step_forward(&self, duration: Duration) {
        self.change(|state| state.wall_at_boot = state.wall_at_boot.plus(duration));
        self.jump();
    }

    /// Somebody sets the wall clock this much back.
    pub(crate) fn step_back(&self, duration: Duration) {
        self.change(|state| state.wall_at_boot = state.wall_at_boot.minus(duration));
        self.jump();
    }

    /// The host sleeps and resumes: deadlines have stood still.
    pub(crate) fn suspend(&self, duration: Duration) {
        self.change(|state| state.boot += duration);
        self.jump();
    }

    fn jump(&self) {
        self.jumps.send_modify(|count| *count += 1);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let wakers: Vec<Waker> = {
            let mut state = self.state.lock().unwrap();
            change(&mut state);
            let (boot, running) = (state.boot, state.running);
            let due = |sleeper: &&mut Sleeper| sleeper.until.has_come(boot, running);
            let sleepers = state.sleepers.values_mut().filter(due);
            sleepers
                .filter_map(|sleeper| sleeper.waker.take())
                .collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn sleep(&self, until: impl FnOnce(&State) -> Until) -> Sleep {
        let mut state = self.state.lock().unwrap();
        let id = state.next;
        state.next += 1;
        let until = until(&state);
        state.sleepers.insert(id, Sleeper { until, waker: None });
        Box::pin(Sleeping {
            state: Arc::clone(&self.state),
            id,
        })
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let state = self.state.lock().unwrap();
        state.wall_at_boot.plus(state.boot)
    }

    fn boot(&self) -> BootInstant {
        BootInstant::since_boot(self.state.lock().unwrap().boot)
    }

    fn sleep_until(&self, instant: BootInstant) -> Sleep {
        let since_boot = BootInstant::since_boot(Duration::ZERO).until(instant);
        self.sleep(|_| Until::Boot(since_boot))
    }

    fn deadline(&self, duration: Duration) -> Sleep {
        self.sleep(|state| Until::Running(state.running + duration))
    }

    fn jumps(&self) -> Jumps {
        Jumps::new(self.jumps.subscribe())
    }
}

impl std::fmt::Debug for TestClock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "TestClock({})", self.now())
    }
}

impl Until {
    fn has_come(self, boot: Duration, running: Duration) -> bool {
        match self {
            Self::Boot(instant) => instant <= boot,
            Self::Running(instant) => instant <= running,
        }
    }
}

struct Sleeping {
    state: Arc<Mutex<State>>,
    id: u64,
}

impl Future for Sleeping {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock().unwrap();
        let (boot, running) = (state.boot, state.running);
        let sleeper = state.sleepers.get_mut(&self.id).unwrap();
        if sleeper.until.has_come(boot, running) {
            return Poll::Ready(());
        }
        sleeper.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleeping {
    fn drop(&mut self) {
        // A test that panics with the lock held has its own story to tell.
        if let Ok(mut state) = self.state.lock() {
            state.sleepers.remove(&self.id);
        }
    }
}

#[test]
fn a_suspend_ends_sleeps_and_leaves_deadlines_alone() {
    super::patience::run(async || {
        let clock = TestClock::new();
        let mut jumps = clock.jumps();
        let minute = Duration::from_mins(1);
        let sleep = clock.sleep_until(clock.boot().after(minute));
        let deadline = clock.deadline(minute);
        clock.suspend(minute);
        sleep.await;
        jumps.next().await;
        tokio::select! {
            biased;
            () = deadline => panic!("a deadline passed in a suspend"),
            () = super::patience::settle() => {}
        }
    });
}

#[test]
fn a_step_back_moves_nothing_but_the_wall_clock() {
    let clock = TestClock::new();
    let (now, boot) = (clock.now(), clock.boot());
    clock.step_back(Duration::from_hours(24));
    assert_eq!(clock.now(), now.minus(Duration::from_hours(24)));
    assert_eq!(clock.boot(), boot);
}
