//! The clocks of this host.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{ClockId, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::unix::AsyncFd;

use super::{BootInstant, Clock, Jumps, Sleep, Timestamp, jump};

/// Real time. Made once, by the command line.
#[derive(Debug)]
pub struct SystemClock {
    jumps: tokio::sync::watch::Sender<u64>,
}

impl SystemClock {
    #[expect(
        clippy::new_without_default,
        reason = "a second clock would miss jumps: say `new`"
    )]
    pub fn new() -> Self {
        Self {
            jumps: tokio::sync::watch::Sender::new(0),
        }
    }

    /// Tells subscribers of jumps, for as long as it is polled.
    pub async fn watch_jumps(&self) {
        let watching: io::Result<()> = async {
            let watch = jump::JumpWatch::new()?;
            loop {
                watch.next().await?;
                self.jumps.send_modify(|count| *count += 1);
            }
        }
        .await;
        if let Err(error) = watching {
            tracing::warn!(%error, "cannot watch for clock jumps; a step is noticed at the next \
                                    refresh instead");
        }
    }
}

/// Since boot, suspend left out (`CLOCK_MONOTONIC`): the time that systemd is told. Nothing of credd's
/// own goes by it.
pub fn monotonic() -> Duration {
    duration(rustix::time::clock_gettime(ClockId::Monotonic))
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = rustix::time::clock_gettime(ClockId::Realtime);
        let millis = now
            .tv_sec
            .saturating_mul(1000)
            .saturating_add(now.tv_nsec / 1_000_000);
        Timestamp::from_unix_millis(millis)
    }

    fn boot(&self) -> BootInstant {
        let now = rustix::time::clock_gettime(ClockId::Boottime);
        BootInstant::since_boot(duration(now))
    }

    fn sleep_until(&self, instant: BootInstant) -> Sleep {
        let wait = self.boot().until(instant);
        match boot_timer(instant) {
            Ok(timer) => Box::pin(async move {
                // The guard is dropped unread: the timer is used once.
                if timer.readable().await.is_err() {
                    sleep(wait).await;
                }
            }),
            // Out of descriptors: a timer that stands still in suspend is better than none.
            Err(_) => Box::pin(sleep(wait)),
        }
    }

    fn deadline(&self, duration: Duration) -> Sleep {
        Box::pin(sleep(duration))
    }

    fn jumps(&self) -> Jumps {
        Jumps::new(self.jumps.subscribe())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the clock is where sleeping lives"
)]
fn sleep(duration: Duration) -> tokio::time::Sleep {
    tokio::time::sleep(duration)
}

fn boot_timer(instant: BootInstant) -> io::Result<AsyncFd<OwnedFd>> {
    let timer = rustix::time::timerfd_create(
        TimerfdClockId::Boottime,
        TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
    )?;
    let expiry = rustix::time::Itimerspec {
        it_interval: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: timespec(BootInstant::since_boot(Duration::ZERO).until(instant)),
    };
    rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &expiry)?;
    jump::watched(timer)
}

fn duration(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        // All zeroes would disarm the timer.
        tv_nsec: i64::from(duration.subsec_nanos().max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleep_into_the_past_ends_at_once_and_one_without_end_does_not() {
        let clock = SystemClock::new();
        clock.sleep_until(clock.boot()).await;
        let mut endless = clock.sleep_until(BootInstant::NEVER);
        assert!(poll(&mut endless).is_pending());
    }

    fn poll(sleep: &mut Sleep) -> std::task::Poll<()> {
        sleep
            .as_mut()
            .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    }
}
