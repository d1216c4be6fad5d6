//! How long to wait before trying again: the `backoff` crate's exponential policy under full
//! jitter, with every chance and every clock handed in.

use std::time::{Duration, Instant};

use backoff::backoff::Backoff;
use backoff::exponential::ExponentialBackoff;

use crate::random::Draw;

/// How fast to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// After a passing fault. Base 50 ms (AWS SDK retry rules of 2026-11-10).
    Quick,
    /// After being told to slow down. Base 1 s (same source).
    Gentle,
    /// After an answer that only a change made elsewhere can better: an evenly drawn time between
    /// half the cap and the cap, from the first failure on.
    Slow,
}

/// No delay exceeds this, except on the server's own word.
pub const CAP: Duration = Duration::from_mins(2);

/// No delay falls below this, so that no draw can make a loop spin.
pub const FLOOR: Duration = Duration::from_millis(20);

/// The longest server hint that is honoured: a longer one is an error or an attack, and an
/// operator who mends the cause should not have to wait for more than this.
pub const HINT_CAP: Duration = Duration::from_mins(15);

/// The delay after `failures` failures in a row (1 for the first), with the server's hint, if it
/// gave one, as the least.
///
/// Full jitter: an even draw from nothing to the exponential ceiling ("Exponential Backoff And
/// Jitter", AWS Architecture Blog).
pub fn delay(pace: Pace, failures: u32, draw: Draw, hint: Option<Duration>) -> Duration {
    let drawn = match pace {
        Pace::Quick | Pace::Gentle => ceiling(pace, failures).mul_f64(draw.share()),
        Pace::Slow => CAP.mul_f64(0.5 + 0.5 * draw.share()),
    };
    // Spread over a tenth more, since a server in trouble gives everyone the same hint.
    let hinted = hint
        .unwrap_or_default()
        .min(HINT_CAP)
        .mul_f64(1.0 + 0.1 * draw.share());
    drawn.max(FLOOR).max(hinted)
}

/// The longest delay that `delay` can draw after `failures` failures, hints apart.
pub fn ceiling(pace: Pace, failures: u32) -> Duration {
    let base = match pace {
        Pace::Quick => Duration::from_millis(50),
        Pace::Gentle => Duration::from_secs(1),
        Pace::Slow => return CAP,
    };
    let mut policy = ExponentialBackoff::<FrozenClock> {
        current_interval: base,
        initial_interval: base,
        // The crate's own jitter draws from a generator that no seed reaches, and may exceed the
        // cap by half; the caller's draw takes its place.
        randomization_factor: 0.0,
        multiplier: 2.0,
        max_interval: CAP,
        start_time: FrozenClock::epoch(),
        // The default gives up for good after 15 minutes; a daemon never does.
        max_elapsed_time: None,
        clock: FrozenClock,
    };
    let mut ceiling = base;
    // The cap is reached after 12 doublings of 50 ms; more turns change nothing.
    for _ in 0..failures.clamp(1, 16) {
        ceiling = policy.next_backoff().unwrap_or(CAP);
    }
    ceiling.min(CAP)
}

/// `backoff` asks for a clock only to give up after `max_elapsed_time`, which is off.
#[derive(Debug, Default, Clone)]
struct FrozenClock;

impl FrozenClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "never compared: a value is all backoff wants"
    )]
    fn epoch() -> Instant {
        static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *EPOCH.get_or_init(Instant::now)
    }
}

impl backoff::Clock for FrozenClock {
    fn now(&self) -> Instant {
        Self::epoch()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ceiling_doubles_from_its_base_to_the_cap() {
        let quick: Vec<u128> = (1..=4)
            .map(|n| ceiling(Pace::Quick, n).as_millis())
            .collect();
        assert_eq!(quick, [50, 100, 200, 400]);
        let gentle: Vec<u64> = (1..=9)
            .map(|n| ceiling(Pace::Gentle, n).as_secs())
            .collect();
        assert_eq!(gentle, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
        assert_eq!(ceiling(Pace::Quick, u32::MAX), CAP);
    }

    proptest! {
        #[test]
        fn no_delay_leaves_its_bounds(
            failures in 0u32..1000, share in 0.0f64..1.0, hint in proptest::option::of(0u64..10_000),
        ) {
            let hint = hint.map(Duration::from_secs);
            for pace in [Pace::Quick, Pace::Gentle, Pace::Slow] {
                let delay = delay(pace, failures, Draw::new(share), hint);
                let least = FLOOR.max(hint.unwrap_or_default().min(HINT_CAP));
                prop_assert!(delay >= least);
                prop_assert!(delay <= CAP.max(least.mul_f64(1.1)));
            }
        }
    }
}
