//! A clock that stands still until it is wound.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use credd::clock::{BootInstant, Clock, Jumps, Sleep, Timestamp};
use tokio::sync::watch;

/// 2026-11-22T09:30:00Z
const BEGIN: i64 = 1_795_339_800_000;

#[derive(Debug)]
pub(crate) struct HandClock {
    elapsed: watch::Sender<Duration>,
    jumps: watch::Sender<u64>,
    deadlines: AtomicU64,
}

impl HandClock {
    pub(crate) fn new() -> Self {
        Self {
            elapsed: watch::Sender::new(Duration::ZERO),
            jumps: watch::Sender::new(0),
            deadlines: AtomicU64::new(0),
        }
    }

    pub(crate) fn wind(&self, by: Duration) {
        self.elapsed.send_modify(|elapsed| *elapsed += by);
    }

    /// How many deadlines have been set so far: whoever sets one each time it wakes can be waited
    /// for.
    pub(crate) fn deadlines(&self) -> u64 {
        self.deadlines.load(Ordering::SeqCst)
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(BEGIN).plus(*self.elapsed.borrow())
    }

    fn boot(&self) -> BootInstant {
        BootInstant::since_boot(*self.elapsed.borrow())
    }

    fn sleep_until(&self, instant: BootInstant) -> Sleep {
        let mut elapsed = self.elapsed.subscribe();
        Box::pin(async move {
            while BootInstant::since_boot(*elapsed.borrow_and_update()) < instant {
                if elapsed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        })
    }

    fn deadline(&self, duration: Duration) -> Sleep {
        let sleep = self.sleep_until(self.boot().after(duration));
        self.deadlines.fetch_add(1, Ordering::SeqCst);
        sleep
    }

    fn jumps(&self) -> Jumps {
        Jumps::new(self.jumps.subscribe())
    }
}
