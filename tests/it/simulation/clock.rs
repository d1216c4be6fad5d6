//! Time that jumps to whatever is due next, with a wall clock that can be set.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use credd::clock::{BootInstant, Clock, Jumps, Sleep, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

/// 2026-11-22T00:00:00Z, in milliseconds.
const BEGIN: i64 = 1_795_305_600_000;

/// Derived from tokio's paused clock.
#[derive(Debug)]
pub(super) struct SimulatedClock {
    begin: Instant,
    /// How far the wall clock is wrong, in milliseconds.
    wrong_by: AtomicI64,
    /// One for each subscriber: those of one channel wake in an order that chance decides.
    jumps: Mutex<Vec<watch::Sender<u64>>>,
}

impl SimulatedClock {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            begin: Instant::now(),
            wrong_by: AtomicI64::new(0),
            jumps: Mutex::default(),
        })
    }

    /// Since the simulation began.
    pub(super) fn passed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// What a clock that is right would show.
    pub(super) fn truth(&self) -> Timestamp {
        at(self.passed())
    }

    pub(super) async fn pass_until(&self, instant: Duration) {
        tokio::time::sleep_until(self.begin + instant).await;
    }

    pub(super) fn step(&self, millis: i64) {
        self.wrong_by.fetch_add(millis, Ordering::Relaxed);
        self.jump();
    }

    pub(super) fn correct(&self) {
        self.wrong_by.store(0, Ordering::Relaxed);
        self.jump();
    }

    /// Nothing runs meanwhile, and whatever has come due does so at once afterwards.
    pub(super) async fn suspend(&self, duration: Duration) {
        tokio::time::advance(duration).await;
        self.jump();
    }

    fn jump(&self) {
        for jumps in self.jumps.lock().unwrap().iter() {
            jumps.send_modify(|count| *count += 1);
        }
    }
}

/// The true time so long after the beginning.
pub(super) fn at(passed: Duration) -> Timestamp {
    Timestamp::from_unix_millis(BEGIN).plus(passed)
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        let wrong_by = self.wrong_by.load(Ordering::Relaxed);
        Timestamp::from_unix_millis(self.truth().unix_millis() + wrong_by)
    }

    fn boot(&self) -> BootInstant {
        BootInstant::since_boot(self.passed())
    }

    fn sleep_until(&self, instant: BootInstant) -> Sleep {
        let wait = BootInstant::since_boot(Duration::ZERO).until(instant);
        match self.begin.checked_add(wait) {
            Some(instant) => Box::pin(tokio::time::sleep_until(instant)),
            None => Box::pin(std::future::pending()),
        }
    }

    fn deadline(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep_until(Instant::now() + duration))
    }

    fn jumps(&self) -> Jumps {
        let (sender, receiver) = watch::channel(0);
        self.jumps.lock().unwrap().push(sender);
        Jumps::new(receiver)
    }
}
