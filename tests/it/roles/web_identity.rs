//! Roles by tokens that somebody else has issued.

use super::*;

const SUBJECT: &str = "system:serviceaccount:shop:billing";
const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const ROLE_ARN: &str = "AWS_ROLE_ARN";
const SESSION_NAME: &str = "AWS_ROLE_SESSION_NAME";

/// A ground with a token of which AWS knows.
async fn ground() -> (Ground, String) {
    let ground = Ground::new().await;
    ground.aws.role(Role::new(DEPLOY).trusting(SUBJECT));
    ground.aws.web_identity("CANARY.one+/=", SUBJECT);
    let path = ground.write("token", "CANARY.one+/=\n");
    (ground, path.display().to_string())
}

fn calls(house: &House) -> Vec<Seen> {
    let mut seen = house.aws.seen();
    seen.retain(|seen| seen.call == Call::AssumeRoleWithWebIdentity);
    seen
}

fn from_environment() -> Link {
    Link::WebIdentity(credd::providers::web_identity::Config::Environment)
}

#[test]
fn the_variables_of_eks_make_a_role_without_a_signature() {
    run(async || {
        let (ground, path) = ground().await;
        let ground = ground.set(TOKEN_FILE, path).set(ROLE_ARN, DEPLOY);
        let ground = ground
            .set("AWS_REGION", "eu-west-1")
            .set(SESSION_NAME, "pod-1");
        let house = ground.open(&[("deploy", from_environment())]);
        house.warm().await;
        assert_eq!(house.failure("deploy"), None);
        assert!(house.key("deploy").is_some());
        let seen = calls(&house).pop().unwrap();
        assert_eq!(seen.header("Authorization"), None);
        assert_eq!(seen.header("X-Amz-Security-Token"), None);
        assert_eq!(seen.parameter("WebIdentityToken"), Some("CANARY.one+/="));
        assert_eq!(seen.parameter("RoleSessionName"), Some("pod-1"));
        assert_eq!(seen.parameter("DurationSeconds"), None);
    });
}

#[test]
fn the_token_is_read_for_each_refresh() {
    run(async || {
        let (ground, path) = ground().await;
        let ground = ground.set(TOKEN_FILE, path).set(ROLE_ARN, DEPLOY);
        let house = ground.open(&[("deploy", from_environment())]);
        house.warm().await;
        house.aws.web_identity("CANARY.two", SUBJECT);
        house.write("token", "CANARY.two");
        house.refresh("deploy").await;
        let seen = calls(&house).pop().unwrap();
        assert_eq!(seen.parameter("WebIdentityToken"), Some("CANARY.two"));

        // It has expired, and its writer is late.
        house.aws.expire_web_identity("CANARY.two");
        house.refresh("deploy").await;
        let failure = house.failure("deploy").unwrap();
        assert_eq!(failure.class.as_str(), "transient");
        assert!(failure.message.contains("token has expired"), "{failure}");
        assert!(house.key("deploy").is_some());
        house.write("token", "CANARY.one+/=");
        house.pass(MINUTE, SECOND, |_| ()).await;
        assert_eq!(house.failure("deploy"), None);

        // While it is being written, and gone.
        for gone in [false, true] {
            house.write("token", "\n");
            if gone {
                std::fs::remove_file(house.folder.path().join("token")).unwrap();
            }
            let before = house.aws.calls();
            house.refresh("deploy").await;
            let failure = house.failure("deploy").unwrap();
            assert!(failure.message.contains("token"), "{failure}");
            assert_eq!(house.aws.calls(), before);
            assert!(house.key("deploy").is_some());
        }
        house.write("token", "CANARY.one+/=");
        house.pass(2 * MINUTE, SECOND, |_| ()).await;
        assert_eq!(house.failure("deploy"), None);
        assert!(!house.journal.text().contains(CANARY));
    });
}

#[test]
fn a_token_that_is_replaced_costs_no_call_while_the_set_in_hand_is_good() {
    run(async || {
        let (ground, path) = ground().await;
        let ground = ground.set(TOKEN_FILE, path).set(ROLE_ARN, DEPLOY);
        let house = ground.open(&[("deploy", from_environment())]);
        house.warm().await;
        // What is there at the first look is what has always been there.
        house.pass(10 * SECOND, SECOND, |_| ()).await;
        house.aws.web_identity("CANARY.two", SUBJECT);
        house.write("token", "CANARY.two");
        house.pass(MINUTE, SECOND, |_| ()).await;
        assert_eq!(calls(&house).len(), 1);
        // Until the next is due anyway.
        let due = house.snapshot("deploy").due.unwrap();
        let left = house.clock.boot().until(due);
        house.pass(left, 5 * SECOND, |_| ()).await;
        assert_eq!(calls(&house).len(), 2);
        let seen = calls(&house).pop().unwrap();
        assert_eq!(seen.parameter("WebIdentityToken"), Some("CANARY.two"));

        // One that AWS does not take is replaced at once, however long the next attempt is put off.
        house.aws.expire_web_identity("CANARY.two");
        let is_put_off = || {
            let due = house.snapshot("deploy").due.unwrap();
            house.clock.boot().until(due) > 10 * SECOND
        };
        while house.failure("deploy").is_none() || !is_put_off() {
            house.refresh("deploy").await;
        }
        house.write("token", "CANARY.one+/=");
        house.pass(6 * SECOND, SECOND, |_| ()).await;
        assert_eq!(house.failure("deploy"), None);
        let spent = calls(&house).len();
        house.write("token", "CANARY.one+/=\n");
        house.pass(MINUTE, SECOND, |_| ()).await;
        assert_eq!(calls(&house).len(), spent);
    });
}

#[test]
fn half_of_the_variables_is_a_mistake_or_nothing() {
    for (variables, class, said) in [
        (
            &[(TOKEN_FILE, "/t")][..],
            "misconfigured",
            "AWS_ROLE_ARN is not",
        ),
        (
            &[(TOKEN_FILE, "/t"), (ROLE_ARN, "deploy")],
            "misconfigured",
            "AWS_ROLE_ARN is not the ARN of a role",
        ),
        (
            &[
                (TOKEN_FILE, "/t"),
                (ROLE_ARN, DEPLOY),
                (SESSION_NAME, "a b"),
            ],
            "misconfigured",
            "AWS_ROLE_SESSION_NAME",
        ),
        (
            &[(ROLE_ARN, DEPLOY)],
            "misconfigured",
            "no source of credentials is configured (web identity: AWS_WEB_IDENTITY_TOKEN_FILE",
        ),
        (
            &[(TOKEN_FILE, "/nowhere/t"), (ROLE_ARN, DEPLOY)],
            "misconfigured",
            "/nowhere/t",
        ),
    ] {
        run(async move || {
            let mut ground = Ground::new().await;
            for (name, value) in variables {
                ground = ground.set(name, *value);
            }
            let house = ground.open(&[("deploy", from_environment())]);
            house.warm().await;
            let failure = house.failure("deploy").unwrap();
            assert_eq!(failure.class.as_str(), class, "{failure}");
            assert!(failure.message.contains(said), "{failure}");
            assert_eq!(house.aws.calls(), 0);
        });
    }
}

#[test]
fn a_profile_names_role_and_token_and_others_build_on_it() {
    run(async || {
        let (ground, path) = ground().await;
        let ground = ground.profiles(&format!(
            "[profile billing]\nrole_arn = {BILLING}\nsource_profile = pod\n\
             [profile pod]\nrole_arn = {DEPLOY}\nweb_identity_token_file = {path}\n\
             role_session_name = pod\nduration_seconds = 900\nregion = eu-north-1\n"
        ));
        let house = ground.open(&[("billing", profile("billing")), ("pod", profile("pod"))]);
        house.warm().await;
        for name in ["billing", "pod"] {
            assert_eq!(house.failure(name), None);
            assert!(house.key(name).is_some());
        }
        let seen = calls(&house).pop().unwrap();
        assert_eq!(seen.parameter("RoleSessionName"), Some("pod"));
        assert_eq!(seen.parameter("DurationSeconds"), Some("900"));
        assert_eq!(house.calls_for(BILLING).len(), 1);
    });
}

#[test]
fn a_token_that_no_provider_vouches_for_is_a_matter_for_people() {
    run(async || {
        let (ground, path) = ground().await;
        ground.write("token", "CANARY.unknown");
        let ground = ground.set(TOKEN_FILE, path).set(ROLE_ARN, DEPLOY);
        let house = ground.open(&[("deploy", from_environment())]);
        house.warm().await;
        let failure = house.failure("deploy").unwrap();
        assert_eq!(failure.class.as_str(), "misconfigured");
        assert!(
            failure.message.contains("OpenID Connect provider"),
            "{failure}"
        );
        assert!(!format!("{failure:?}").contains(CANARY));
    });
}
