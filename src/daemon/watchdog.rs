//! The task that tells the service manager that this process is alive: only while every listener and
//! every refresher is.

use std::time::Duration;

use crate::clock::Clock;
use crate::pulse::Pulse;
use crate::systemd::Notifier;

/// Pings at half of `interval`, as `sd_watchdog_enabled(3)` has it, each time once all loops have
/// answered; never where one does not. So the last ping comes before a loop hangs, and the kill no
/// later than `interval` after. Never ends.
pub async fn watch(pulse: &Pulse, notifier: &Notifier, interval: Duration, clock: &dyn Clock) {
    loop {
        let next = clock.boot().after(interval / 2);
        tokio::select! {
            // All have answered, even where this process comes to hear it late.
            biased;
            () = pulse.round() => {
                // The next one follows; and PID 1 that does not read does not look at the time.
                let _ = notifier.watchdog();
                clock.sleep_until(next).await;
            }
            () = clock.sleep_until(next) => {
                let silent = pulse.silent().join(", ");
                tracing::error!(silent, "a part of the daemon hangs: the watchdog is not told \
                                         that all is well");
            }
        }
    }
}
