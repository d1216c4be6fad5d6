//! A person is asked, answers, or does not.

use super::*;
use crate::support::fake_aws::Reply;
use crate::support::patience::run;

#[test]
fn one_code_makes_one_session_that_feeds_two_roles() {
    run(async || {
        let mut bench = Bench::usual().await;
        for identity in ["ops-mfa", "deploy", "billing"] {
            let failure = bench.failure(identity);
            assert_eq!(failure.code, "MfaRequired");
            assert!(failure.advice.contains("`credd mfa ops-mfa`"), "{failure}");
        }
        assert_eq!(bench.aws.calls(), 0);
        assert_eq!(bench.announced(), [Kind::Asked]);

        bench.codes(&["837261"]);
        let accepted = bench.answer(None, "837 261").await.unwrap();
        assert_eq!(accepted.until, bench.clock.now().plus(12 * HOUR));
        bench.served("deploy").await;
        bench.served("billing").await;
        let session = bench.served("ops-mfa").await;
        assert_eq!(bench.sessions(), 1);
        assert_eq!(bench.aws.count(Call::AssumeRole), 2);
        assert!(bench.aws.sessions()[0].has_mfa);
        let seen = bench.aws.seen();
        let roles = seen.iter().filter(|seen| seen.call == Call::AssumeRole);
        for role in roles {
            assert_eq!(role.signing_key().as_deref(), Some(session.as_str()));
            assert_eq!(role.parameter("TokenCode"), None);
        }
        assert_eq!(bench.announced(), [Kind::Answered]);
        let log = bench.journal.text();
        assert!(!log.contains("837261") && !log.contains("CANARY"), "{log}");
    });
}

#[test]
fn a_person_is_warned_twice_and_the_session_is_served_to_its_end() {
    run(async || {
        let mut bench = Bench::answered().await;
        let (ends, key) = (bench.ends(), bench.key("ops-mfa"));
        for (left, kinds) in [
            (61, vec![]),
            (60, vec![Kind::Warned(Warning::First)]),
            (11, vec![]),
            (10, vec![Kind::Warned(Warning::Last)]),
            (1, vec![]),
        ] {
            bench.wind_until(left * MINUTE, ends).await;
            assert_eq!(bench.announced(), kinds, "{left} minutes before the end");
            assert_eq!(bench.key("ops-mfa"), key);
            assert!(bench.key("deploy").is_some());
        }
        assert_eq!(bench.sessions(), 1);
        bench.wind_until(Duration::ZERO, ends).await;
        assert_eq!(bench.announced(), [Kind::Lapsed]);
        assert_eq!(bench.failure("ops-mfa").code, "MfaRequired");
        // A role's session lives on by itself, for an hour at most.
        assert!(bench.key("deploy").is_some());
        let calls = bench.aws.calls();
        bench.wind_until(Duration::ZERO, ends.plus(HOUR)).await;
        let failure = bench.failure("deploy");
        assert_eq!(failure.code, "MfaRequired");
        assert!(failure.advice.contains("`credd mfa ops-mfa`"), "{failure}");
        bench.wind_until(Duration::ZERO, ends.plus(24 * HOUR)).await;
        assert_eq!(bench.aws.calls(), calls);
        assert_eq!(bench.announced(), []);

        bench.codes(&["111111"]);
        bench.answer(Some("ops-mfa"), "111111").await.unwrap();
        bench.served("deploy").await;
        assert_eq!(bench.announced(), [Kind::Answered]);
    });
}

#[test]
fn a_session_is_renewed_ahead_of_its_end_asked_for_or_not() {
    run(async || {
        let mut bench = Bench::answered().await;
        let first = bench.key("ops-mfa");
        bench.codes(&["111111", "222222"]);
        bench.wind_until(5 * HOUR, bench.ends()).await;
        let accepted = bench.answer(None, "111111").await.unwrap();
        let second = bench.served("ops-mfa").await;
        assert_ne!(Some(second), first);
        assert_eq!(accepted.until, bench.clock.now().plus(12 * HOUR));
        assert_eq!(bench.announced(), []);

        bench.wind_until(30 * MINUTE, bench.ends()).await;
        assert_eq!(bench.announced(), [Kind::Warned(Warning::First)]);
        bench.answer(None, "222222").await.unwrap();
        until(|| bench.reader("ops-mfa").load().trouble.is_none()).await;
        assert_eq!(bench.announced(), [Kind::Answered]);
        assert_eq!(bench.sessions(), 3);
    });
}

#[test]
fn a_wrong_code_costs_one_attempt_says_so_and_changes_nothing_else() {
    run(async || {
        let mut bench = Bench::usual().await;
        bench.codes(&["222222"]);
        let refused = bench.answer(None, "111111").await.unwrap_err();
        assert!(matches!(refused, NotAccepted::Refused { .. }));
        assert!(refused.to_string().contains("this attempt is spent"));
        assert!(
            refused
                .to_string()
                .contains("invalid MFA one time pass code")
        );
        until(|| bench.reader("ops-mfa").load().attempts == 2).await;
        assert_eq!(bench.failure("ops-mfa").class, FailureClass::NeedsPerson);
        bench.clock.advance(HOUR);
        bench.quiet().await;
        assert_eq!(bench.sessions(), 1);

        bench.answer(None, "222222").await.unwrap();
        bench.served("deploy").await;
        assert_eq!(bench.sessions(), 2);

        // A slip while all is well leaves all well.
        bench.clock.advance(2 * MINUTE);
        bench.answer(None, "333333").await.unwrap_err();
        until(|| bench.reader("ops-mfa").load().attempts == 4).await;
        assert!(bench.reader("ops-mfa").load().trouble.is_none());
        assert_eq!(bench.announced(), [Kind::Asked, Kind::Answered]);
    });
}

#[test]
fn two_people_who_answer_at_once_do_no_harm() {
    run(async || {
        let bench = Bench::usual().await;
        bench.codes(&["111111", "222222"]);
        let (one, other) = tokio::join!(
            bench.answer(None, "111111"),
            bench.answer(Some("ops-mfa"), "222222")
        );
        assert!(one.is_ok());
        assert!(matches!(other, Err(NotAccepted::Busy { .. })), "{other:?}");
        let late = bench.answer(None, "222222").await;
        assert!(matches!(late, Err(NotAccepted::AlreadyAnswered { .. })));
        bench.served("deploy").await;
        assert_eq!(bench.sessions(), 1);
    });
}

#[test]
fn a_code_that_did_not_leave_is_good_and_one_that_may_have_is_not() {
    run(async || {
        let clock = TestClock::new();
        let aws = aws(&clock).await;
        // Nobody listens there any more.
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", gone.local_addr().unwrap());
        drop(gone);
        let host = Host::asking(&url);
        let identities = [
            ("ops", host.keys(KEY, "secret")),
            ("ops-mfa", session("ops", CodeSource::Ask)),
        ];
        let bench = Bench::with(clock, aws, host, identities).await;
        for _ in 0..2 {
            let unsent = bench.answer(None, "111111").await.unwrap_err();
            assert!(matches!(unsent, NotAccepted::Unsent { .. }), "{unsent:?}");
        }
        drop(bench);

        let bench = Bench::usual().await;
        bench.codes(&["111111"]);
        bench.aws.next(Call::GetSessionToken, |_| Reply::hang_up());
        let unclear = bench.answer(None, "111111").await.unwrap_err();
        assert!(
            matches!(unclear, NotAccepted::Unclear { .. }),
            "{unclear:?}"
        );
        let again = bench.answer(None, "111111").await.unwrap_err();
        assert!(
            matches!(again, NotAccepted::AlreadyUsed { .. }),
            "{again:?}"
        );
        bench.codes(&["222222"]);
        let throttled = |_| Reply::sts_error(400, "Throttling", "Rate exceeded");
        bench.aws.next(Call::GetSessionToken, throttled);
        let unclear = bench.answer(None, "333333").await.unwrap_err();
        assert!(
            matches!(unclear, NotAccepted::Unclear { .. }),
            "{unclear:?}"
        );
        bench.answer(None, "222222").await.unwrap();
    });
}

#[test]
fn forget_drops_the_session_and_asks_again_and_refresh_asks_early() {
    run(async || {
        let mut bench = Bench::answered().await;
        let key = bench.key("ops-mfa");
        bench.reader("ops-mfa").refresh();
        until(|| bench.reader("ops-mfa").load().trouble.is_some()).await;
        assert_eq!(bench.announced(), [Kind::Warned(Warning::First)]);
        assert_eq!(bench.key("ops-mfa"), key);
        bench.clock.advance(2 * MINUTE);
        bench.codes(&["111111"]);
        bench.answer(None, "111111").await.unwrap();
        until(|| bench.key("ops-mfa") != key).await;
        assert_eq!(bench.announced(), [Kind::Answered]);

        bench.reader("ops-mfa").forget();
        until(|| bench.reader("ops-mfa").load().held.is_none()).await;
        bench.quiet().await;
        assert_eq!(bench.announced(), []);
        bench.reader("ops-mfa").demand();
        until(|| bench.reader("ops-mfa").load().trouble.is_some()).await;
        assert_eq!(bench.announced(), [Kind::Asked]);
        assert_eq!(bench.sessions(), 2);
        bench.clock.advance(2 * MINUTE);
        bench.codes(&["222222"]);
        bench.answer(None, "222222").await.unwrap();
        bench.served("ops-mfa").await;
    });
}

#[test]
fn a_clock_that_is_set_ahead_brings_every_stage_that_it_jumps_over() {
    run(async || {
        let mut bench = Bench::answered().await;
        let ends = bench.ends();
        let ahead = |bench: &Bench, left| bench.clock.now().until(ends.minus(left));
        for (left, kind) in [
            (50, Kind::Warned(Warning::First)),
            (5, Kind::Warned(Warning::Last)),
            (0, Kind::Lapsed),
        ] {
            let attempts = bench.reader("ops-mfa").load().attempts;
            bench.clock.step_forward(ahead(&bench, left * MINUTE));
            // The first is paced by the floor of the schedule.
            bench.clock.advance(Duration::from_secs(30));
            until(|| bench.reader("ops-mfa").load().attempts > attempts).await;
            assert_eq!(bench.announced(), [kind]);
        }
        assert_eq!(bench.sessions(), 1);
    });
}
