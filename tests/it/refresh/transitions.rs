//! Each change of state is logged, once.

use super::*;
use crate::support::fake_aws::{CANARY, Reply};
use crate::support::patience::run;

#[test]
fn a_container_identity_logs_each_of_its_states_once() {
    run(async || {
        let bench = Bench::container().await;
        bench.aws.go_down();
        bench.pass(7 * HOUR, MINUTE, |_| ()).await;
        settle().await;
        assert_eq!(bench.journal.states(), ["fresh", "late", "expired"]);
        bench.aws.be_honest();
        bench.aws.rotate(6 * HOUR);
        bench.next_attempt().await;
        bench.pass(2 * HOUR, MINUTE, |_| ()).await;
        assert_eq!(
            bench.journal.states(),
            ["fresh", "late", "expired", "fresh"]
        );
        assert_eq!(bench.journal.lines("refresh works again").len(), 1);
        assert_eq!(
            bench.journal.lines("WARN").len(),
            2,
            "{}",
            bench.journal.text()
        );
        assert!(!bench.journal.text().contains(CANARY));
    });
}

#[test]
fn an_instance_identity_logs_each_of_its_states_once() {
    run(async || {
        let bench = Bench::imds().await;
        bench.aws.go_down();
        bench.pass(10 * HOUR, MINUTE, |_| ()).await;
        settle().await;
        assert_eq!(bench.journal.states(), ["fresh", "late", "stale"]);
        bench.aws.be_honest();
        bench.aws.rotate(6 * HOUR);
        bench.next_attempt().await;
        assert_eq!(bench.journal.states(), ["fresh", "late", "stale", "fresh"]);
        assert!(!bench.journal.text().contains(CANARY));
    });
}

#[test]
fn an_identity_that_never_had_anything_logs_that_once() {
    run(async || {
        let bench = Bench::cold(Call::Container, 1).await;
        bench.aws.always(Call::Container, |_| Reply::status(403));
        bench.attempts(1).await;
        bench.pass(HOUR, MINUTE, |_| ()).await;
        assert_eq!(bench.journal.states(), ["failed"]);
        assert_eq!(bench.journal.lines("WARN").len(), 1);
        // Another kind of failure is news.
        bench.aws.always(Call::Container, |_| Reply::status(500));
        bench.pass(HOUR, MINUTE, |_| ()).await;
        assert_eq!(bench.journal.lines("WARN").len(), 2);
        assert_eq!(bench.journal.states(), ["failed"]);
    });
}

#[test]
fn changes_come_when_their_time_comes_and_not_with_the_next_attempt() {
    run(async || {
        let bench = Bench::container().await;
        // A hint keeps the refresher away for a quarter of what remains, and for a minute at least.
        bench.pass(340 * MINUTE, MINUTE, |_| ()).await;
        bench.aws.always(Call::Container, |_| {
            Reply::status(429).with("Retry-After", "100000")
        });
        let end = bench.aws.set().expiry;
        bench.next_attempt().await;
        let attempts = bench.snapshot().attempts;
        bench.wind_to(end.minus(16 * MINUTE).plus(SECOND)).await;
        assert_eq!(bench.journal.states(), ["fresh", "late"]);
        assert_eq!(bench.snapshot().attempts, attempts);
        while bench.clock.now().until(end) >= MINUTE {
            bench.next_attempt().await;
        }
        let attempts = bench.snapshot().attempts;
        bench.wind_to(end).await;
        assert_eq!(bench.journal.states(), ["fresh", "late", "expired"]);
        assert_eq!(bench.snapshot().attempts, attempts);
    });
}
