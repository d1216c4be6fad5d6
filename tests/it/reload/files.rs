//! Files that change without a reload: whoever reads them follows, and nobody else.

use std::path::Path;
use std::time::Duration;

use credd::clock::{Clock, SystemClock};
use credd::os::files::write_private;

use super::{container, listening, write};
use crate::commands::aws::{self, OPS, OPS_KEY, OPS_SECRET, beside_aws, write_profiles};
use crate::serving::eventually;
use crate::serving::program::{Place, Running};
use crate::serving::upstream::{self, Upstream};
use crate::support::fake_aws::{Call, FakeAws, Role};

const DEPLOY: &str = "arn:aws:iam::123456789012:role/deploy";
const AUDIT: &str = "arn:aws:iam::123456789012:role/audit";
const DEVICE: &str = "arn:aws:iam::123456789012:mfa/ops";

fn keys(key: &str, secret: &str) -> String {
    format!("aws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
}

/// A profile `app` that assumes the role with the keys of `ops`.
fn profiles(role: &str, more: &str) -> String {
    format!(
        "[profile ops]\n{}[profile app]\nrole_arn = {role}\nsource_profile = ops\n\
         region = eu-west-1\n{more}",
        keys(OPS_KEY, OPS_SECRET)
    )
}

/// A daemon whose identities have made their first attempts.
fn serve(place: &Place, aws: &FakeAws, config: &str) -> Running {
    write(
        place,
        &[listening("127.0.0.1:0"), config.to_owned()].concat(),
    );
    let daemon = place.serving(&mut aws::credd(place, aws, &["serve"]));
    place.run(&["refresh"]);
    daemon
}

fn role_of(place: &Place, identity: &str) -> Option<String> {
    let status = place.run(&["status", "--json"]).json();
    let identities = status["identities"].as_array()?.iter();
    let mut meant = identities.filter(|it| it["name"] == identity && it["is-served"] == true);
    Some(meant.next()?["source"].as_str()?.to_owned())
}

#[test]
fn a_profile_that_is_edited_counts_soon_and_only_for_those_who_read_it() {
    beside_aws(|aws| {
        for role in [DEPLOY, AUDIT] {
            aws.role(Role::new(role).trusting(OPS));
        }
        let expiry = SystemClock::new().now().plus(Duration::from_hours(6));
        let upstream = Upstream::answering(upstream::credentials(expiry));
        let place = Place::bare();
        write_profiles(&place, &profiles(DEPLOY, ""));
        let identity = "[identity.app]\nprovider = \"profile\"\nprofile = \"app\"\n";
        let config = [identity, &container("other", &upstream.uri("/"))].concat();
        let _daemon = serve(&place, aws, &config);
        place.warm();
        let (before, others) = (aws.count(Call::AssumeRole), upstream.calls());
        // What somebody else's profile says is of no interest.
        write_profiles(
            &place,
            &profiles(DEPLOY, "[profile else]\nregion = eu-west-1\n"),
        );
        write_profiles(
            &place,
            &profiles(AUDIT, "[profile else]\nregion = eu-west-1\n"),
        );
        eventually("the other role is served", || {
            role_of(&place, "app")?
                .ends_with("role audit")
                .then_some(())
        });
        assert_eq!(aws.count(Call::AssumeRole), before + 1);
        assert_eq!(upstream.calls(), others);
    });
}

#[test]
fn a_profile_that_is_edited_while_a_code_is_awaited_needs_none_any_more() {
    beside_aws(|aws| {
        aws.mfa_device(OPS, DEVICE);
        aws.role(Role::new(DEPLOY).trusting(OPS));
        let place = Place::bare();
        write_profiles(
            &place,
            &profiles(DEPLOY, &format!("mfa_serial = {DEVICE}\n")),
        );
        let identity = "[identity.app]\nprovider = \"profile\"\nprofile = \"app\"\n";
        let _daemon = serve(&place, aws, identity);
        place.asks();
        write_profiles(&place, &profiles(DEPLOY, ""));
        place.warm();
        assert_eq!(place.challenges(), 0);
    });
}

#[test]
fn what_is_derived_from_keys_follows_when_they_are_replaced() {
    beside_aws(|aws| {
        aws.role(Role::new(DEPLOY).trusting(OPS));
        aws.user("AKIAFAKEUSER0002", "CANARY-new", OPS);
        let place = Place::bare();
        let secret = place.folder().join("secret");
        write_private(&secret, OPS_SECRET.as_bytes()).unwrap();
        let of_profile = |key: &str, secret: &str| format!("[profile ops]\n{}", keys(key, secret));
        write_profiles(&place, &of_profile(OPS_KEY, OPS_SECRET));
        let config = format!(
            "[identity.ops]\nprovider = \"profile\"\nprofile = \"ops\"\n\
             [identity.deploy]\nprovider = \"assume-role\"\nfrom = \"ops\"\n\
             role-arn = \"{DEPLOY}\"\nregion = \"eu-west-1\"\n"
        );
        let _daemon = serve(&place, aws, &config);
        eventually("the role is assumed", || role_of(&place, "deploy"));
        assert_eq!(aws.count(Call::AssumeRole), 1);
        write_profiles(&place, &of_profile("AKIAFAKEUSER0002", "CANARY-new"));
        let by_new_key = || {
            let mut seen = aws.seen().into_iter();
            seen.find(|it| it.signing_key().as_deref() == Some("AKIAFAKEUSER0002"))
        };
        eventually("the role is assumed with the new keys", by_new_key);
        assert_eq!(aws.count(Call::AssumeRole), 2);
    });
}

/// As Kubernetes updates a volume: another folder, to which a link is turned at once.
fn project(volume: &Path, generation: &str, token: &str) {
    let folder = volume.join(generation);
    std::fs::create_dir_all(&folder).unwrap();
    write_private(&folder.join("token"), token.as_bytes()).unwrap();
    let (beside, data) = (volume.join("..data_tmp"), volume.join("..data"));
    std::os::unix::fs::symlink(generation, &beside).unwrap();
    std::fs::rename(&beside, &data).unwrap();
    let _ = std::os::unix::fs::symlink("..data/token", volume.join("token"));
}

#[test]
fn a_token_in_the_place_of_one_that_has_expired_and_a_policy_that_is_edited_are_sent_soon() {
    beside_aws(|aws| {
        let cluster = "system:serviceaccount:default:app";
        aws.web_identity("first-token", cluster);
        aws.web_identity("second-token", cluster);
        aws.role(Role::new(DEPLOY).trusting(cluster));
        aws.role(Role::new(AUDIT).trusting(OPS));
        let place = Place::bare();
        write_profiles(
            &place,
            &format!("[profile ops]\n{}", keys(OPS_KEY, OPS_SECRET)),
        );
        let volume = place.folder().join("volume");
        project(&volume, "..1", "first-token");
        let policy = place.folder().join("policy.json");
        let narrow = |action: &str| format!("{{\"Version\":\"2012-10-17\",\"A\":\"{action}\"}}");
        write_private(&policy, narrow("one").as_bytes()).unwrap();
        let config = format!(
            "[identity.ops]\nprovider = \"profile\"\nprofile = \"ops\"\n\
             [identity.web]\nprovider = \"web-identity\"\nrole-arn = \"{DEPLOY}\"\n\
             token-file = \"{}\"\nregion = \"eu-west-1\"\n\
             [identity.narrow]\nprovider = \"assume-role\"\nfrom = \"ops\"\n\
             role-arn = \"{AUDIT}\"\nregion = \"eu-west-1\"\nsession-policy = \"policy.json\"\n",
            volume.join("token").display()
        );
        let _daemon = serve(&place, aws, &config);
        eventually("the role is assumed", || role_of(&place, "web"));
        eventually("the role is assumed", || role_of(&place, "narrow"));
        // Kubernetes was late.
        aws.expire_web_identity("first-token");
        assert!(!place.run(&["refresh", "web"]).is_success());
        project(&volume, "..2", "second-token");
        eventually("the second token is sent", || {
            let mut seen = aws.seen().into_iter();
            seen.find(|it| it.parameter("WebIdentityToken") == Some("second-token"))
        });
        let by_token = aws.count(Call::AssumeRoleWithWebIdentity);
        assert_eq!(aws.count(Call::AssumeRole), 1);
        write_private(&policy, narrow("two").as_bytes()).unwrap();
        eventually("the second policy is sent", || {
            let mut seen = aws.seen().into_iter();
            seen.find(|it| it.parameter("Policy") == Some(&narrow("two")))
        });
        assert_eq!(aws.count(Call::AssumeRoleWithWebIdentity), by_token);
        assert_eq!(aws.count(Call::AssumeRole), 2);
    });
}
