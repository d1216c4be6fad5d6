//! Which STS is asked, for which region, and who vouches for it.

use super::*;
use crate::support::authority::Authority;

const REGION: &str = "AWS_REGION";
const CA_BUNDLE: &str = "AWS_CA_BUNDLE";

/// A profile with a role, and one with the keys that it is assumed with.
fn profiles(role: &str, of_role: &str, of_keys: &str) -> String {
    format!(
        "[profile deploy]\nrole_arn = {role}\nsource_profile = ops\n{of_role}\n\
         [profile ops]\naws_access_key_id = {OPS_KEY}\naws_secret_access_key = {OPS_SECRET}\n\
         {of_keys}\n"
    )
}

/// The region that the role's question is signed for.
async fn scope(role: &str, of_role: &str, variables: &[(&str, &str)]) -> String {
    let ground = Ground::new().await;
    let mut ground = ground.profiles(&profiles(role, of_role, ""));
    for (name, value) in variables {
        ground = ground.set(name, *value);
    }
    let house = ground.open(&[("deploy", profile("deploy"))]);
    house.warm().await;
    let seen = house.calls_for(role).pop().unwrap();
    seen.signing_region().unwrap()
}

#[test]
fn the_region_is_the_environments_the_profiles_or_that_of_the_roles_partition() {
    run(async || {
        let china = DEPLOY.replace("arn:aws:", "arn:aws-cn:");
        let gov = DEPLOY.replace("arn:aws:", "arn:aws-us-gov:");
        let own = "region = eu-north-1";
        for (role, of_role, variables, region) in [
            (DEPLOY, "", &[][..], "us-east-1"),
            (DEPLOY, own, &[], "eu-north-1"),
            (DEPLOY, own, &[(REGION, "ap-south-1")], "ap-south-1"),
            (
                DEPLOY,
                "",
                &[("AWS_DEFAULT_REGION", "sa-east-1")],
                "sa-east-1",
            ),
            (&china, "", &[], "cn-north-1"),
            (&gov, "", &[], "us-gov-west-1"),
            (&china, "region = cn-northwest-1", &[], "cn-northwest-1"),
        ] {
            let signed_for = scope(role, of_role, variables).await;
            assert_eq!(signed_for, region, "{role}, {of_role}, {variables:?}");
        }
    });
}

#[test]
fn each_hop_is_asked_in_the_region_of_the_profile_that_is_meant() {
    run(async || {
        let ground = Ground::new().await.profiles(&format!(
            "[profile billing]\nrole_arn = {BILLING}\nsource_profile = deploy\n\
             region = eu-north-1\n{}",
            profiles(DEPLOY, "", "")
        ));
        ground.aws.be_in_region("eu-north-1");
        let house = ground.open(&[("billing", profile("billing"))]);
        house.warm().await;
        assert_eq!(house.failure("billing"), None);
        for role in [DEPLOY, BILLING] {
            let seen = house.calls_for(role).pop().unwrap();
            assert_eq!(seen.signing_region().as_deref(), Some("eu-north-1"));
        }
    });
}

#[test]
fn a_services_section_and_an_endpoint_url_of_the_profile_lead_elsewhere() {
    run(async || {
        for form in ["endpoint_url = URL", "services = local"] {
            let mut ground = Ground::new().await;
            ground.variables.clear();
            let text = profiles(DEPLOY, form, "")
                + "[services local]\nsts =\n  endpoint_url = URL\n\
                   s3 =\n  endpoint_url = http://127.0.0.1:1\n";
            let text = text.replace("URL", &ground.aws.url());
            let ground = ground.profiles(&text);
            let house = ground.open(&[("deploy", profile("deploy"))]);
            house.warm().await;
            assert_eq!(house.failure("deploy"), None, "{form}");
            assert!(house.key("deploy").is_some());
        }
    });
}

#[test]
fn the_environments_endpoint_outranks_the_profiles() {
    run(async || {
        let elsewhere = "endpoint_url = http://127.0.0.1:1";
        let ground = Ground::new().await;
        let ground = ground.profiles(&profiles(DEPLOY, elsewhere, elsewhere));
        let house = ground.open(&[("deploy", profile("deploy"))]);
        house.warm().await;
        assert_eq!(house.failure("deploy"), None);
    });
}

#[test]
fn an_endpoint_beyond_this_host_is_never_asked_without_tls() {
    run(async || {
        let ground = Ground::new().await.set(ENDPOINT_URL, "http://192.0.2.1/");
        let keys = ground.keys();
        let house = ground.open(&[("deploy", role(named("ops"), DEPLOY)), ("ops", keys)]);
        house.warm().await;
        let failure = house.failure("deploy").unwrap();
        assert_eq!(failure.class.as_str(), "misconfigured");
        assert!(failure.message.contains("192.0.2.1"), "{failure}");
    });
}

#[test]
fn the_ca_bundle_of_a_profile_vouches_unless_the_environment_names_another() {
    for (is_right, is_outranked) in [(true, false), (false, false), (true, true)] {
        run(async move || {
            let (authority, stranger) = (Authority::new(), Authority::new());
            let ground = Ground::with_tls(authority.vouch("127.0.0.1", |_| ())).await;
            let bundle = |authority: &Authority, name: &str| {
                let folder = ground.folder.path().join(name);
                std::fs::create_dir(&folder).unwrap();
                let Roots::File(path) = authority.roots(&folder) else {
                    panic!("no file");
                };
                path.display().to_string()
            };
            let (right, wrong) = (bundle(&authority, "right"), bundle(&stranger, "wrong"));
            let named = format!("ca_bundle = {}", if is_right { &right } else { &wrong });
            let mut ground = ground.profiles(&profiles(DEPLOY, &named, &named));
            if is_outranked {
                ground = ground.set(CA_BUNDLE, wrong);
            }
            let house = ground.open(&[("deploy", profile("deploy"))]);
            house.warm().await;
            let failure = house.failure("deploy");
            if is_right && !is_outranked {
                assert_eq!(failure, None);
                assert!(house.key("deploy").is_some());
            } else {
                let failure = failure.unwrap();
                assert_eq!(failure.class.as_str(), "misconfigured", "{failure}");
                assert!(failure.message.contains("certificate"), "{failure}");
                assert_eq!(house.aws.calls(), 0);
            }
        });
    }
}
