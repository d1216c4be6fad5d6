//! What STS is asked, to the letter.

use super::*;
use credd::providers::session_name::SessionName;

#[test]
fn all_that_a_role_is_assumed_with_reaches_sts() {
    run(async || {
        let ground = Ground::new().await;
        let keys = ground.keys();
        ground.aws.role(
            Role::new(DEPLOY)
                .trusting(OPS)
                .requiring_external_id("a:b/c=d+e"),
        );
        let text = "{\"Version\": \"2012-10-17\", \"Statement\": [\"ä & CANARY\"]}\n";
        let policy = ground.write("policy.json", text);
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let asked = assume_role::Config {
            external_id: Some("a:b/c=d+e".to_owned()),
            lifetime: Some(15 * MINUTE),
            session_name: SessionName::template("x-{identity}-{host}").ok(),
            session_policy: Some(policy.clone()),
            policy_arns: ["arn:aws:iam::aws:policy/A", "arn:aws:iam::aws:policy/B"]
                .map(|arn| Arn::parse(arn).unwrap())
                .to_vec(),
            tags: vec![pair("Team", "a b&c=d"), pair("Cost Center", "4711 +ü")],
            transitive_tags: vec!["Team".to_owned()],
            source_identity: Some("Ada.L@example.com".to_owned()),
            ..config(named("ops"), DEPLOY)
        };
        let house = ground.open(&[("deploy", Link::AssumeRole(asked)), ("ops", keys)]);
        house.warm().await;
        assert_eq!(house.failure("deploy"), None);
        let seen = house.calls_for(DEPLOY).pop().unwrap();
        let host = credd::os::process::host_name();
        let name = format!("x-deploy-{host}");
        for (parameter, value) in [
            ("ExternalId", "a:b/c=d+e"),
            ("DurationSeconds", "900"),
            ("RoleSessionName", &name),
            ("Policy", text),
            ("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/A"),
            ("PolicyArns.member.2.arn", "arn:aws:iam::aws:policy/B"),
            ("Tags.member.1.Key", "Team"),
            ("Tags.member.1.Value", "a b&c=d"),
            ("Tags.member.2.Key", "Cost Center"),
            ("Tags.member.2.Value", "4711 +ü"),
            ("TransitiveTagKeys.member.1", "Team"),
            ("SourceIdentity", "Ada.L@example.com"),
            ("Version", "2011-06-15"),
        ] {
            assert_eq!(seen.parameter(parameter), Some(value), "{parameter}");
        }
        assert_eq!(seen.parameters().len(), 15);
        // A policy is read for each session, and never told of.
        house.write("policy.json", "{\"Statement\": []}");
        house.refresh("deploy").await;
        let seen = house.calls_for(DEPLOY).pop().unwrap();
        assert_eq!(seen.parameter("Policy"), Some("{\"Statement\": []}"));
        let calls = house.aws.calls();
        house.write("policy.json", "CANARY");
        house.refresh("deploy").await;
        std::fs::remove_file(policy).unwrap();
        house.refresh("deploy").await;
        assert_eq!(house.aws.calls(), calls);
        let failure = house.failure("deploy").unwrap();
        assert_eq!(failure.class.as_str(), "misconfigured");
        assert!(failure.message.contains("policy.json"), "{failure}");
        assert!(house.key("deploy").is_some());
        assert!(!house.journal.text().contains(CANARY));
    });
}

#[test]
fn nothing_is_asked_for_that_nobody_wants() {
    run(async || {
        let ground = Ground::new().await;
        let keys = ground.keys();
        let house = ground.open(&[("deploy", role(named("ops"), DEPLOY)), ("ops", keys)]);
        house.warm().await;
        let seen = house.calls_for(DEPLOY).pop().unwrap();
        let mut parameters = seen.parameters();
        parameters.sort_unstable();
        assert_eq!(
            parameters,
            ["Action", "RoleArn", "RoleSessionName", "Version"]
        );
    });
}

/// What `DurationSeconds` is for 12 hours of `billing`, from `source`.
async fn asked_for(ground: Ground, source: Link) -> (Option<String>, House) {
    let keys = ground.keys();
    ground.aws.role(
        Role::new(BILLING)
            .trusting(OPS)
            .trusting(DEPLOY)
            .trusting("arn:aws:iam::123456789012:role/app")
            .lasting_at_most(12 * HOUR),
    );
    let long = assume_role::Config {
        lifetime: Some(12 * HOUR),
        ..config(unnamed(source), BILLING)
    };
    let house = ground.open(&[("billing", Link::AssumeRole(long)), ("ops", keys)]);
    house.warm().await;
    assert_eq!(house.failure("billing"), None);
    let seen = house.calls_for(BILLING).pop().unwrap();
    (seen.parameter("DurationSeconds").map(str::to_owned), house)
}

#[test]
fn a_chain_of_roles_is_asked_for_an_hour_and_it_is_said_once_why() {
    for is_instance in [false, true] {
        run(async move || {
            let ground = Ground::new().await;
            let source = if is_instance {
                Link::InstanceMetadata(credd::providers::imds::Config {
                    endpoint: Some(ground.aws.url()),
                    ..credd::providers::imds::Config::default()
                })
            } else {
                role(named("ops"), DEPLOY)
            };
            let (seconds, house) = asked_for(ground, source).await;
            assert_eq!(seconds.as_deref(), Some("3600"));
            house.pass(3 * HOUR, MINUTE, |_| ()).await;
            assert!(house.calls_for(BILLING).len() > 5);
            let lines = house.journal.lines("role chaining");
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].contains(BILLING), "{lines:?}");
            assert!(lines[0].contains("billing"), "{lines:?}");
        });
    }
}

#[test]
fn twelve_hours_are_asked_for_with_a_users_keys_or_session() {
    for is_session in [false, true] {
        run(async move || {
            let ground = Ground::new().await;
            let source = if is_session {
                session(named("ops"))
            } else {
                ground.keys()
            };
            let (seconds, house) = asked_for(ground, source).await;
            assert_eq!(seconds.as_deref(), Some("43200"));
            assert_eq!(house.journal.lines("role chaining").len(), 0);
            let left = house.snapshot("billing").held.as_ref().unwrap().ends();
            assert_eq!(house.clock.now().until(left), 12 * HOUR);
        });
    }
}
