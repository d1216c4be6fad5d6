//! One code, however many need its session, and none twice.

use super::*;
use crate::support::patience::run;

#[test]
fn identities_with_the_same_keys_and_device_share_one_session() {
    run(async || {
        let clock = TestClock::new();
        let aws = aws(&clock).await;
        let host = Host::asking(&aws.url());
        // Other recipes, the same keys.
        let identities = [
            ("here", host.keys(KEY, "here")),
            ("here-mfa", session("here", CodeSource::Ask)),
            ("there", host.keys(KEY, "there")),
            ("there-mfa", session("there", CodeSource::Ask)),
            ("deploy", role("there-mfa", DEPLOY)),
        ];
        let mut bench = Bench::with(clock, aws, host, identities).await;
        assert_eq!(bench.announced(), [Kind::Asked]);
        assert_eq!(bench.challenges.list().len(), 1);

        bench.codes(&["111111", "222222"]);
        bench.answer(Some("there-mfa"), "111111").await.unwrap();
        let here = bench.served("here-mfa").await;
        let there = bench.served("there-mfa").await;
        assert_eq!(here, there);
        bench.served("deploy").await;
        assert_eq!(bench.sessions(), 1);
        assert_eq!(bench.announced(), [Kind::Answered]);

        // Asked once for both, and answered once for both.
        let ends = bench
            .reader("here-mfa")
            .load()
            .held
            .as_ref()
            .unwrap()
            .ends();
        bench.wind_until(HOUR, ends).await;
        assert_eq!(bench.announced(), [Kind::Warned(Warning::First)]);
        bench.answer(Some("here-mfa"), "222222").await.unwrap();
        let is_new = |identity| bench.key(identity).is_some_and(|key| key != here);
        until(|| is_new("here-mfa") && is_new("there-mfa")).await;
        assert_eq!(bench.key("here-mfa"), bench.key("there-mfa"));
        assert_eq!(bench.sessions(), 2);
        let is_well = |identity| bench.reader(identity).load().trouble.is_none();
        assert!(is_well("here-mfa") && is_well("there-mfa"));

        // What one forgets, the other does not bring back.
        bench.reader("here-mfa").forget();
        until(|| bench.reader("here-mfa").load().held.is_none()).await;
        bench.reader("here-mfa").demand();
        until(|| bench.reader("here-mfa").load().trouble.is_some()).await;
        assert_eq!(bench.sessions(), 2);
    });
}

#[test]
fn whoever_knows_no_more_than_the_id_of_a_key_gets_none_of_its_session() {
    run(async || {
        let clock = TestClock::new();
        let aws = aws(&clock).await;
        let host = Host::asking(&aws.url());
        let guessed = Link::Keys(keys::Config {
            access_key_id: KEY.to_owned().into(),
            secret_access_key: host.secret("guess", "another secret"),
            session_token: None,
        });
        let identities = [
            ("ops", host.keys(KEY, "ops")),
            ("ops-mfa", session("ops", CodeSource::Ask)),
            ("stranger", guessed),
            ("stranger-mfa", session("stranger", CodeSource::Ask)),
        ];
        let bench = Bench::with(clock, aws, host, identities).await;
        bench.codes(&["111111", "222222"]);
        bench.answer(Some("ops-mfa"), "111111").await.unwrap();
        bench.served("ops-mfa").await;
        bench.quiet().await;
        assert_eq!(bench.key("stranger-mfa"), None);
        let refused = bench.answer(Some("stranger-mfa"), "222222").await;
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, NotAccepted::Refused { .. }),
            "{refused:?}"
        );
        let remedy = "check the source's secret access key";
        assert!(refused.to_string().contains(remedy), "{refused}");
    });
}

#[test]
fn no_code_goes_to_two_identities_of_one_device() {
    run(async || {
        let clock = TestClock::new();
        let aws = aws(&clock).await;
        let host = Host::asking(&aws.url());
        let identities = [
            ("one", host.keys(KEY, "one")),
            ("one-mfa", session("one", CodeSource::Ask)),
            ("two", host.keys(OTHER_KEY, "two")),
            ("two-mfa", session("two", CodeSource::Ask)),
        ];
        let bench = Bench::with(clock, aws, host, identities).await;
        bench.codes(&["111111", "222222"]);
        let whose = bench.answer(None, "111111").await.unwrap_err();
        assert!(matches!(whose, NotAccepted::Ambiguous { .. }), "{whose:?}");
        bench.answer(Some("one-mfa"), "111111").await.unwrap();
        let used = bench.answer(Some("two-mfa"), "111111").await.unwrap_err();
        assert!(matches!(used, NotAccepted::AlreadyUsed { .. }), "{used:?}");
        assert_eq!(bench.sessions(), 1);
        bench.answer(None, "222222").await.unwrap();
        assert_ne!(bench.served("one-mfa").await, bench.served("two-mfa").await);
    });
}

#[test]
fn no_code_is_sent_again_after_a_restart() {
    run(async || {
        let bench = Bench::usual().await;
        bench.codes(&["222222"]);
        bench.answer(None, "111111").await.unwrap_err();
        // Another process on the same host, within the step.
        let Bench {
            clock, aws, host, ..
        } = bench;
        let identities = [
            ("ops", host.keys(KEY, "secret")),
            ("ops-mfa", session("ops", CodeSource::Ask)),
        ];
        let bench = Bench::with(clock, aws, host, identities).await;
        let used = bench.answer(None, "111111").await.unwrap_err();
        assert!(matches!(used, NotAccepted::AlreadyUsed { .. }), "{used:?}");
        assert_eq!(bench.sessions(), 1);
        bench.answer(None, "222222").await.unwrap();
        assert!(!text(&bench.host.path("used-codes")).contains("222222"));
    });
}

#[test]
fn profiles_of_one_users_keys_share_the_session_and_name_who_needs_it() {
    run(async || {
        let clock = TestClock::new();
        let aws = aws(&clock).await;
        let host = Host::asking(&aws.url());
        let config = host.path("config");
        let profiles = format!(
            "[profile ops]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n\
             [profile deploy]\nrole_arn = {DEPLOY}\nsource_profile = ops\n\
             mfa_serial = {SERIAL}\n\
             [profile twin]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n\
             [profile billing]\nrole_arn = {BILLING}\nsource_profile = twin\n\
             mfa_serial = {SERIAL}\n"
        );
        files::write_private(&config, profiles.as_bytes()).unwrap();
        let link = |profile: &str| {
            Link::Profile(profile::Config {
                profile: Some(profile.to_owned()),
                config_file: Some(config.clone()),
                ..profile::Config::default()
            })
        };
        let identities = [("deploy", link("deploy")), ("billing", link("billing"))];
        let bench = Bench::with(clock, aws, host, identities).await;
        let open = bench.challenges.list();
        assert_eq!(open.len(), 1, "{open:?}");
        for identity in ["deploy", "billing"] {
            let advice = bench.failure(identity).advice;
            assert!(
                advice.contains(&format!("`credd mfa {identity}`")),
                "{advice}"
            );
        }
        bench.codes(&["111111"]);
        bench.answer(Some("billing"), "111111").await.unwrap();
        bench.served("deploy").await;
        bench.served("billing").await;
        assert_eq!(bench.sessions(), 1);
    });
}

#[test]
fn forgetting_a_role_forgets_the_session_that_has_no_name_and_no_other() {
    run(async || {
        let clock = TestClock::new();
        let aws = aws(&clock).await;
        let host = Host::asking(&aws.url());
        let from = SourceIdentity::Unnamed(vec![session("ops", CodeSource::Ask)]);
        let deploy = assume_role::Config::of(from, Arn::parse(DEPLOY).unwrap());
        let identities = [
            ("ops", host.keys(KEY, "secret")),
            ("deploy", Link::AssumeRole(deploy)),
            ("other", host.keys(OTHER_KEY, "other-secret")),
            ("other-mfa", session("other", CodeSource::Ask)),
            ("billing", role("other-mfa", BILLING)),
        ];
        let mut bench = Bench::with(clock, aws, host, identities).await;
        bench.codes(&["111111", "222222"]);
        bench.answer(Some("deploy"), "111111").await.unwrap();
        bench.answer(Some("other-mfa"), "222222").await.unwrap();
        let (deploy, billing) = (bench.served("deploy").await, bench.served("billing").await);
        let _ = bench.announced();
        for identity in ["deploy", "billing"] {
            bench.reader(identity).forget();
            until(|| bench.reader(identity).load().held.is_none()).await;
            bench.reader(identity).demand();
            until(|| bench.reader(identity).load().attempts > 0).await;
        }
        // A code is asked for, since nobody could have forgotten its session by name.
        assert_eq!(bench.key("deploy"), None);
        assert_eq!(bench.announced(), [Kind::Asked]);
        assert_ne!(bench.served("billing").await, billing);
        bench.clock.advance(MINUTE);
        bench.codes(&["333333"]);
        bench.answer(Some("deploy"), "333333").await.unwrap();
        assert_ne!(bench.served("deploy").await, deploy);
        assert_eq!(bench.sessions(), 3);
    });
}

#[test]
fn whoever_has_gone_with_a_reload_stands_for_a_shared_session_no_longer() {
    for (gone, stays) in [("there", "here"), ("here", "there")] {
        run(async move || {
            let clock = TestClock::new();
            let aws = aws(&clock).await;
            let host = Host::asking(&aws.url());
            let of = |who: &str| {
                let links = [host.keys(KEY, who), session(who, CodeSource::Ask)];
                [who.to_owned(), format!("{who}-mfa")]
                    .into_iter()
                    .zip(links)
            };
            let both: Vec<_> = of("here").chain(of("there")).collect();
            let staying = of(stays)
                .map(|(who, link)| (name(&who), vec![link]))
                .collect();
            let again = both
                .iter()
                .map(|(who, link)| (name(who), vec![link.clone()]));
            let again = again.collect();
            let both = <[_; 4]>::try_from(both).unwrap();
            let both = both
                .each_ref()
                .map(|(who, link)| (who.as_str(), link.clone()));
            let mut bench = Bench::with(clock, aws, host, both).await;
            let (gone, stays) = (format!("{gone}-mfa"), format!("{stays}-mfa"));
            let seen = |bench: &Bench| {
                let open = bench.challenges.list();
                assert_eq!(open.len(), 1, "{open:?}");
                let names = std::iter::once(&open[0].subject.identity).chain(&open[0].shared_by);
                let mut names: Vec<_> = names.map(ToString::to_string).collect();
                names.sort();
                names
            };
            assert_eq!(seen(&bench), ["here-mfa", "there-mfa"]);
            bench.opened = bench.opened.reopened(staying);
            bench.readers = bench.opened.readers();
            until(|| seen(&bench) == [stays.as_str()]).await;
            let nobody = bench.answer(Some(&gone), "111111").await.unwrap_err();
            assert!(matches!(nobody, NotAccepted::Unknown { .. }), "{nobody:?}");
            // And back again.
            bench.opened = bench.opened.reopened(again);
            bench.readers = bench.opened.readers();
            bench.reader(&gone).demand();
            until(|| seen(&bench).len() == 2).await;
            bench.codes(&["222222"]);
            bench.answer(Some(&gone), "222222").await.unwrap();
            assert_eq!(bench.served(&stays).await, bench.served(&gone).await);
        });
    }
}
