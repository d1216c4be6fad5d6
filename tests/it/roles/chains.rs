//! Chains of identities: who is kept, by how many refreshers, and for how long.

use super::*;

#[test]
fn each_hop_of_a_chain_is_served_and_refreshed_on_its_own_schedule() {
    run(async || {
        let ground = Ground::new().await;
        let keys = ground.keys();
        let house = ground.open(&[
            ("billing", role(named("deploy"), BILLING)),
            ("deploy", role(named("ops"), DEPLOY)),
            ("ops", keys),
        ]);
        house.warm().await;
        assert_eq!(house.alive(), 3);
        let (deploy, billing) = (house.calls_for(DEPLOY), house.calls_for(BILLING));
        assert_eq!((deploy.len(), billing.len()), (1, 1));
        assert_eq!(deploy[0].signing_key().as_deref(), Some(OPS_KEY));
        assert_eq!(billing[0].signing_key(), house.key("deploy"));
        assert_eq!(
            billing[0].parameter("RoleSessionName"),
            Some("credd-billing")
        );
        assert_eq!(house.body("billing").unwrap()["AccountId"], "123456789012");
        assert!(house.snapshot("deploy").due != house.snapshot("billing").due);
        house
            .pass(6 * HOUR, 30 * SECOND, |house| {
                for name in ["deploy", "billing"] {
                    assert!(house.key(name).is_some(), "{name}");
                    assert_eq!(house.state(name), State::Fresh, "{name}");
                }
            })
            .await;
        // An hour's session is refreshed after 12 to 27 minutes.
        for role in [DEPLOY, BILLING] {
            let calls = house.calls_for(role).len();
            assert!((13..=31).contains(&calls), "{role}: {calls}");
        }
    });
}

#[test]
fn identities_from_one_source_share_it() {
    run(async || {
        let ground = Ground::new().await;
        let keys = ground.keys();
        let from = unnamed(session(named("ops")));
        let house = ground.open(&[
            ("a", role(from.clone(), DEPLOY)),
            ("b", role(from.clone(), DEPLOY)),
            ("c", role(from, DEPLOY)),
            ("ops", keys),
        ]);
        house.warm().await;
        assert_eq!(house.alive(), 5);
        for name in ["a", "b", "c"] {
            assert_eq!(house.state(name), State::Fresh, "{name}");
        }
        assert_eq!(house.aws.count(Call::GetSessionToken), 1);
        house.pass(10 * HOUR, MINUTE, |_| ()).await;
        let calls = house.aws.count(Call::GetSessionToken);
        assert!((2..=5).contains(&calls), "{calls}");
    });
}

#[test]
fn identities_of_two_names_are_two_even_where_their_configs_are_equal() {
    run(async || {
        let ground = Ground::new().await;
        let keys = ground.keys();
        let house = ground.open(&[
            ("a", role(named("ops"), DEPLOY)),
            ("b", role(named("ops"), DEPLOY)),
            ("ops", keys),
        ]);
        house.warm().await;
        for (name, reader) in &house.readers {
            assert_eq!(reader.identity(), name);
        }
        let calls = house.calls_for(DEPLOY);
        let names = calls.iter().map(|seen| seen.parameter("RoleSessionName"));
        let mut names: Vec<_> = names.map(Option::unwrap).collect();
        names.sort_unstable();
        assert_eq!(names, ["credd-a", "credd-b"]);
        assert_ne!(house.key("a"), house.key("b"));
    });
}

#[test]
fn a_source_that_nobody_needs_any_more_ends() {
    run(async || {
        let profiles = |source: &str| {
            format!(
                "[profile billing]\nrole_arn = {BILLING}\nsource_profile = {source}\n\
                 [profile deploy]\nrole_arn = {DEPLOY}\nsource_profile = ops\n\
                 [profile other]\nrole_arn = {OTHER}\nsource_profile = ops\n\
                 [profile ops]\naws_access_key_id = {OPS_KEY}\naws_secret_access_key = {OPS_SECRET}\n"
            )
        };
        let ground = Ground::new().await.profiles(&profiles("deploy"));
        ground.aws.role(Role::new(OTHER).trusting(OPS));
        ground
            .aws
            .role(Role::new(BILLING).trusting(DEPLOY).trusting(OTHER));
        let house = ground.open(&[("billing", profile("billing"))]);
        house.warm().await;
        assert_eq!((house.state("billing"), house.alive()), (State::Fresh, 3));
        house.write("config", &profiles("other"));
        house.refresh("billing").await;
        assert_eq!((house.state("billing"), house.alive()), (State::Fresh, 3));
        assert_eq!(house.calls_for(OTHER).len(), 1);
        house.pass(2 * HOUR, MINUTE, |_| ()).await;
        assert_eq!(house.calls_for(DEPLOY).len(), 1);
        // Keys of its own need nobody.
        let keys = format!(
            "[profile billing]\naws_access_key_id = ASIA\naws_secret_access_key = {CANARY}\n\
             aws_session_token = {CANARY}\n"
        );
        house.write("config", &keys);
        house.refresh("billing").await;
        assert_eq!((house.state("billing"), house.alive()), (State::Fresh, 1));
        drop(house.opened);
        until(|| house.alive.load(Ordering::Relaxed) == 0).await;
    });
}

const OTHER: &str = "arn:aws:iam::123456789012:role/other";
