//! What a reload does to identities.

use std::time::Duration;

use credd::clock::{Clock, SystemClock};

use super::{container, list, listening, reload, reloaded, write};
use crate::commands::aws::{self, beside_aws};
use crate::serving::eventually;
use crate::serving::program::{Place, Running};
use crate::serving::upstream::{self, Upstream};
use crate::support::fake_aws::{Call, Role};

fn answering() -> Upstream {
    let expiry = SystemClock::new().now().plus(Duration::from_hours(6));
    Upstream::answering(upstream::credentials(expiry))
}

#[test]
fn only_identities_that_have_changed_ask_their_upstream_again() {
    let [kept, changed, other, removed] = std::array::from_fn(|_| answering());
    let place = Place::bare();
    let http = listening("127.0.0.1:0");
    let before = [
        http.clone(),
        container("kept", &kept.uri("/")),
        container("changed", &changed.uri("/")),
        container("removed", &removed.uri("/")),
    ];
    write(&place, &before.concat());
    let _daemon = place.serve();
    place.warm();
    let address = place.address();
    let after = [
        http,
        container("kept", &kept.uri("/")),
        container("changed", &other.uri("/")),
        container("added", &other.uri("/added")),
    ];
    let report = reloaded(&place, &after.concat());
    assert_eq!(list(&report, "identities", "kept"), ["kept"]);
    assert_eq!(list(&report, "identities", "restarted"), ["changed"]);
    assert_eq!(list(&report, "identities", "started"), ["added"]);
    assert_eq!(list(&report, "identities", "ended"), ["removed"]);
    assert_eq!(report["unresolved"].as_array().unwrap().len(), 0);
    assert_eq!([kept.calls(), changed.calls(), removed.calls()], [1, 1, 1]);
    assert_eq!(other.calls(), 2);
    assert_eq!(place.address(), address);
    for served in ["kept", "changed", "added"] {
        assert!(place.run(&["get", served]).is_success(), "{served}");
    }
    assert!(!place.run(&["get", "removed"]).is_success());
    // Nothing has changed, so nothing is done.
    let report = place.run(&["reload", "--json"]).json();
    assert_eq!(list(&report, "identities", "kept").len(), 3);
    assert_eq!(other.calls() + kept.calls(), 3);
}

#[test]
fn a_config_with_problems_is_cited_and_the_one_before_stays_whole() {
    let upstream = answering();
    let place = Place::new(&[("default", upstream.uri("/"))]);
    let daemon = place.serve();
    place.warm();
    let config = "[identity.default]\nprovider = \"container\"\nurl = \"http://127.0.0.1/\"\n\
        [identity.more]\nprovider = \"enviroment\"\n";
    write(&place, config);
    let said = place.run(&["reload"]);
    assert_eq!(said.code(), Some(1), "{said:?}");
    let path = place.config();
    for cited in ["3:1: ", "5:12: "] {
        let cited = format!("{}:{cited}", path.display());
        assert!(said.stderr.contains(&cited), "{said:?}");
    }
    assert_eq!(said.stdout, "");
    let report = place.run(&["reload", "--json"]);
    assert_eq!(report.code(), Some(1));
    assert!(report.stdout.contains("\"applied\":false"), "{report:?}");
    assert!(place.run(&["get"]).is_success());
    assert_eq!(upstream.calls(), 1);
    assert!(daemon.output().contains("the one before stays in force"));
    // One that was started with a file does not go on without.
    std::fs::remove_file(&path).unwrap();
    let said = place.run(&["reload"]);
    assert!(said.stderr.contains("create it"), "{said:?}");
    assert!(place.run(&["get"]).is_success());
}

#[test]
fn what_others_could_have_written_is_not_reloaded() {
    use std::os::unix::fs::PermissionsExt;

    let upstream = answering();
    let place = Place::new(&[("default", upstream.uri("/"))]);
    let _daemon = place.serve();
    place.warm();
    let anybodys = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(place.config(), anybodys).unwrap();
    let said = place.run(&["reload"]);
    assert_eq!(said.code(), Some(1), "{said:?}");
    assert!(
        said.stderr.contains("nobody else could have written it"),
        "{said:?}"
    );
    assert!(place.run(&["get"]).is_success());
}

#[test]
fn an_identity_that_cannot_be_resolved_is_said_to_be_and_the_others_go_on() {
    let upstream = answering();
    let place = Place::new(&[("default", upstream.uri("/"))]);
    let _daemon = place.serve();
    place.warm();
    let http = listening("127.0.0.1:0");
    let good = container("default", &upstream.uri("/"));
    let bad = "[identity.bad]\nprovider = \"profile\"\nprofile = \"nobody\"\n";
    let report = reloaded(&place, &[http.as_str(), &good, bad].concat());
    assert_eq!(report["unresolved"][0]["identity"], "bad");
    assert_eq!(list(&report, "identities", "kept"), ["default"]);
    assert!(place.run(&["get", "default"]).is_success());
    assert_eq!(upstream.calls(), 1);
}

const DEPLOY: &str = "arn:aws:iam::123456789012:role/deploy";
const AUDIT: &str = "arn:aws:iam::123456789012:role/audit";
const DEVICE: &str = "arn:aws:iam::123456789012:mfa/ops";

fn keys_and_session() -> String {
    format!(
        "[identity.ops]\nprovider = \"environment\"\n\
         [identity.ops-mfa]\nprovider = \"session-token\"\nfrom = \"ops\"\n\
         mfa-serial = \"{DEVICE}\"\nregion = \"eu-west-1\"\n"
    )
}

fn role(name: &str, arn: &str, more: &str) -> String {
    format!(
        "[identity.{name}]\nprovider = \"assume-role\"\nfrom = \"ops-mfa\"\nrole-arn = \"{arn}\"\n\
         region = \"eu-west-1\"\n{more}"
    )
}

#[test]
fn a_session_with_mfa_outlives_reloads_and_no_code_is_asked_again() {
    beside_aws(|aws| {
        aws.mfa_device(aws::OPS, DEVICE);
        aws.mfa_codes(DEVICE, &["123456"]);
        for arn in [DEPLOY, AUDIT] {
            aws.role(Role::new(arn).trusting(aws::OPS));
        }
        let place = Place::bare();
        let http = listening("127.0.0.1:0");
        let before = [http.clone(), keys_and_session(), role("deploy", DEPLOY, "")];
        write(&place, &before.concat());
        let mut command = aws::credd(&place, aws, &["serve"]);
        let _daemon = place.serving(aws::with_keys(&mut command));
        place.run(&["refresh"]);
        place.answer("123456");
        place.warm();
        assert_eq!(aws.count(Call::GetSessionToken), 1);
        assert_eq!(aws.count(Call::AssumeRole), 1);
        // A role beside it, and the first one changed: the session is the same.
        let after = [
            http,
            keys_and_session(),
            role("deploy", DEPLOY, "lifetime = \"30m\"\n"),
            role("audit", AUDIT, ""),
        ];
        let report = reloaded(&place, &after.concat());
        assert_eq!(list(&report, "identities", "kept"), ["ops", "ops-mfa"]);
        assert_eq!(list(&report, "identities", "restarted"), ["deploy"]);
        assert_eq!(list(&report, "identities", "started"), ["audit"]);
        assert_eq!(report["unresolved"].as_array().unwrap().len(), 0);
        assert_eq!(aws.count(Call::GetSessionToken), 1);
        assert_eq!(aws.count(Call::AssumeRole), 3);
        // The session's own definition is another: what is derived from it restarts, and yet
        // nobody is asked for a code, since whose session it is has not changed.
        let longer = after
            .concat()
            .replace("[identity.deploy]", "lifetime = \"10h\"\n[identity.deploy]");
        let report = reloaded(&place, &longer);
        assert_eq!(list(&report, "identities", "kept"), ["ops"]);
        let restarted = list(&report, "identities", "restarted");
        assert_eq!(restarted, ["audit", "deploy", "ops-mfa"]);
        assert_eq!(report["unresolved"].as_array().unwrap().len(), 0);
        assert_eq!(aws.count(Call::GetSessionToken), 1);
        assert_eq!(place.challenges(), 0);
        // So it is when people are told at other times.
        let told = [longer.as_str(), "[mfa]\nwarn = [\"2h\", \"30m\"]\n"].concat();
        let report = reloaded(&place, &told);
        assert_eq!(report["settings"], serde_json::json!(["mfa"]));
        assert_eq!(aws.count(Call::GetSessionToken), 1);
    });
}

#[test]
fn hang_up_reloads_too_and_the_outcome_is_logged() {
    let upstream = answering();
    let place = Place::new(&[("default", upstream.uri("/"))]);
    let mut daemon = place.serve();
    place.warm();
    let more = container("more", &upstream.uri("/more"));
    aws::configure(&place, &more);
    daemon.signal(rustix::process::Signal::HUP);
    eventually("the new identity is served", || {
        place.run(&["get", "more"]).is_success().then_some(())
    });
    assert!(daemon.output().contains("reloaded"), "{}", daemon.output());
    aws::configure(&place, "nonsense");
    daemon.signal(rustix::process::Signal::HUP);
    eventually("the outcome is logged", || {
        daemon.output().contains("cannot be used").then_some(())
    });
    assert!(daemon.try_end().is_none());
    assert_eq!(reload(&place, &more).code(), Some(0));
}

#[test]
fn a_lease_opens_as_much_as_the_rules_in_force_would_grant_its_holder() {
    let upstream = answering();
    let place = Place::bare();
    let http = listening("127.0.0.1:0");
    let [first, second] = ["first", "second"].map(|name| container(name, &upstream.uri("/")));
    write(&place, &[http.as_str(), &first, &second].concat());
    let _daemon = place.serve();
    place.warm();
    let script = r#"echo "url $AWS_CONTAINER_CREDENTIALS_FULL_URI"
        echo "token $AWS_CONTAINER_AUTHORIZATION_TOKEN"
        exec sleep 1000"#;
    let shown = place.folder().join("shown");
    let mut running = Running::start(&mut place.exec(&["first"], script), &shown);
    let (url, token) = (running.line("url "), running.line("token "));
    assert_eq!(crate::commands::status(&url, &token), Some(200));
    // Another config that grants it, too.
    reloaded(&place, &[http.as_str(), &first].concat());
    assert_eq!(crate::commands::status(&url, &token), Some(200));
    // One that has no such identity, and then has it again.
    reloaded(&place, &[http.as_str(), &second].concat());
    assert_eq!(crate::commands::status(&url, &token), Some(404));
    reloaded(&place, &[http.as_str(), &first, &second].concat());
    assert_eq!(crate::commands::status(&url, &token), Some(200));
}
