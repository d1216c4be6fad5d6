//! What a source's failures mean to those who are derived from it.

use super::*;
use crate::support::news::tell;
use credd::clock::SystemClock;

/// What a failure tells clients.
fn told(failure: &Failure) -> (&'static str, &str, &str) {
    (failure.class.as_str(), failure.code, &failure.advice)
}

#[test]
fn a_failing_source_fails_its_derived_identities_alike_at_once_and_without_a_call() {
    for (status, code, message) in [
        (403, "AccessDenied", "no"),
        (400, "Throttling", "Rate exceeded"),
        (400, "ValidationError", "no"),
        (500, "InternalFailure", "no"),
    ] {
        run(async move || {
            let ground = Ground::new().await;
            let keys = ground.keys();
            refuse(&ground.aws, Call::GetSessionToken, status, code, message);
            let house = ground.open(&[
                ("billing", role(named("deploy"), BILLING)),
                ("deploy", role(named("session"), DEPLOY)),
                ("session", session(named("ops"))),
                ("ops", keys),
            ]);
            house.warm().await;
            let source = house.failure("session").unwrap();
            for name in ["deploy", "billing"] {
                let failure = house.failure(name).unwrap();
                assert_eq!(told(&failure), told(&source), "{failure}");
                assert!(failure.message.contains("session"), "{failure}");
                assert!(failure.message.contains(code), "{failure}");
            }
            let (calls, clock) = (house.aws.calls(), SystemClock::new());
            let before = clock.boot();
            let reader = house.reader("billing");
            for _ in 0..100 {
                reader.forget();
                reader.until(|snapshot| snapshot.attempts == 0).await;
                reader.demand();
                reader.until(|snapshot| snapshot.attempts > 0).await;
            }
            let each = before.until(clock.boot()) / 100;
            tell(&format!(
                "{code} of a source passed on in {} µs",
                each.as_micros()
            ));
            assert!(each < Duration::from_millis(5));
            assert_eq!(house.aws.count(Call::AssumeRole), 0);
            assert_eq!(house.aws.calls(), calls);
        });
    }
}

#[test]
fn derived_identities_recover_in_the_moment_in_which_their_source_does() {
    for (status, code) in [
        (403, "AccessDenied"),
        (400, "Throttling"),
        (400, "ValidationError"),
        (500, "InternalFailure"),
    ] {
        run(async move || {
            let ground = Ground::new().await;
            let keys = ground.keys();
            refuse(&ground.aws, Call::GetSessionToken, status, code, "");
            let house = ground.open(&[
                ("billing", role(named("deploy"), BILLING)),
                ("deploy", role(named("session"), DEPLOY)),
                ("session", session(named("ops"))),
                ("ops", keys),
            ]);
            house.warm().await;
            house.pass(10 * MINUTE, SECOND, |_| ()).await;
            house.aws.be_honest();
            let mut recovered = 0;
            house
                .pass(3 * MINUTE, SECOND, |house| {
                    if house.failure("session").is_none() {
                        recovered += 1;
                        for name in ["deploy", "billing"] {
                            assert_eq!(house.state(name), State::Fresh, "{name} after {code}");
                        }
                    }
                })
                .await;
            assert!(recovered > 10, "{code}: {recovered}");
            assert_eq!(house.aws.count(Call::AssumeRole), 2);
        });
    }
}

#[test]
fn a_refresh_that_is_ordered_asks_failing_sources_anew_down_to_the_last() {
    run(async || {
        let ground = Ground::new().await;
        let keys = ground.keys();
        std::fs::remove_file(ground.folder.path().join("ops-secret")).unwrap();
        let house = ground.open(&[(
            "billing",
            role(
                unnamed(role(unnamed(session(unnamed(keys))), DEPLOY)),
                BILLING,
            ),
        )]);
        house.warm().await;
        house.pass(30 * MINUTE, 10 * SECOND, |_| ()).await;
        let failure = house.failure("billing").unwrap();
        assert!(failure.message.contains("ops-secret"), "{failure}");
        house.write("ops-secret", OPS_SECRET);
        house.refresh("billing").await;
        assert_eq!(house.failure("billing"), None);
        assert!(house.key("billing").is_some());
        // A source that does not fail is left alone.
        house.refresh("billing").await;
        assert_eq!(house.calls_for(DEPLOY).len(), 1);
    });
}

#[test]
fn nobody_waits_for_a_refresh_that_is_over() {
    run(async || {
        let ground = Ground::new().await;
        let keys = ground.keys();
        std::fs::remove_file(ground.folder.path().join("ops-secret")).unwrap();
        let house = ground.open(&[("deploy", role(named("ops"), DEPLOY)), ("ops", keys)]);
        house.warm().await;
        let attempts = house.snapshot("ops").attempts;
        house.refresh("deploy").await;
        // As many attempts as there had been when the refresh was ordered.
        let before = house.snapshot("deploy").attempts;
        house.reader("ops").forget();
        house.quiet().await;
        assert_eq!(house.snapshot("ops").attempts, attempts);
        assert!(house.snapshot("deploy").attempts > before);
    });
}

#[test]
fn a_source_that_is_wanting_is_told_by_name() {
    run(async || {
        let house = Ground::new()
            .await
            .open(&[("deploy", role(named("ops"), DEPLOY))]);
        house.warm().await;
        let failure = house.failure("deploy").unwrap();
        assert_eq!(told(&failure).0, "misconfigured");
        assert!(failure.message.contains("its source, ops"), "{failure}");
    });
}

#[test]
fn keys_that_are_replaced_count_from_the_next_look_at_them() {
    run(async || {
        let ground = Ground::new().await;
        let keys = ground.keys();
        let house = ground.open(&[("deploy", role(named("ops"), DEPLOY)), ("ops", keys)]);
        house.warm().await;
        // The same key id with another secret.
        house.aws.deactivate(OPS_KEY);
        house.aws.user(OPS_KEY, "CANARY-new", OPS);
        house.write("ops-secret", "CANARY-new");
        house
            .pass(HOUR, SECOND, |house| assert!(house.key("deploy").is_some()))
            .await;
        assert_eq!(house.failure("deploy"), None);
        assert!(!house.journal.text().contains(CANARY));
        assert!(!house.journal.text().contains(OPS_KEY));
    });
}

#[test]
fn a_forgotten_source_is_fetched_anew_by_the_next_who_needs_it() {
    run(async || {
        let ground = Ground::new().await;
        let keys = ground.keys();
        let house = ground.open(&[
            ("deploy", role(named("session"), DEPLOY)),
            ("session", session(named("ops"))),
            ("ops", keys),
        ]);
        house.warm().await;
        let before = house.key("session");
        house.reader("session").forget();
        house.quiet().await;
        assert_eq!(house.body("session"), None);
        house.pass(5 * MINUTE, MINUTE, |_| ()).await;
        assert_eq!(house.aws.count(Call::GetSessionToken), 1);
        assert!(house.key("deploy").is_some());
        house.refresh("deploy").await;
        assert_eq!(house.aws.count(Call::GetSessionToken), 2);
        assert_ne!(house.key("session"), before);
        assert_eq!(house.failure("deploy"), None);
    });
}

#[test]
fn what_was_forgotten_stays_so_until_somebody_asks() {
    run(async || {
        let ground = Ground::new().await;
        let keys = ground.keys();
        refuse(&ground.aws, Call::GetSessionToken, 403, "AccessDenied", "");
        let house = ground.open(&[
            ("deploy", role(named("session"), DEPLOY)),
            ("session", session(named("ops"))),
            ("ops", keys),
        ]);
        house.warm().await;
        house.reader("deploy").forget();
        house.quiet().await;
        assert_eq!(house.state("deploy"), State::Warming);
        house.aws.be_honest();
        house.pass(10 * MINUTE, SECOND, |_| ()).await;
        assert_eq!(house.state("session"), State::Fresh);
        assert_eq!(house.state("deploy"), State::Warming);
        house.reader("deploy").demand();
        house.quiet().await;
        assert_eq!(house.state("deploy"), State::Fresh);
    });
}
