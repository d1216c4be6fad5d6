//! An STS that refuses, throttles, lies, breaks off or is gone.

use super::*;
use crate::support::news::tell;
use credd::credentials::FailureClass;

/// `ops` (keys) → `session` → `deploy`, all warm.
async fn at_work() -> House {
    let ground = Ground::new().await;
    let keys = ground.keys();
    let house = ground.open(&[
        ("deploy", role(named("session"), DEPLOY)),
        ("session", session(named("ops"))),
        ("ops", keys),
    ]);
    house.warm().await;
    assert_eq!(house.state("deploy"), State::Fresh);
    house
}

/// How often STS is asked within ten minutes.
async fn calls_in_ten_minutes(house: &House) -> usize {
    let before = house.aws.calls();
    house.pass(10 * MINUTE, SECOND, |_| ()).await;
    house.aws.calls() - before
}

#[test]
fn a_source_whose_session_aws_has_ended_is_refreshed_once_and_the_role_follows() {
    run(async || {
        let house = at_work().await;
        house.pass(5 * MINUTE, MINUTE, |_| ()).await;
        let signer = house.key("session").unwrap();
        house.aws.expire(&signer);
        let calls = house.aws.calls();
        house.refresh("deploy").await;
        house.pass(MINUTE, SECOND, |_| ()).await;
        assert_eq!(house.failure("deploy"), None);
        let last = house.calls_for(DEPLOY).pop().unwrap();
        assert_eq!(last.signing_key(), house.key("session"));
        assert_ne!(last.signing_key(), Some(signer));
        assert_eq!(house.aws.count(Call::GetSessionToken), 2);
        // The call that was refused, the source's and the role's own.
        assert_eq!(house.aws.calls() - calls, 3);
    });
}

#[test]
fn roles_that_find_the_same_session_ended_have_its_source_refreshed_once() {
    run(async || {
        let ground = Ground::new().await;
        let keys = ground.keys();
        let house = ground.open(&[
            ("a", role(named("session"), DEPLOY)),
            ("b", role(named("session"), DEPLOY)),
            ("session", session(named("ops"))),
            ("ops", keys),
        ]);
        house.warm().await;
        house.pass(5 * MINUTE, MINUTE, |_| ()).await;
        let b = house.key("b");
        house.aws.expire(&house.key("session").unwrap());
        // The answer to one of them comes when the source has been refreshed for the other.
        house.aws.next(Call::AssumeRole, Reply::pausing_at_once);
        house.reader("a").refresh();
        until(|| house.aws.pauses() == 1).await;
        house.reader("b").refresh();
        until(|| house.aws.count(Call::GetSessionToken) == 2).await;
        until(|| house.failure("b").is_none() && house.key("b") != b).await;
        // Its refusal is of the session before.
        house.aws.resume();
        house.quiet().await;
        house.pass(2 * MINUTE, SECOND, |_| ()).await;
        assert_eq!(house.aws.count(Call::GetSessionToken), 2);
        assert_eq!(house.failure("a"), None);
        assert_eq!(house.failure("b"), None);
    });
}

#[test]
fn a_source_whose_every_session_is_refused_is_not_hammered() {
    run(async || {
        let house = at_work().await;
        let expired = "The security token included in the request is expired";
        refuse(&house.aws, Call::AssumeRole, 403, "ExpiredToken", expired);
        house.pass(30 * MINUTE, MINUTE, |_| ()).await;
        let sources = house.aws.count(Call::GetSessionToken);
        let calls = calls_in_ten_minutes(&house).await;
        let sources = house.aws.count(Call::GetSessionToken) - sources;
        tell(&format!(
            "each session refused as expired for 10 minutes: {sources} calls for new ones, \
             {calls} in all"
        ));
        assert!(sources <= 21 && calls <= 50, "{sources}, {calls}");
        house.aws.be_honest();
        house.pass(2 * MINUTE, SECOND, |_| ()).await;
        assert_eq!(house.failure("deploy"), None);
    });
}

#[test]
fn a_refused_session_is_not_shown_again_while_its_source_has_no_other() {
    run(async || {
        let house = at_work().await;
        house.pass(5 * MINUTE, MINUTE, |_| ()).await;
        house.aws.expire(&house.key("session").unwrap());
        refuse(
            &house.aws,
            Call::GetSessionToken,
            500,
            "InternalFailure",
            "",
        );
        let calls = house.calls_for(DEPLOY).len();
        house.refresh("deploy").await;
        house.pass(10 * MINUTE, SECOND, |_| ()).await;
        let calls = house.calls_for(DEPLOY).len() - calls;
        assert_eq!(calls, 1);
        let failure = house.failure("deploy").unwrap();
        assert!(failure.class.may_pass(), "{failure}");
        house.aws.be_honest();
        house.pass(3 * MINUTE, SECOND, |_| ()).await;
        assert_eq!(house.failure("deploy"), None);
    });
}

#[test]
fn each_refusal_has_its_class_and_its_pace() {
    use FailureClass::{Denied, Misconfigured, Throttled, Transient};
    for (class, most, status, code, message) in [
        (Throttled, 40, 400, "Throttling", "Rate exceeded"),
        (
            Denied,
            11,
            403,
            "AccessDenied",
            "User: x is not authorized to perform: sts:AssumeRole on resource: y",
        ),
        (Denied, 11, 403, "InvalidClientTokenId", ""),
        (Denied, 11, 403, "SignatureDoesNotMatch", ""),
        (Misconfigured, 40, 400, "ValidationError", "DurationSeconds"),
        (Misconfigured, 40, 400, "PackedPolicyTooLarge", ""),
        (Misconfigured, 40, 403, "RegionDisabledException", ""),
        (Transient, 60, 500, "InternalFailure", ""),
        (Transient, 60, 503, "ServiceUnavailable", ""),
        (Transient, 60, 400, "IDPCommunicationError", ""),
    ] {
        run(async move || {
            let house = at_work().await;
            let good = house.body("deploy");
            refuse(&house.aws, Call::AssumeRole, status, code, message);
            house.refresh("deploy").await;
            let calls = calls_in_ten_minutes(&house).await;
            let failure = house.failure("deploy").unwrap();
            tell(&format!("{code} for ten minutes: {calls} calls"));
            assert_eq!(failure.class, class, "{code}: {failure}");
            assert!(failure.message.contains(code), "{failure}");
            assert!(failure.message.contains(DEPLOY), "{failure}");
            assert!(calls <= most, "{code}: {calls} calls");
            // The set in hand is served all the same.
            assert_eq!(house.body("deploy"), good);
            assert_eq!(house.aws.count(Call::GetSessionToken), 1);
            house.aws.be_honest();
            house.pass(3 * MINUTE, SECOND, |_| ()).await;
            assert_eq!(house.failure("deploy"), None);
        });
    }
}

#[test]
fn answers_that_are_no_session_pass_and_replace_nothing() {
    // moto answers so where it takes a call for one to S3.
    let bucket = "<ListAllMyBucketsResult><Owner><ID>x</ID></Owner></ListAllMyBucketsResult>";
    let lies: [fn(Reply) -> Reply; 9] = [
        |_| Reply::text(""),
        |_| Reply::text("<html><body>sign in</body></html>"),
        |_| Reply::json(&serde_json::json!({"Credentials": {}})),
        |honest| honest.without_element("SessionToken"),
        |honest| honest.without_element("SecretAccessKey"),
        |honest| honest.with_element("AccessKeyId", ""),
        |honest| honest.with_element("Expiration", "soon"),
        |honest| honest.with_element("Expiration", "2020-01-01T00:00:00Z"),
        |_| Reply::sts_result("AssumeRole", ""),
    ];
    run(async move || {
        let house = at_work().await;
        let good = house.body("deploy");
        let mut attempts = 0;
        let mut tried = async |lie: Box<dyn FnMut(Reply) -> Reply + Send>| {
            house.aws.next(Call::AssumeRole, lie);
            house.refresh("deploy").await;
            attempts += 1;
            let failure = house.failure("deploy").unwrap();
            assert_eq!(failure.class, FailureClass::Transient, "{failure}");
            assert!(!format!("{failure:?}").contains(CANARY), "{failure}");
            assert_eq!(house.body("deploy"), good);
        };
        tried(Box::new(move |_| Reply::xml(bucket))).await;
        for lie in lies {
            tried(Box::new(lie)).await;
        }
        assert_eq!(attempts, 10);
        assert!(!house.journal.text().contains(CANARY));
        house.refresh("deploy").await;
        assert_eq!(house.failure("deploy"), None);
        assert_ne!(house.body("deploy"), good);
    });
}

#[test]
fn an_answer_cut_anywhere_is_never_half_a_set() {
    run(async || {
        let house = at_work().await;
        let length = Arc::new(AtomicUsize::new(0));
        let measured = Arc::clone(&length);
        house.aws.next(Call::AssumeRole, move |honest| {
            measured.store(honest.length(), Ordering::Relaxed);
            honest
        });
        house.refresh("deploy").await;
        let (length, good) = (length.load(Ordering::Relaxed), house.key("deploy"));
        assert!(length > 500);
        let cuts = (0..length).step_by(5).chain(length - 40..length);
        let mut count = 0;
        for cut in cuts {
            house
                .aws
                .next(Call::AssumeRole, move |honest| honest.cut_at(cut));
            house.refresh("deploy").await;
            assert_eq!(house.key("deploy"), good, "cut at {cut}");
            let failure = house.failure("deploy").unwrap();
            assert_eq!(failure.class, FailureClass::Transient, "{cut}: {failure}");
            count += 1;
        }
        tell(&format!(
            "an answer of {length} bytes cut at {count} places: no half set"
        ));
        house.refresh("deploy").await;
        assert_ne!(house.key("deploy"), good);
    });
}

#[test]
fn an_sts_that_is_gone_costs_no_request_for_as_long_as_the_roles_live() {
    // Half an hour for roles of one, and an hour for roles of twelve.
    for (lifetime, outage) in [(HOUR, 30 * MINUTE), (12 * HOUR, HOUR)] {
        run(async move || {
            let ground = Ground::new().await;
            let keys = ground.keys();
            ground
                .aws
                .role(Role::new(DEPLOY).trusting(OPS).lasting_at_most(lifetime));
            let long = assume_role::Config {
                lifetime: Some(lifetime),
                ..config(named("session"), DEPLOY)
            };
            let house = ground.open(&[
                ("billing", role(named("deploy"), BILLING)),
                ("deploy", Link::AssumeRole(long)),
                ("session", session(named("ops"))),
                ("ops", keys),
            ]);
            house.warm().await;
            house.pass(20 * MINUTE, MINUTE, |_| ()).await;
            house.aws.go_down();
            let calls = house.aws.calls();
            let names = if lifetime > HOUR {
                &["deploy", "session"][..]
            } else {
                &["deploy", "session", "billing"]
            };
            let (mut answers, mut failed) = (0, 0);
            house
                .pass(outage, SECOND, |house| {
                    for name in names {
                        answers += 1;
                        failed += u32::from(house.body(name).is_none());
                    }
                })
                .await;
            let calls = house.aws.calls() - calls;
            tell(&format!(
                "STS gone for {} minutes: {failed} of {answers} answers failed, {calls} calls",
                outage.as_secs() / 60
            ));
            assert_eq!(failed, 0);
            assert!(calls <= 150, "{calls}");
            house.aws.be_honest();
            house.pass(3 * MINUTE, SECOND, |_| ()).await;
            for name in ["billing", "deploy", "session"] {
                assert_eq!(house.failure(name), None, "{name}");
                assert_eq!(house.state(name), State::Fresh, "{name}");
            }
        });
    }
}
