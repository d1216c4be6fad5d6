//! Clocks that are set and hosts that sleep.

use super::*;
use crate::support::fake_aws::Reply;
use crate::support::patience::run;

#[test]
fn a_container_set_that_ends_in_a_suspend_is_never_served_after_it() {
    run(async || {
        let bench = Bench::container().await;
        let new = bench.aws.rotate(24 * HOUR);
        bench.aws.always(Call::Container, Reply::pausing_at_once);
        bench.clock.suspend(7 * HOUR);
        assert_eq!(bench.body(), None);
        // The refresh is under way without any more time.
        until(|| bench.aws.pauses() == 1).await;
        assert_eq!(bench.body(), None);
        bench.aws.resume();
        bench.attempts(2).await;
        assert_eq!(bench.key(), Some(new.key()));
    });
}

#[test]
fn a_suspend_within_the_last_quarter_is_followed_by_a_reading_at_once() {
    run(async || {
        let bench = Bench::imds().await;
        bench.pass(5 * HOUR, HOUR, |_| ()).await;
        let new = bench.aws.rotate(6 * HOUR);
        let attempts = bench.snapshot().attempts;
        bench.clock.suspend(30 * MINUTE);
        bench.attempts(attempts + 1).await;
        assert_eq!(bench.key(), Some(new.key()));
    });
}

#[test]
fn a_suspend_in_the_middle_of_a_call_does_not_end_the_call() {
    run(async || {
        let bench = Bench::container().await;
        bench
            .aws
            .always(Call::Container, Reply::pausing_in_the_body);
        bench.clock.advance_to(bench.due());
        until(|| bench.aws.pauses() == 1).await;
        bench.clock.suspend(HOUR);
        settle().await;
        bench.aws.resume();
        bench.attempts(2).await;
        assert_eq!(bench.failures(), 0);
    });
}

#[test]
fn a_clock_set_forward_beyond_the_end_stops_the_serving_and_starts_a_refresh_at_once() {
    run(async || {
        let bench = Bench::container().await;
        bench.clock.advance(SECOND);
        bench.clock.step_forward(7 * HOUR);
        assert_eq!(bench.body(), None);
        let new = bench.aws.rotate(6 * HOUR);
        bench.attempts(2).await;
        assert_eq!(bench.key(), Some(new.key()));
    });
}

#[test]
fn a_clock_that_keeps_being_set_forward_does_not_make_a_refresher_spin() {
    run(async || {
        let bench = Bench::imds().await;
        // Each step makes the set look due.
        bench.clock.step_forward(5 * HOUR);
        for _ in 0..100 {
            bench.clock.step_forward(MINUTE / 2);
            bench.clock.advance(SECOND / 100);
            settle().await;
        }
        assert!(
            bench.snapshot().attempts <= 4,
            "{:?}",
            bench.snapshot().attempts
        );
    });
}

#[test]
fn a_clock_set_forward_into_the_last_quarter_brings_the_next_reading_near() {
    run(async || {
        let bench = Bench::imds().await;
        let attempts = bench.snapshot().attempts;
        bench.clock.step_forward(5 * HOUR);
        settle().await;
        bench.clock.advance(MINUTE);
        bench.attempts(attempts + 1).await;
    });
}

#[test]
fn a_clock_set_back_puts_nothing_off() {
    for call in [Call::Container, Call::Role] {
        run(async move || {
            let bench = Bench::warm(call, 1).await;
            let (good, due) = (bench.body(), bench.due());
            bench.clock.step_back(10 * 365 * 24 * HOUR);
            settle().await;
            assert_eq!(bench.body(), good);
            let new = bench.aws.rotate(6 * HOUR);
            bench.clock.advance_to(due);
            bench.attempts(2).await;
            assert_eq!(bench.key(), Some(new.key()));
        });
    }
}

#[test]
fn a_clock_set_back_after_the_end_makes_an_instance_set_tell_its_true_end_again() {
    run(async || {
        let bench = Bench::imds().await;
        let end = bench.aws.set().expiry;
        bench.aws.go_down();
        bench.clock.step_forward(7 * HOUR);
        until(|| bench.body().is_some()).await;
        assert_eq!(bench.state(), State::Stale);
        bench.clock.step_back(7 * HOUR);
        settle().await;
        assert_eq!(
            bench.body().unwrap()["Expiration"],
            end.to_string().as_str()
        );
        assert_eq!(bench.state(), State::Fresh);
    });
}

#[test]
fn a_clock_set_back_within_a_stretch_does_not_lengthen_it() {
    run(async || {
        let bench = Bench::imds().await;
        bench.aws.go_down();
        bench.pass(7 * HOUR, MINUTE, |_| ()).await;
        assert_eq!(bench.state(), State::Stale);
        bench.clock.step_back(30 * MINUTE);
        settle().await;
        assert_eq!(bench.state(), State::Stale);
        let advertised = bench.advertised().unwrap();
        assert!(advertised <= 25 * MINUTE, "{advertised:?}");
    });
}

#[test]
fn a_clock_set_forward_beyond_the_end_leaves_no_gap_while_the_refresh_stalls() {
    run(async || {
        let bench = Bench::imds().await;
        bench.clock.advance(SECOND);
        bench.aws.always(Call::Role, Reply::pausing_at_once);
        bench.clock.step_forward(7 * HOUR);
        until(|| bench.aws.pauses() == 1).await;
        assert_eq!(bench.state(), State::Stale);
        assert!(bench.body().is_some());
    });
}

#[test]
fn a_clock_set_forward_while_an_answer_stalls_leaves_no_gap() {
    run(async || {
        let bench = Bench::imds().await;
        bench.aws.always(Call::Role, Reply::pausing_at_once);
        bench.clock.advance_to(bench.due());
        until(|| bench.aws.pauses() == 1).await;
        bench.clock.step_forward(7 * HOUR);
        settle().await;
        assert_eq!(bench.state(), State::Stale);
        assert!(bench.body().is_some());
    });
}
