//! Hosts whose clock is not AWS's.

use super::*;
use crate::support::authority::Authority;

const NO_CORRECTION: &str = "AWS_DISABLE_CLOCK_SKEW_CORRECTION";

/// `ops` → `deploy`, by an STS behind TLS that is trusted.
async fn behind_tls(skew_millis: i64, variables: &[(&str, &str)]) -> House {
    let authority = Authority::new();
    let mut ground = Ground::with_tls(authority.vouch("127.0.0.1", |_| ())).await;
    ground.roots = authority.roots(ground.folder.path());
    ground.aws.skew(skew_millis);
    for (name, value) in variables {
        ground = ground.set(name, *value);
    }
    let keys = ground.keys();
    let house = ground.open(&[("deploy", role(named("ops"), DEPLOY)), ("ops", keys)]);
    house.warm().await;
    house
}

#[test]
fn a_clock_that_is_off_is_corrected_by_one_more_call() {
    for skew in [HOUR_MILLIS, -HOUR_MILLIS / 2] {
        run(async move || {
            let house = behind_tls(skew, &[]).await;
            assert_eq!(house.failure("deploy"), None);
            assert!(house.key("deploy").is_some());
            assert_eq!(house.aws.count(Call::AssumeRole), 2);
            assert_eq!(house.aws.sessions().len(), 1);
            // Once known, it costs nothing any more, and is told once.
            for _ in 0..5 {
                house.refresh("deploy").await;
            }
            assert_eq!(house.failure("deploy"), None);
            assert_eq!(house.aws.count(Call::AssumeRole), 7);
            assert_eq!(house.journal.lines("clock is off").len(), 1);
        });
    }
}

#[test]
fn a_clock_that_is_set_right_is_followed_by_one_more_call() {
    run(async || {
        let house = behind_tls(HOUR_MILLIS, &[]).await;
        house.clock.step_forward(HOUR);
        house.aws.skew(0);
        house.quiet().await;
        let calls = house.aws.count(Call::AssumeRole);
        house.refresh("deploy").await;
        assert_eq!(house.failure("deploy"), None);
        assert_eq!(house.aws.count(Call::AssumeRole), calls + 2);
        house.refresh("deploy").await;
        assert_eq!(house.aws.count(Call::AssumeRole), calls + 3);
    });
}

#[test]
fn a_short_session_is_renewed_in_time_by_a_clock_that_is_an_hour_behind() {
    run(async || {
        let authority = Authority::new();
        let mut ground = Ground::with_tls(authority.vouch("127.0.0.1", |_| ())).await;
        ground.roots = authority.roots(ground.folder.path());
        ground.aws.skew(HOUR_MILLIS);
        let shortest = Link::SessionToken(session_token::Config {
            from: unnamed(ground.keys()),
            mfa: None,
            lifetime: Some(15 * MINUTE),
            settings: Settings::default(),
        });
        let house = ground.open(&[("short", shortest)]);
        house.warm().await;
        assert_eq!(house.failure("short"), None);
        let due = house.snapshot("short").due.unwrap();
        let wait = house.clock.boot().until(due);
        assert!(wait < 7 * MINUTE, "{wait:?}");
    });
}

#[test]
fn a_role_survives_a_clock_that_is_set_either_way() {
    for is_forward in [false, true] {
        run(async move || {
            let house = behind_tls(0, &[]).await;
            if is_forward {
                house.clock.step_forward(3 * HOUR);
                house.aws.skew(-3 * HOUR_MILLIS);
            } else {
                house.clock.step_back(3 * HOUR);
                house.aws.skew(3 * HOUR_MILLIS);
            }
            house.pass(10 * MINUTE, SECOND, |_| ()).await;
            // By a clock that is hours ahead each session of an hour has ended when it comes.
            let failure = house.failure("deploy");
            assert_eq!(failure.is_some(), is_forward, "{failure:?}");
            assert_eq!(house.key("deploy").is_none(), is_forward);
            let calls = house.aws.calls();
            assert!(calls < 60, "{calls}");
            if is_forward {
                assert!(failure.unwrap().message.contains("clock"));
                house.clock.step_back(3 * HOUR);
                house.aws.skew(0);
                house.pass(2 * MINUTE, SECOND, |_| ()).await;
                assert!(house.key("deploy").is_some());
            }
        });
    }
}

#[test]
fn who_turns_the_correction_off_is_told_of_the_clock() {
    run(async || {
        let house = behind_tls(HOUR_MILLIS, &[(NO_CORRECTION, "true")]).await;
        let failure = house.failure("deploy").unwrap();
        assert_eq!(failure.class.as_str(), "transient");
        assert!(
            failure.message.contains("set this host's clock"),
            "{failure}"
        );
        assert_eq!(house.aws.count(Call::AssumeRole), 1);
    });
}

#[test]
fn nobody_is_believed_about_the_time_without_tls() {
    run(async || {
        let ground = Ground::new().await;
        ground.aws.skew(HOUR_MILLIS);
        let keys = ground.keys();
        let house = ground.open(&[("deploy", role(named("ops"), DEPLOY)), ("ops", keys)]);
        house.warm().await;
        house.pass(10 * MINUTE, SECOND, |_| ()).await;
        let failure = house.failure("deploy").unwrap();
        assert!(
            failure.message.contains("set this host's clock"),
            "{failure}"
        );
        assert_eq!(house.aws.sessions().len(), 0);
        assert_eq!(house.journal.lines("clock is off").len(), 0);
        assert!(house.aws.calls() < 60, "{}", house.aws.calls());
    });
}

const HOUR_MILLIS: i64 = 3_600_000;
