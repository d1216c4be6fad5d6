//! When to ask next: pure functions of a set's life, the time, a draw and the failures so far.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::credentials::{Failure, FailureClass, Renewal, Warnings};
use crate::random::Draw;
use crate::retry::{self, Pace};

/// No schedule comes back sooner than this after a success, whatever an upstream says of expiry.
const FLOOR: Duration = Duration::from_secs(1);

/// The same where each call counts against a quota that hosts share. AWS makes no session for less
/// than 15 minutes, so only a host whose clock is wrong by just about a lifetime comes down to it.
pub(super) const MINT_FLOOR: Duration = Duration::from_secs(30);

/// Watched sources are read at least this often in the last quarter of life and after it.
const MINUTE: Duration = Duration::from_mins(1);

/// Watched sources are read at least this often before it, so that a changed role is noticed.
const HOUR: Duration = Duration::from_hours(1);

/// Taken as the life of a watched set whose source does not say when it began: what EC2 and ECS
/// give their roles.
const USUAL_LIFETIME: Duration = Duration::from_hours(6);

/// A program that does not say when its credentials end is run again this often at least.
const UNKNOWN_MINT: Duration = Duration::from_mins(15);

/// The longest session that AWS gives (`GetSessionToken`, STS API reference). What claims more is
/// scheduled as if it had this much.
pub(super) const LONGEST_LIFETIME: Duration = Duration::from_hours(36);

/// A fleet that boots together spreads its first attempts over this much. With the refresh draw
/// below, 10,000 daemons stay below a twentieth of the STS quota.
const START_SPREAD: Duration = Duration::from_mins(1);

/// What a schedule needs to know of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    pub renewal: Renewal,
    pub issued: Option<Timestamp>,
    pub obtained: Timestamp,
    pub expiry: Option<Timestamp>,
}

/// How long to wait before the first attempt at a source that many hosts share.
pub fn start_spread(draw: Draw) -> Duration {
    START_SPREAD.mul_f64(draw.share())
}

/// How long from `now` until the set should be asked for again. `draw` belongs to the set: drawn
/// once when it was obtained, since a draw repeated at each look would sooner or later come up
/// early for everyone.
pub fn after_success(life: &Life, now: Timestamp, draw: Draw) -> Duration {
    let wait = match (life.renewal, life.expiry) {
        (Renewal::Mint, None) => UNKNOWN_MINT.mul_f64(0.75 + 0.25 * draw.share()),
        (_, None) => minute(draw),
        (Renewal::Ask(warnings), Some(expiry)) => {
            let began = life.issued.unwrap_or(life.obtained);
            let lifetime = began.until(expiry).min(LONGEST_LIFETIME);
            let first = warnings.of_life(lifetime).first;
            let wait = now.until(began.plus(lifetime.saturating_sub(first)));
            wait.min(LONGEST_LIFETIME)
        }
        (Renewal::Mint, Some(expiry)) => {
            // 20 to 45 %: by simulation, the range with which 10,000 daemons ride out an STS
            // outage of half an hour without one second without credentials.
            // By AWS's own clock, where it is known: this host's may be hours off.
            let lifetime = life.issued.unwrap_or(life.obtained).until(expiry);
            let lifetime = lifetime.min(LONGEST_LIFETIME);
            let share = 0.20 + 0.25 * draw.share();
            now.until(life.obtained.plus(lifetime.mul_f64(share)))
        }
        (Renewal::Reread, Some(expiry)) => watching(now.until(expiry), draw),
        (Renewal::Watch | Renewal::WatchStable, Some(expiry)) => {
            let remaining = now.until(expiry);
            let watch_from = remaining.saturating_sub(watched_lifetime(life, expiry) / 4);
            if watch_from.is_zero() {
                watching(remaining, draw)
            } else {
                watch_from.min(HOUR.mul_f64(0.75 + 0.25 * draw.share()))
            }
        }
    };
    wait.max(floor(life.renewal))
}

/// How long from `now` until the first attempt at a set that has outlasted a process. One that was
/// made for us keeps its schedule, `planned` by the clock that never steps, so that a restart costs
/// AWS no call; where that is over, a fleet that starts together spreads its attempts, each in time
/// for its set. Whatever costs no call is asked at once.
pub fn after_restoring(
    life: &Life,
    now: Timestamp,
    draw: Draw,
    planned: Option<Duration>,
    spread: Draw,
) -> Duration {
    if life.renewal != Renewal::Mint {
        return Duration::ZERO;
    }
    let remaining = life.expiry.map_or(START_SPREAD, |expiry| now.until(expiry));
    let spread = start_spread(spread).min(remaining / 4);
    let wait = after_success(life, now, draw);
    planned
        .map_or(wait, |planned| wait.min(planned))
        .max(spread)
}

/// The least wait after a success.
pub(super) fn floor(renewal: Renewal) -> Duration {
    match renewal {
        Renewal::Mint | Renewal::Ask(_) => MINT_FLOOR,
        Renewal::Reread | Renewal::Watch | Renewal::WatchStable => FLOOR,
    }
}

/// How long from `now` until the next attempt after the `failures`th failure in a row, with a new
/// `draw` each time; `None` where only a person can go on. `life` is that of the set still held.
pub fn after_failure(
    failure: &Failure,
    failures: u32,
    life: Option<&Life>,
    now: Timestamp,
    draw: Draw,
) -> Option<Duration> {
    let pace = match failure.class {
        FailureClass::Transient => Pace::Quick,
        // What is wrong on this host may be mended, or be there, a moment later: a role that an
        // instance is just getting, a file that is being written.
        FailureClass::Throttled | FailureClass::Misconfigured => Pace::Gentle,
        FailureClass::Denied => Pace::Slow,
        FailureClass::NeedsPerson => return until_next_stage(life, now),
    };
    let delay = retry::delay(pace, failures, draw, failure.retry_after);
    let Some(life) = life else { return Some(delay) };
    if failure.retry_after.is_some() {
        // A hint must not cost a set that is still good.
        let remaining = life
            .expiry
            .map_or(Duration::ZERO, |expiry| now.until(expiry));
        let bearable = if remaining.is_zero() {
            delay
        } else {
            MINUTE.max(remaining / 4)
        };
        return Some(delay.min(bearable));
    }
    Some(match watched(life, now) {
        Some(remaining) => delay.min(watching(remaining, draw)),
        None => delay,
    })
}

/// Whom nobody has answered is asked again at each stage on the way to the end of the session, and
/// told of that end.
fn until_next_stage(life: Option<&Life>, now: Timestamp) -> Option<Duration> {
    let life = life?;
    let (Renewal::Ask(warnings), Some(expiry)) = (life.renewal, life.expiry) else {
        return None;
    };
    let began = life.issued.unwrap_or(life.obtained);
    let Warnings { first, last } = warnings.of_life(began.until(expiry));
    let stages = [first, last, Duration::ZERO].map(|before| expiry.minus(before));
    let next = stages.into_iter().find(|stage| *stage > now)?;
    Some(now.until(next))
}

/// Somewhat under a minute, so that what appears is picked up within one.
fn minute(draw: Draw) -> Duration {
    MINUTE.mul_f64(0.75 + 0.2 * draw.share())
}

/// Once a minute, and more often towards the end, where sets that live for minutes only would
/// otherwise be missed: a quarter of what remains.
fn watching(remaining: Duration, draw: Draw) -> Duration {
    let minute = minute(draw);
    if remaining.is_zero() {
        minute
    } else {
        minute.min(remaining / 4).max(FLOOR)
    }
}

/// What remains of a set that is looked at once a minute now.
fn watched(life: &Life, now: Timestamp) -> Option<Duration> {
    let expiry = life.expiry?;
    let remaining = now.until(expiry);
    let is_watched = match life.renewal {
        Renewal::Mint | Renewal::Ask(_) => false,
        Renewal::Reread => true,
        Renewal::Watch | Renewal::WatchStable => remaining <= watched_lifetime(life, expiry) / 4,
    };
    is_watched.then_some(remaining)
}

fn watched_lifetime(life: &Life, expiry: Timestamp) -> Duration {
    life.issued
        .map(|issued| issued.until(expiry))
        .filter(|lifetime| !lifetime.is_zero())
        .unwrap_or(USUAL_LIFETIME)
        .min(LONGEST_LIFETIME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_800_000_000_000;

    fn now() -> Timestamp {
        Timestamp::from_unix_millis(NOW)
    }

    fn life(renewal: Renewal, lifetime: Duration, remaining: Duration) -> Life {
        let expiry = now().plus(remaining);
        let issued = expiry.minus(lifetime);
        Life {
            renewal,
            issued: Some(issued),
            obtained: issued.max(now()),
            expiry: Some(expiry),
        }
    }

    #[test]
    fn a_minted_hour_is_refreshed_with_33_to_48_minutes_left() {
        let hour = life(Renewal::Mint, HOUR, HOUR);
        assert_eq!(
            after_success(&hour, now(), Draw::new(0.0)),
            Duration::from_mins(12)
        );
        assert_eq!(
            after_success(&hour, now(), Draw::new(1.0)).as_secs(),
            27 * 60
        );
    }

    #[test]
    fn a_watched_set_is_left_alone_until_its_last_quarter_but_for_an_hourly_look() {
        let young = life(Renewal::Watch, 6 * HOUR, 6 * HOUR);
        assert_eq!(after_success(&young, now(), Draw::new(1.0)).as_secs(), 3600);
        let near = life(Renewal::Watch, 6 * HOUR, HOUR + Duration::from_mins(40));
        assert_eq!(
            after_success(&near, now(), Draw::new(1.0)),
            Duration::from_mins(10)
        );
    }

    #[test]
    fn a_watched_set_of_unknown_beginning_is_taken_to_live_six_hours() {
        let life = Life {
            issued: None,
            ..life(Renewal::Watch, HOUR, HOUR)
        };
        assert!(after_success(&life, now(), Draw::new(1.0)) < MINUTE);
    }

    #[test]
    fn a_set_of_unknown_expiry_is_read_each_minute() {
        let life = Life {
            expiry: None,
            ..life(Renewal::Watch, HOUR, HOUR)
        };
        let wait = after_success(&life, now(), Draw::new(0.5));
        assert!(wait < MINUTE && wait > MINUTE / 2);
    }

    #[test]
    fn a_failure_in_the_last_quarter_delays_no_more_than_a_minute_but_a_hint_does() {
        let old = life(Renewal::WatchStable, 6 * HOUR, Duration::ZERO);
        let denied = Failure::denied("no");
        let wait = |failure: &Failure, life| {
            after_failure(failure, 20, life, now(), Draw::new(0.9)).unwrap()
        };
        assert!(wait(&denied, Some(&old)) < MINUTE);
        assert!(wait(&denied, None) > MINUTE);
        let hint = Failure::throttled("slow down", Some(Duration::from_mins(5)));
        assert!(wait(&hint, Some(&old)) >= Duration::from_mins(5));
        let good = life(Renewal::WatchStable, 6 * HOUR, Duration::from_mins(10));
        assert_eq!(wait(&hint, Some(&good)), Duration::from_secs(150));
    }

    #[test]
    fn what_needs_a_person_is_not_tried_again() {
        let failure = Failure {
            class: FailureClass::NeedsPerson,
            ..Failure::denied("code")
        };
        assert_eq!(
            after_failure(&failure, 1, None, now(), Draw::new(0.0)),
            None
        );
    }

    #[test]
    fn a_person_is_asked_twice_before_the_end_and_told_of_it() {
        let ask = Renewal::Ask(Warnings::default());
        let session = life(ask, 12 * HOUR, 12 * HOUR);
        let first = after_success(&session, now(), Draw::new(0.9));
        assert_eq!(first, 11 * HOUR);
        let unanswered = Failure::mfa_required("ops", "arn:aws:iam::123456789012:mfa/ops");
        let (mut at, mut left) = (now(), Vec::new());
        while let Some(wait) = after_failure(&unanswered, 1, Some(&session), at, Draw::new(0.1)) {
            at = at.plus(wait);
            left.push(at.until(session.expiry.unwrap()).as_secs() / 60);
        }
        assert_eq!(left, [60, 10, 0]);
    }

    fn renewals() -> impl Strategy<Value = Renewal> {
        prop_oneof![
            Just(Renewal::Mint),
            Just(Renewal::Reread),
            Just(Renewal::Watch),
            Just(Renewal::WatchStable),
            Just(Renewal::Ask(Warnings::default())),
        ]
    }

    #[test]
    fn what_was_made_for_us_keeps_its_schedule_through_a_restart_and_nothing_else_does() {
        let now = Timestamp::from_unix_millis(NOW);
        let life = |renewal, since: u64, left: u64| Life {
            renewal,
            issued: Some(now.minus(Duration::from_secs(since))),
            obtained: now.minus(Duration::from_secs(since)),
            expiry: Some(now.plus(Duration::from_secs(left))),
        };
        let after = |life, planned: Option<u64>, spread: f64| {
            let planned = planned.map(Duration::from_secs);
            let (draw, spread) = (Draw::new(0.4), Draw::new(spread));
            after_restoring(&life, now, draw, planned, spread).as_secs()
        };
        // 30 % of an hour, of which a third has passed.
        let mint = |since, left| life(Renewal::Mint, since, left);
        assert_eq!(after(mint(360, 3240), Some(720), 0.5), 720);
        assert_eq!(after(mint(360, 3240), None, 0.5), 720);
        // The wall clock was set back: the plan stands.
        assert_eq!(after(mint(0, 36_000), Some(720), 0.5), 720);
        // Overdue: spread, and in time.
        assert_eq!(after(mint(1800, 1800), Some(0), 0.5), 30);
        assert_eq!(after(mint(1800, 1800), Some(0), 0.9), 54);
        assert_eq!(after(mint(3580, 20), Some(0), 0.9), 5);
        let ask = Renewal::Ask(Warnings::default());
        for renewal in [Renewal::Reread, Renewal::Watch, Renewal::WatchStable, ask] {
            assert_eq!(after(life(renewal, 360, 3240), Some(720), 0.5), 0);
        }
    }

    proptest! {
        #[test]
        fn in_the_last_quarter_a_new_set_is_picked_up_within_a_minute(
            lifetime in 1u64..200_000, part in 0.0f64..0.25, share in 0.0f64..1.0,
        ) {
            let lifetime = Duration::from_secs(lifetime);
            let life = life(Renewal::WatchStable, lifetime, lifetime.mul_f64(part));
            prop_assume!(lifetime <= LONGEST_LIFETIME);
            prop_assert!(after_success(&life, now(), Draw::new(share)) < MINUTE);
        }

        #[test]
        fn the_whole_life_of_a_watched_set_costs_few_reads(
            lifetime in 60u64..129_600, share in 0.0f64..1.0,
        ) {
            let lifetime = Duration::from_secs(lifetime);
            let life = life(Renewal::Watch, lifetime, lifetime);
            let (mut now, mut reads) = (now(), 0u32);
            while now < life.expiry.unwrap() {
                now = now.plus(after_success(&life, now, Draw::new(share)));
                reads += 1;
            }
            // A quarter of the minutes, an hourly look, and a few at the very end.
            let most = lifetime.as_secs() / 4 / 45 + lifetime.as_secs() / 2700 + 40;
            prop_assert!(u64::from(reads) <= most, "{reads} reads in {lifetime:?}");
        }

        #[test]
        fn no_schedule_goes_below_its_floor_or_beyond_a_day_and_a_half(
            renewal in renewals(), obtained in any::<i64>(), issued in any::<Option<i64>>(),
            expiry in any::<Option<i64>>(), at in any::<i64>(), share in 0.0f64..1.0,
        ) {
            let instant = Timestamp::from_unix_millis;
            let life = Life {
                renewal,
                issued: issued.map(instant),
                obtained: instant(obtained),
                expiry: expiry.map(instant),
            };
            // A step back of the wall clock is met by the deadline on the boot clock.
            let now = instant(at.max(obtained));
            let wait = after_success(&life, now, Draw::new(share));
            prop_assert!(wait >= floor(renewal) && wait <= LONGEST_LIFETIME);
        }
    }
}
