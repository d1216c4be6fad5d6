//! How often the service manager wants to hear that this process is alive.

use std::time::Duration;

use crate::environment::Environment;
use crate::os::init;

/// By `$WATCHDOG_USEC`, as `sd_watchdog_enabled(3)` reads it: nothing where no watchdog waits for
/// this process.
pub fn watchdog(environment: &Environment) -> Option<Duration> {
    interval(environment, init::number_at_start())
}

fn interval(environment: &Environment, own: u32) -> Option<Duration> {
    if let Some(process) = environment.variable("WATCHDOG_PID")
        && process.parse() != Ok(own)
    {
        return None;
    }
    let microseconds = environment.variable("WATCHDOG_USEC")?.parse().ok()?;
    Some(Duration::from_micros(microseconds)).filter(|interval| !interval.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_one_of_this_process() {
        let interval = |variables: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            interval(&variables.iter().map(owned).collect(), 7)
        };
        let (usec, of_ours) = (("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "7"));
        let half_a_minute = Some(Duration::from_secs(30));
        assert_eq!(interval(&[usec, of_ours]), half_a_minute);
        assert_eq!(interval(&[usec]), half_a_minute);
        assert_eq!(interval(&[usec, ("WATCHDOG_PID", "8")]), None);
        assert_eq!(interval(&[usec, ("WATCHDOG_PID", "me")]), None);
        assert_eq!(interval(&[of_ours]), None);
        for no_time in ["0", "-1", "soon", ""] {
            assert_eq!(interval(&[("WATCHDOG_USEC", no_time), of_ours]), None);
        }
    }
}
