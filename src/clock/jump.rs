//! Noticing that the wall clock was set or that the host slept.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::time::{TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::unix::AsyncFd;

/// Far enough that the timer never fires of itself: about 1,000 years, in seconds.
const FAR_AWAY: i64 = 32_000_000_000;

/// A kernel timer that is cancelled whenever the wall clock is set: by hand, by NTP or by a resume
/// from suspend (`TFD_TIMER_CANCEL_ON_SET` in `timerfd_create(2)`).
pub(super) struct JumpWatch(AsyncFd<OwnedFd>);

impl JumpWatch {
    pub(super) fn new() -> io::Result<Self> {
        let timer = rustix::time::timerfd_create(
            TimerfdClockId::Realtime,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        let never = rustix::time::Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: FAR_AWAY,
                tv_nsec: 0,
            },
        };
        // Without ABSTIME the flag has no effect.
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        rustix::time::timerfd_settime(&timer, flags, &never)?;
        Ok(Self(watched(timer)?))
    }

    pub(super) async fn next(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let outcome = rustix::io::read(self.0.get_ref(), &mut [0u8; 8]);
            ready.clear_ready();
            match outcome {
                Err(Errno::AGAIN) => {}
                Ok(_) | Err(Errno::CANCELED) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Hands a descriptor to the reactor.
#[expect(
    deprecated,
    reason = "its successor is unsafe, and an `OwnedFd` keeps the promise asked"
)]
pub(super) fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor)
}
