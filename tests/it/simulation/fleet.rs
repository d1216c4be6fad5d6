//! A fleet whose token service is gone for half an hour.

use std::time::Duration;

use credd::clock::Timestamp;
use credd::credentials::{Failure, Renewal};
use credd::random::Draws;
use credd::refresh::{Life, after_failure, after_success, start_spread};

use crate::support::chance::Chance;
use crate::support::news::tell;

const DAEMONS: u64 = 1_000;
const HOUR: Duration = Duration::from_hours(1);
const OUTAGE: Duration = Duration::from_mins(30);

#[test]
fn a_fleet_rides_out_half_an_hour_without_a_second_without_credentials() {
    let mut calls = vec![0u32; 6 * 3600];
    let mut without = Duration::ZERO;
    // The outage begins in each phase of the fleet's life.
    for phase in 0..12u32 {
        let begin = 2 * HOUR + phase * Duration::from_mins(5);
        let mut counted = vec![0u32; 6 * 3600];
        for seed in 0..DAEMONS {
            without += lived(Chance::new(seed), begin, &mut counted);
        }
        for (most, count) in calls.iter_mut().zip(counted) {
            *most = (*most).max(count);
        }
    }
    // Without the first minute, in which the whole fleet starts.
    let peak = calls[60..].iter().max().unwrap();
    tell(&format!(
        "{DAEMONS} daemons, 30 minutes without STS in 12 phases: {} s without credentials, at \
         most {peak} calls in a second after the start",
        without.as_secs()
    ));
    assert_eq!(without, Duration::ZERO);
    // A tenth of the quota of 600 a second, for a tenth of the daemons it should carry.
    assert!(*peak <= 60, "{peak}");
}

/// One daemon for six hours. Says how long it was without credentials.
fn lived(mut chance: Chance, outage: Duration, calls: &mut [u32]) -> Duration {
    let at = |instant: Duration| Timestamp::from_unix_millis(1_800_000_000_000).plus(instant);
    let second = |instant: Duration| usize::try_from(instant.as_secs()).unwrap();
    let mut without = Duration::ZERO;
    let mut life: Option<(Life, Duration)> = None;
    let mut failures = 0;
    // Deployed within ten seconds.
    let mut now = Duration::from_millis(chance.between(0, 10_000));
    now += start_spread(chance.draw());
    while second(now) < calls.len() {
        calls[second(now)] += 1;
        let is_out = (outage..outage + OUTAGE).contains(&now);
        let wait = if is_out {
            failures += 1;
            let failure = Failure::transient("no answer");
            let life = life.as_ref().map(|(life, _)| life);
            after_failure(&failure, failures, life, at(now), chance.draw()).unwrap()
        } else {
            failures = 0;
            let obtained = at(now);
            let expiry = now + HOUR;
            if let Some((_, ended)) = life {
                without += now.saturating_sub(ended);
            }
            let new = Life {
                renewal: Renewal::Mint,
                issued: Some(obtained),
                obtained,
                expiry: Some(at(expiry)),
            };
            life = Some((new, expiry));
            after_success(&new, obtained, chance.draw())
        };
        now += wait;
    }
    // Nobody may have been left behind by the end.
    let (_, ended) = life.unwrap();
    without + now.min(6 * HOUR).saturating_sub(ended)
}
