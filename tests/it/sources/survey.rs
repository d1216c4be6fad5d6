//! What a survey of chains finds, and that it asks nobody for credentials.

use std::collections::BTreeMap;

use credd::aws::arn::Arn;
use credd::identity::IdentityName;
use credd::os::files;
use credd::providers::session_token::{CodeSource, Mfa};
use credd::providers::source::SourceIdentity;
use credd::providers::survey::{Finding, Found, Surveyor};
use credd::providers::{assume_role, container, imds, session_token, sts, web_identity};

use super::*;
use crate::support::fake_aws::{CANARY, Call, FakeAws, Reply};
use crate::support::patience::run;

const ROLE: &str = "arn:aws:iam::123456789012:role/team/billing";
const SERIAL: &str = "arn:aws:iam::123456789012:mfa/ops";

fn name(text: &str) -> IdentityName {
    IdentityName::parse(text).unwrap()
}

fn role(from: &str) -> Link {
    let from = SourceIdentity::Named(name(from));
    Link::AssumeRole(assume_role::Config::of(from, Arn::parse(ROLE).unwrap()))
}

fn session(from: &str) -> Link {
    Link::SessionToken(session_token::Config {
        from: SourceIdentity::Named(name(from)),
        mfa: Some(Mfa {
            serial: SERIAL.to_owned(),
            code: CodeSource::Ask,
        }),
        lifetime: None,
        settings: sts::Settings::default(),
    })
}

/// What is found of the one link of each identity.
async fn findings(sources: &Sources, chains: &[(&str, Link)]) -> Vec<Finding> {
    let chains = chains
        .iter()
        .map(|(it, link)| (name(it), vec![link.clone()]));
    let chains: BTreeMap<_, _> = chains.collect();
    let surveyor = Surveyor::new(chains.clone(), sources.context().surroundings);
    let surveyed = surveyor.survey(chains.keys()).await;
    let findings = surveyed.into_values().flatten().map(|it| it.finding);
    findings.collect()
}

#[track_caller]
fn found(finding: &Finding) -> &Found {
    match finding {
        Finding::Found(found) => found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_derived_identity_is_followed_down_to_the_keys_at_its_end() {
    run(async || {
        let clock = TestClock::new();
        let aws = FakeAws::start(&clock).await;
        let sources = Sources::new(&clock)
            .set("AWS_ENDPOINT_URL_STS", aws.url())
            .set("AWS_ACCESS_KEY_ID", "AKIA")
            .set("AWS_SECRET_ACCESS_KEY", CANARY);
        let chains = [
            ("a-billing", role("b-mfa")),
            ("b-mfa", session("c-ops")),
            ("c-ops", Link::Environment),
        ];
        let findings = findings(&sources, &chains).await;
        let billing = found(&findings[0]);
        assert_eq!(
            billing.what,
            format!(
                "role team/billing ← identity b-mfa: session with a code of MFA device {SERIAL} ← \
                 identity c-ops: environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
            )
        );
        assert!(billing.is_long_lived);
        assert_eq!(billing.mfa_serial.as_deref(), Some(SERIAL));
        assert_eq!(found(&findings[2]).mfa_serial, None);
        assert_eq!(aws.calls(), 0);
    });
}

#[test]
fn a_source_that_gives_nothing_breaks_what_is_derived_from_it() {
    run(async || {
        let clock = TestClock::new();
        let sources = Sources::new(&clock);
        let chains = [
            ("absent", role("nobody")),
            ("circle", role("circle")),
            ("empty", role("unset")),
            ("unset", Link::Environment),
        ];
        let findings = findings(&sources, &chains).await;
        for finding in &findings[..3] {
            assert!(matches!(finding, Finding::Broken(_)), "{finding:?}");
        }
        let Finding::Broken(why) = &findings[2] else {
            panic!("{findings:?}");
        };
        assert_eq!(
            why,
            "role team/billing ← identity unset: no source of credentials is configured"
        );
        assert!(matches!(findings[3], Finding::NotConfigured(_)));
    });
}

#[test]
fn endpoints_and_token_files_are_named_without_what_opens_them() {
    run(async || {
        let clock = TestClock::new();
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        files::write_private(&token_file, CANARY.as_bytes()).unwrap();
        let token_file = token_file.display().to_string();
        let sources = Sources::new(&clock)
            .set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/CANARY")
            .set("AWS_WEB_IDENTITY_TOKEN_FILE", &*token_file)
            .set("AWS_ROLE_ARN", ROLE);
        let named = container::Config {
            uri: Some("http://127.0.0.1:1/CANARY".to_owned()),
            token_file: None,
        };
        let chains = [
            ("a", Link::Container(container::Config::default())),
            ("b", Link::Container(named)),
            ("c", Link::WebIdentity(web_identity::Config::Environment)),
        ];
        let findings = findings(&sources, &chains).await;
        let what: Vec<&str> = findings.iter().map(|it| found(it).what.as_str()).collect();
        assert_eq!(
            what[0],
            "169.254.170.2 by AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, which was not asked"
        );
        assert_eq!(what[1], "127.0.0.1 by `uri`, which was not asked");
        let expected = format!("role team/billing by the token in {token_file}");
        assert_eq!(what[2], expected);
        assert!(!format!("{findings:?}").contains(CANARY));
    });
}

#[test]
fn instance_metadata_that_hangs_or_has_no_role_holds_nobody_up() {
    run(async || {
        let clock = TestClock::new();
        let aws = FakeAws::start(&clock).await;
        let sources = Sources::new(&clock).set(IMDS_ENDPOINT, aws.url());
        let chains =
            || ["a", "b", "c"].map(|it| (it, Link::InstanceMetadata(imds::Config::default())));
        aws.attach(None);
        for finding in findings(&sources, &chains()).await {
            assert!(matches!(finding, Finding::NotConfigured(_)), "{finding:?}");
        }
        aws.always(Call::Token, Reply::pausing_at_once);
        let chains = chains();
        let survey = findings(&sources, &chains);
        tokio::pin!(survey);
        let found = loop {
            tokio::select! {
                found = &mut survey => break found,
                () = tokio::task::yield_now() => clock.advance(std::time::Duration::from_millis(1)),
            }
        };
        for finding in found {
            assert!(matches!(finding, Finding::Broken(_)), "{finding:?}");
        }
        assert_eq!(aws.count(Call::Role), 0);
        // Each survey asks once for all of them.
        assert_eq!(aws.count(Call::Token), 2);
    });
}
