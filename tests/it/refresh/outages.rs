//! Upstream is gone, slow or unwilling, and clients notice nothing for as long as they can.

use super::*;
use crate::support::fake_aws::Reply;
use crate::support::patience::run;

#[test]
fn an_upstream_that_is_down_for_an_hour_fails_no_request_and_is_asked_little() {
    for call in [Call::Container, Call::Role] {
        // While the set is young, and in the last quarter of its life.
        for begin in [10 * MINUTE, 270 * MINUTE] {
            run(async move || {
                let bench = Bench::warm(call, 1).await;
                bench.pass(begin, HOUR, |_| ()).await;
                bench.aws.go_down();
                let calls = bench.aws.calls();
                let good = bench.body();
                let (mut answers, mut failed) = (0, 0);
                bench
                    .pass(HOUR, SECOND, |bench| {
                        answers += 1;
                        failed += u32::from(bench.body() != good);
                    })
                    .await;
                let calls = bench.aws.calls() - calls;
                tell(&format!(
                    "{call:?} down for an hour from minute {}: {failed} of {answers} answers \
                     failed, {calls} upstream calls",
                    begin.as_secs() / 60,
                ));
                assert_eq!(failed, 0);
                assert!(answers >= 3600);
                assert!(calls <= 100);

                bench.aws.be_honest();
                bench.pass(2 * MINUTE, MINUTE, |_| ()).await;
                assert_eq!(bench.failures(), 0);
            });
        }
    }
}

#[test]
fn a_container_set_is_served_to_its_last_second_and_not_beyond() {
    run(async || {
        let bench = Bench::container().await;
        bench.aws.go_down();
        let end = bench.aws.set().expiry;
        let look = |bench: &Bench| {
            let is_served = bench.body().is_some();
            assert_eq!(is_served, bench.clock.now() < end, "{}", bench.clock.now());
        };
        bench.pass(358 * MINUTE, MINUTE, look).await;
        bench.pass(3 * MINUTE, SECOND, look).await;
        assert_eq!(bench.state(), State::Expired);
        assert!(matches!(
            bench.snapshot().answer(bench.clock.now()),
            Answer::Unavailable(failure) if failure.code == "RequestTimeout"
        ));
    });
}

#[test]
fn an_instance_set_is_stretched_only_after_its_end_and_by_17_to_25_minutes() {
    run(async || {
        let bench = Bench::imds().await;
        let end = bench.aws.set().expiry;
        bench.aws.go_down();
        bench
            .pass(8 * HOUR, 10 * SECOND, |bench| {
                let now = bench.clock.now();
                let advertised = bench.advertised().unwrap();
                if now < end {
                    assert_eq!(advertised, now.until(end));
                } else {
                    assert!(advertised >= 15 * MINUTE && advertised <= 25 * MINUTE);
                    assert_eq!(bench.state(), State::Stale);
                }
            })
            .await;
    });
}

#[test]
fn an_instance_set_that_is_given_out_past_its_end_is_stretched_at_each_reading() {
    run(async || {
        let bench = Bench::imds().await;
        let end = bench.aws.set().expiry;
        bench
            .pass(8 * HOUR, MINUTE, |bench| {
                if bench.clock.now() >= end {
                    assert_eq!(bench.state(), State::Stale);
                    assert!(bench.advertised().unwrap() >= 15 * MINUTE);
                    assert!(bench.wait() <= MINUTE);
                }
            })
            .await;
        let new = bench.aws.rotate(6 * HOUR);
        bench.next_attempt().await;
        assert_eq!(
            (bench.key(), bench.state()),
            (Some(new.key()), State::Fresh)
        );
    });
}

#[test]
fn hosts_stretch_the_same_set_by_different_times() {
    run(async || {
        let mut stretches = Vec::new();
        for seed in 0..20 {
            let bench = Bench::cold(Call::Role, seed).await;
            bench.aws.always(Call::Role, |honest| {
                honest.with_field("Expiration", "2026-11-22T08:00:00Z")
            });
            bench.attempts(1).await;
            assert_eq!(bench.state(), State::Stale);
            let stretch = bench.advertised().unwrap();
            assert!(stretch + SECOND >= 17 * MINUTE && stretch <= 25 * MINUTE);
            stretches.push(stretch);
        }
        stretches.sort();
        stretches.dedup();
        assert!(stretches.len() >= 18, "{stretches:?}");
    });
}

#[test]
fn an_answer_that_stalls_while_the_set_ends_leaves_no_gap() {
    run(async || {
        let bench = Bench::imds().await;
        let end = bench.aws.set().expiry;
        bench.pass(358 * MINUTE, MINUTE, |_| ()).await;
        // The last reading before the end hangs until after it.
        while bench.clock.now().plus(bench.wait()) < end.minus(SECOND) {
            bench.next_attempt().await;
        }
        bench.aws.always(Call::Role, Reply::pausing_at_once);
        bench
            .clock
            .advance(bench.clock.now().until(end.minus(SECOND / 2)));
        settle().await;
        bench.clock.advance_to(bench.due());
        until(|| bench.aws.pauses() == 1).await;
        bench
            .clock
            .advance(bench.clock.now().until(end.plus(SECOND / 4)));
        settle().await;
        assert!(bench.body().is_some());
        assert_eq!(bench.state(), State::Stale);
    });
}

#[test]
fn hints_of_when_to_come_back_are_honoured_within_reason() {
    type Hint = (fn(Reply) -> Reply, Duration);
    let hints: [Hint; 5] = [
        (|_| Reply::status(429).with("Retry-After", "7"), 7 * SECOND),
        (
            |_| Reply::status(503).with("Retry-After", "45"),
            45 * SECOND,
        ),
        (
            |_| Reply::status(429).with("x-amz-retry-after", "90000"),
            90 * SECOND,
        ),
        (
            |_| Reply::status(429).with("Retry-After", "86400"),
            15 * MINUTE,
        ),
        (
            |_| Reply::status(429).with("Retry-After", "18446744073709551615"),
            15 * MINUTE,
        ),
    ];
    for call in [Call::Container, Call::Role] {
        run(async move || {
            for (lie, least) in hints {
                let bench = Bench::warm(call, 1).await;
                bench.pass(100 * MINUTE, MINUTE, |_| ()).await;
                bench.aws.always(call, lie);
                bench.next_attempt().await;
                assert!(bench.wait() >= least, "{:?}", bench.wait());
                assert!(
                    bench.wait() <= least + least / 10 + MINUTE,
                    "{:?}",
                    bench.wait()
                );
            }
        });
    }
}

#[test]
fn a_long_hint_costs_no_set_that_is_still_good() {
    run(async || {
        let bench = Bench::warm(Call::Container, 1).await;
        bench.pass(350 * MINUTE, MINUTE, |_| ()).await;
        bench.aws.always(Call::Container, |_| {
            Reply::status(429).with("Retry-After", "86400")
        });
        bench.next_attempt().await;
        // A quarter of the ten minutes that remain.
        assert!(bench.wait() <= 150 * SECOND, "{:?}", bench.wait());
        bench.aws.be_honest();
        bench.aws.rotate(6 * HOUR);
        bench.next_attempt().await;
        assert_eq!(bench.state(), State::Fresh);
    });
}

#[test]
fn throttling_without_a_hint_slows_the_calls_down() {
    run(async || {
        let bench = Bench::cold(Call::Container, 1).await;
        bench.aws.always(Call::Container, |_| Reply::status(429));
        bench.attempts(1).await;
        bench.pass(10 * MINUTE, HOUR, |_| ()).await;
        // Ceilings of 1, 2, 4 … 120 s, half of them on average.
        assert!(bench.aws.calls() <= 30, "{}", bench.aws.calls());
        assert!(bench.aws.calls() >= 8, "{}", bench.aws.calls());
    });
}

#[test]
fn what_is_wrong_on_this_host_is_asked_again_ever_more_slowly() {
    for status in [400, 404] {
        run(async move || {
            let bench = Bench::cold(Call::Container, 1).await;
            bench
                .aws
                .always(Call::Container, move |_| Reply::status(status));
            bench.attempts(1).await;
            bench.pass(10 * MINUTE, HOUR, |_| ()).await;
            assert!(bench.aws.calls() <= 30, "{}", bench.aws.calls());
            assert!(bench.wait() <= 2 * MINUTE);
        });
    }
}

#[test]
fn what_aws_denies_is_asked_again_within_two_minutes_and_no_more_often() {
    for status in [401, 403] {
        run(async move || {
            let bench = Bench::cold(Call::Container, 1).await;
            bench
                .aws
                .always(Call::Container, move |_| Reply::status(status));
            bench.attempts(1).await;
            for _ in 0..20 {
                assert!(bench.wait() >= MINUTE && bench.wait() <= 2 * MINUTE);
                bench.next_attempt().await;
            }
            bench.aws.be_honest();
            bench.next_attempt().await;
            assert_eq!(bench.state(), State::Fresh);
        });
    }
}

#[test]
fn requests_for_a_failing_identity_cause_no_calls_and_are_answered_at_once() {
    run(async || {
        let bench = Bench::cold(Call::Container, 1).await;
        bench.aws.always(Call::Container, |_| Reply::status(403));
        bench.attempts(1).await;
        for _ in 0..10_000 {
            bench.reader.demand();
            let snapshot = bench.snapshot();
            assert!(matches!(
                snapshot.answer(bench.clock.now()),
                Answer::Unavailable(failure) if failure.code == "AccessDenied"
            ));
        }
        settle().await;
        assert_eq!(bench.aws.calls(), 1);
    });
}

#[test]
fn an_instance_set_past_its_end_is_served_in_an_outage_and_not_when_there_is_no_role() {
    run(async || {
        let bench = Bench::imds().await;
        bench.aws.always(Call::Role, |_| Reply::status(503));
        bench.pass(7 * HOUR, MINUTE, |_| ()).await;
        assert_eq!(bench.state(), State::Stale);
        bench.aws.be_honest();
        bench.aws.attach(None);
        bench.pass(2 * MINUTE, MINUTE, |_| ()).await;
        assert_eq!(bench.state(), State::Expired);
        assert_eq!(bench.body(), None);
        bench.aws.attach(Some("app"));
        let new = bench.aws.rotate(6 * HOUR);
        bench.pass(2 * MINUTE, MINUTE, |_| ()).await;
        assert_eq!(bench.key(), Some(new.key()));
    });
}
