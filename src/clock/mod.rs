//! Time as something that is handed in: the wall clock for expiries, and a clock that counts
//! suspend for waiting.

mod jump;
mod system;
mod timestamp;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use system::{SystemClock, monotonic};
pub use timestamp::Timestamp;

/// A wait that a clock has begun.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// A time since boot, suspend included (`CLOCK_BOOTTIME`). Never steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(Duration);

impl BootInstant {
    pub const fn since_boot(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// As far as time goes: what is due then is never due.
    pub const NEVER: Self = Self(Duration::MAX);

    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How long until `later`; nothing if that has passed.
    pub fn until(self, later: Self) -> Duration {
        later.0.saturating_sub(self.0)
    }
}

/// The only source of time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The wall clock, which expiries are judged by. It may step either way at any moment.
    fn now(&self) -> Timestamp;

    fn boot(&self) -> BootInstant;

    /// Waits on the clock that counts suspend: a sleep that ends while the host is suspended ends
    /// when it resumes.
    fn sleep_until(&self, instant: BootInstant) -> Sleep;

    /// A deadline of seconds for work in hand. Cheap, and free to ignore suspend: what it guards
    /// has failed by then anyway.
    fn deadline(&self, duration: Duration) -> Sleep;

    /// Changes whenever the wall clock is set or the host resumes.
    fn jumps(&self) -> Jumps;
}

/// A subscription to clock jumps.
#[derive(Debug, Clone)]
pub struct Jumps(tokio::sync::watch::Receiver<u64>);

impl Jumps {
    pub fn new(count: tokio::sync::watch::Receiver<u64>) -> Self {
        Self(count)
    }

    /// Waits for the next jump. Pends for ever once no clock is left to jump.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The time allowed has passed.
#[derive(Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Runs `work` for at most `allowed`.
pub async fn timeout<T>(
    clock: &dyn Clock,
    allowed: Duration,
    work: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    tokio::select! {
        biased;
        outcome = work => Ok(outcome),
        () = clock.deadline(allowed) => Err(Elapsed),
    }
}

/// A clock that many share.
pub type SharedClock = Arc<dyn Clock>;
