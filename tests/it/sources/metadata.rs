//! Instance metadata as a source.

use std::time::Duration;

use credd::credentials::{FailureClass, Renewal};
use credd::os::files;

use super::*;
use crate::support::fake_aws::{CANARY, Call, FakeAws, Reply};
use crate::support::patience::{run, until};

async fn host() -> (Arc<TestClock>, FakeAws, Sources) {
    let clock = TestClock::new();
    let aws = FakeAws::start(&clock).await;
    let sources = Sources::new(&clock).set(IMDS_ENDPOINT, aws.url());
    (clock, aws, sources)
}

const PUT: &str = "PUT /latest/api/token";
const EXTENDED: &str = "GET /latest/meta-data/iam/security-credentials-extended";
const LEGACY: &str = "GET /latest/meta-data/iam/security-credentials";

#[test]
fn a_token_is_fetched_first_and_kept_with_the_name_and_the_path() {
    run(async || {
        let (_, aws, sources) = host().await;
        let mut chain = sources.chain();
        let first = provided(&mut chain).await;
        assert_eq!(key(&first), aws.set().key());
        assert_eq!(first.issued, Some(aws.set().issued));
        assert_eq!(first.renewal, Renewal::WatchStable);
        assert_eq!(
            first.credentials.account_id.as_deref(),
            Some("123456789012")
        );
        provided(&mut chain).await;
        let app = format!("{EXTENDED}/app");
        assert_eq!(aws.asked(), [PUT, EXTENDED, &app, &app]);
        let ttl = "x-aws-ec2-metadata-token-ttl-seconds";
        assert_eq!(aws.seen()[0].header(ttl), Some("21600"));
        assert_eq!(aws.tokenless(), 0);
    });
}

#[test]
fn a_service_without_the_extended_path_is_asked_on_the_legacy_one_from_then_on() {
    run(async || {
        let (_, aws, sources) = host().await;
        aws.forget_the_extended_path();
        let mut chain = sources.chain();
        let first = provided(&mut chain).await;
        assert_eq!(first.credentials.account_id, None);
        provided(&mut chain).await;
        let app = format!("{LEGACY}/app");
        assert_eq!(aws.asked(), [PUT, EXTENDED, LEGACY, &app, &app]);
    });
}

#[test]
fn a_configured_name_is_asked_for_without_a_listing() {
    run(async || {
        let (_, aws, sources) = host().await;
        aws.attach(Some("named"));
        let sources = sources.set("AWS_EC2_INSTANCE_PROFILE_NAME", "named");
        sources.provided().await;
        assert_eq!(aws.asked(), [PUT.to_owned(), format!("{EXTENDED}/named")]);
    });
}

#[test]
fn the_name_and_the_endpoint_may_stand_in_the_profile() {
    run(async || {
        let (clock, aws, _) = host().await;
        aws.attach(Some("named"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let text = format!(
            "[default]\nec2_metadata_service_endpoint = {}\nec2_instance_profile_name = named\n",
            aws.url()
        );
        files::write_private(&path, text.as_bytes()).unwrap();
        let sources = Sources::new(&clock).set("AWS_CONFIG_FILE", path.display().to_string());
        sources.provided().await;
        assert_eq!(aws.count(Call::List), 0);
    });
}

#[test]
fn a_role_that_is_swapped_is_found_by_a_new_listing() {
    run(async || {
        let (_, aws, sources) = host().await;
        let mut chain = sources.chain();
        provided(&mut chain).await;
        aws.attach(Some("other"));
        let new = aws.rotate(Duration::from_hours(6));
        assert_eq!(key(&provided(&mut chain).await), new.key());
        let asked = aws.asked();
        let expected = [
            format!("{EXTENDED}/app"),
            EXTENDED.to_owned(),
            format!("{EXTENDED}/other"),
        ];
        assert_eq!(asked[3..], expected);
    });
}

#[test]
fn an_instance_without_a_role_is_not_configured_until_it_has_one() {
    run(async || {
        let (_, aws, sources) = host().await;
        aws.attach(None);
        let mut chain = sources.chain();
        let failure = failure(&mut chain).await;
        assert!(
            failure.message.contains("received 404 from IMDS"),
            "{failure}"
        );
        assert_eq!(aws.asked(), [PUT, EXTENDED, LEGACY]);
        aws.attach(Some("app"));
        let provided = provided(&mut chain).await;
        assert!(provided.credentials.account_id.is_some());
    });
}

#[test]
fn a_token_that_is_no_longer_taken_is_replaced_once() {
    run(async || {
        let (_, aws, sources) = host().await;
        let mut chain = sources.chain();
        provided(&mut chain).await;
        aws.expire_tokens();
        provided(&mut chain).await;
        let app = format!("{EXTENDED}/app");
        assert_eq!(aws.asked()[3..], [app.as_str(), PUT, &app]);

        aws.always(Call::Role, |_| Reply::status(401));
        let calls = aws.calls();
        let failure = failure(&mut chain).await;
        assert_eq!(failure.class, FailureClass::Transient);
        assert_eq!(aws.calls(), calls + 3);
    });
}

#[test]
fn a_token_is_replaced_two_minutes_before_its_end_by_the_clock_that_counts_suspend() {
    run(async || {
        let (clock, aws, sources) = host().await;
        let mut chain = sources.chain();
        provided(&mut chain).await;
        let end = Duration::from_hours(6);
        clock.suspend(end.checked_sub(Duration::from_secs(121)).unwrap());
        provided(&mut chain).await;
        assert_eq!(aws.count(Call::Token), 1);
        clock.suspend(Duration::from_secs(1));
        provided(&mut chain).await;
        assert_eq!(aws.count(Call::Token), 2);
    });
}

#[test]
fn a_token_lives_no_longer_than_its_answer_says() {
    run(async || {
        let (clock, aws, sources) = host().await;
        aws.always(Call::Token, |_| {
            Reply::text(format!("{CANARY}-imds-1"))
                .with("x-aws-ec2-metadata-token-ttl-seconds", "300")
        });
        let mut chain = sources.chain();
        provided(&mut chain).await;
        clock.advance(Duration::from_secs(179));
        provided(&mut chain).await;
        assert_eq!(aws.count(Call::Token), 1);
        clock.advance(Duration::from_secs(1));
        provided(&mut chain).await;
        assert_eq!(aws.count(Call::Token), 2);
    });
}

#[test]
fn without_a_token_nothing_is_asked() {
    run(async || {
        type Lie = (fn(Reply) -> Reply, FailureClass);
        let lies: [Lie; 10] = [
            (|_| Reply::status(400), FailureClass::Misconfigured),
            (|_| Reply::status(403), FailureClass::Misconfigured),
            (|_| Reply::status(404), FailureClass::Misconfigured),
            (|_| Reply::status(405), FailureClass::Misconfigured),
            (|_| Reply::status(429), FailureClass::Throttled),
            (|_| Reply::status(500), FailureClass::Transient),
            (|_| Reply::status(302), FailureClass::Misconfigured),
            (|_| Reply::text(""), FailureClass::Transient),
            (|_| Reply::text("a\r\nb: c"), FailureClass::Transient),
            (|_| Reply::hang_up(), FailureClass::Transient),
        ];
        for (lie, class) in lies {
            let (_, aws, sources) = host().await;
            aws.always(Call::Token, lie);
            assert_eq!(sources.failure().await.class, class);
            assert_eq!(aws.asked(), [PUT]);
        }
    });
}

#[test]
fn a_service_that_never_answers_is_out_of_reach_within_a_second() {
    run(async || {
        let (clock, aws, sources) = host().await;
        aws.always(Call::Token, Reply::pausing_at_once);
        let mut chain = sources.chain();
        let (failure, ()) = tokio::join!(failure(&mut chain), async {
            until(|| aws.pauses() == 1).await;
            clock.advance(Duration::from_secs(1));
        });
        assert_eq!(failure.class, FailureClass::Transient);
        assert!(failure.message.contains("hop limit"), "{failure}");
    });
}

#[test]
fn a_code_other_than_success_is_a_denial_with_a_hint() {
    run(async || {
        let (_, aws, sources) = host().await;
        aws.always(Call::Role, |honest| {
            honest
                .with_field("Code", "AssumeRoleUnauthorizedAccess")
                .with_field("Message", "EC2 cannot assume the role app")
        });
        let failure = sources.failure().await;
        assert_eq!(failure.class, FailureClass::Denied);
        for part in [
            "role `app`",
            "AssumeRoleUnauthorizedAccess EC2 cannot assume the role app",
            "trust relationship",
        ] {
            assert!(failure.message.contains(part), "{failure}");
        }
    });
}

#[test]
fn a_listing_that_could_lead_elsewhere_is_not_followed() {
    run(async || {
        for listing in [
            "",
            "\n",
            "../../user-data",
            "a b",
            "a/b",
            "a?b",
            "<html>",
            "é",
        ] {
            let (_, aws, sources) = host().await;
            aws.always(Call::List, move |_| Reply::text(listing));
            assert_eq!(sources.failure().await.class, FailureClass::Transient);
            assert_eq!(aws.count(Call::Role), 0);
        }
        let (_, aws, sources) = host().await;
        aws.next(Call::List, |_| Reply::text("app\nother\n"));
        sources.provided().await;
    });
}

#[test]
fn a_name_that_was_listed_by_half_is_listed_again() {
    run(async || {
        let (_, aws, sources) = host().await;
        aws.attach(Some("application"));
        aws.next(Call::List, |_| Reply::text("applic").until_close());
        sources.provided().await;
        assert_eq!(aws.count(Call::List), 2);
    });
}

#[test]
fn microseconds_in_an_expiry_are_read() {
    run(async || {
        let (_, aws, sources) = host().await;
        aws.always(Call::Role, |honest| {
            honest.with_field("Expiration", "2026-11-22T15:30:00.832308Z")
        });
        let expiry = sources.provided().await.credentials.expiry.unwrap();
        assert_eq!(expiry.to_string(), "2026-11-22T15:30:00Z");
    });
}

#[test]
fn the_switch_turns_it_off_in_any_case_of_letters() {
    run(async || {
        for value in ["true", "True", "TRUE", " true "] {
            let (_, aws, sources) = host().await;
            let failure = sources.set(IMDS_DISABLED, value).failure().await;
            assert!(failure.message.contains("DISABLED is true"), "{failure}");
            assert_eq!(aws.calls(), 0);
        }
        for value in ["false", "1", "yes", ""] {
            let (_, _aws, sources) = host().await;
            sources.set(IMDS_DISABLED, value).provided().await;
        }
    });
}
