//! explain: why an identity has the credentials that it has, and why a program does not use credd.

use std::process::{Command, Stdio};

use credd::os::files;
use serde_json::Value;

use super::aws::{OPS, beside_aws, configure, credd, with_keys, write_profiles};
use crate::serving::program::{Place, Running, Said};
use crate::support::fake_aws::{Call, Role};

const ROLE: &str = "arn:aws:iam::123456789012:role/billing";

#[test]
fn keys_in_the_environment_are_seen_to_shadow_the_role_of_the_instance() {
    beside_aws(|aws| {
        let place = Place::bare();
        let _daemon = place.serving(with_keys(&mut credd(&place, aws, &["serve"])));
        place.warm();
        let said = place.run(&["explain"]).data();
        let mut lines = said.lines();
        assert_eq!(
            lines.next(),
            Some(
                "default: environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) shadows instance \
                 metadata (role app)"
            )
        );
        assert_eq!(
            lines.next(),
            Some(
                "  → unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY in credd's environment, or give \
                 the identity `provider = \"imds\"`"
            )
        );
        let served = lines.next().unwrap();
        assert!(
            served.starts_with("  served now: session of environment, fresh, "),
            "{said}"
        );
        let rows: Vec<&str> = lines.skip(1).map(str::trim).collect();
        for (row, (name, outcome)) in rows.iter().zip([
            ("environment", "chosen"),
            ("profile", "skipped"),
            ("web identity", "skipped"),
            ("container endpoint", "skipped"),
            ("instance metadata", "shadowed"),
        ]) {
            let rest = row.strip_prefix(name).unwrap_or_else(|| panic!("{said}"));
            assert!(rest.trim_start().starts_with(outcome), "{said}");
        }
        assert_eq!(rows.len(), 5, "{said}");
        assert!(rows[4].ends_with("role app (by environment)"), "{said}");
        assert!(said.lines().count() < 24 && !said.contains("CANARY"));
        // Nobody was asked for credentials that are not used.
        assert_eq!(aws.count(Call::Role), 0);
        assert_eq!(aws.count(Call::GetSessionToken), 1);
        let report = place.run(&["explain", "default", "--json"]).json();
        let explained = &report["identities"][0];
        assert_eq!(explained["name"], "default");
        assert_eq!(explained["links"][0]["outcome"], "chosen");
        assert_eq!(explained["links"][0]["shadows"][0], "instance metadata");
        assert_eq!(explained["links"][4]["shadowed-by"], "environment");
        assert_eq!(explained["status"]["is-served"], true);
        assert_eq!(report["client"], Value::Null);
    });
}

#[test]
fn the_role_of_an_instance_alone_is_chosen_and_asked_for_once() {
    beside_aws(|aws| {
        let place = Place::bare();
        configure(&place, "[identity.a]\n[identity.b]\n");
        let _daemon = place.serving(&mut credd(&place, aws, &["serve"]));
        place.warm();
        let before = aws.count(Call::List);
        let said = place.run(&["explain"]).data();
        assert!(
            said.starts_with("a: instance metadata (role app)\n"),
            "{said}"
        );
        assert!(
            said.contains("\nb: instance metadata (role app)\n"),
            "{said}"
        );
        assert!(!said.contains('→'), "{said}");
        assert_eq!(aws.count(Call::List), before + 1);
        let said = place.run(&["explain", "b"]).data();
        assert!(said.starts_with("b: "), "{said}");
        let said = place.run(&["explain", "c"]);
        assert_eq!((said.code(), said.stdout.as_str()), (Some(1), ""));
        assert!(said.stderr.contains("no identity of this name"), "{said:?}");
    });
}

#[test]
fn a_profile_is_followed_to_the_keys_at_its_end_and_nobody_is_asked() {
    beside_aws(|aws| {
        aws.role(Role::new(ROLE).trusting(OPS));
        let place = Place::bare();
        write_profiles(
            &place,
            &format!(
                "[profile ops]\naws_access_key_id = {}\naws_secret_access_key = CANARY-ops\n\
                 [profile billing]\nrole_arn = {ROLE}\nsource_profile = ops\n\
                 mfa_serial = arn:aws:iam::123456789012:mfa/ops\n\
                 [profile loop]\nrole_arn = {ROLE}\nsource_profile = none\n",
                super::aws::OPS_KEY
            ),
        );
        configure(
            &place,
            "[identity.billing]\nprovider = \"profile\"\nprofile = \"billing\"\n\
             [identity.loop]\nprovider = \"profile\"\nprofile = \"loop\"\n\
             [identity.ops]\nprovider = \"profile\"\nprofile = \"ops\"\n",
        );
        let _daemon = place.serving(&mut credd(&place, aws, &["serve"]));
        let conclusion = |identity: &str| {
            let said = place.run(&["explain", identity]).data();
            let first = said.lines().next().unwrap().to_owned();
            (first, said)
        };
        let (first, said) = conclusion("billing");
        assert_eq!(
            first,
            "billing: profile (billing: role billing ← session with a code of MFA device \
             arn:aws:iam::123456789012:mfa/ops ← long-lived keys of profile ops)",
            "{said}"
        );
        let (first, _) = conclusion("ops");
        assert_eq!(
            first,
            "ops: profile (ops: session ← long-lived keys of profile ops)"
        );
        let (first, said) = conclusion("loop");
        assert_eq!(first, "loop: profile is configured and cannot work");
        assert!(
            said.contains("could not find source profile none"),
            "{said}"
        );
        assert!(!said.contains("CANARY"), "{said}");
    });
}

#[test]
fn what_was_set_but_cannot_work_is_told_apart_from_what_is_not_set() {
    beside_aws(|aws| {
        let place = Place::bare();
        let mut serve = credd(&place, aws, &["serve"]);
        serve
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/token")
            .env("AWS_ROLE_ARN", ROLE)
            .env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/CANARY");
        let _daemon = place.serving(&mut serve);
        let said = place.run(&["explain"]).data();
        let conclusion = said.lines().next().unwrap();
        assert!(
            conclusion
                .starts_with("default: web identity is configured and cannot work, and keeps"),
            "{said}"
        );
        assert!(said.contains("cannot read the web identity token /nonexistent/token"));
        assert!(said.contains("169.254.170.2 by AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"));
        assert!(!said.contains("CANARY"), "{said}");
    });
}

#[test]
fn a_process_whose_keys_outrank_the_endpoint_is_told_which() {
    let (place, _upstream) = super::place();
    let _daemon = place.serve();
    let token_file = place.token_file();
    let url = format!("http://{}/v1/credentials", place.address());
    let mut program = Command::new("sleep");
    program
        .arg("600")
        .stdin(Stdio::null())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", place.home())
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url)
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token_file);
    let good = Running::start(&mut program, &place.folder().join("good"));
    program
        .env("AWS_ACCESS_KEY_ID", "AKIACANARY")
        .env("AWS_SECRET_ACCESS_KEY", "CANARY");
    let other = Running::start(&mut program, &place.folder().join("other"));
    let explain = |words: &[&str]| place.run(&[&["explain"], words].concat());

    let said = explain(&["--pid", &good.id().to_string()]).data();
    let first = format!("process {} uses credd\n", good.id());
    assert!(said.starts_with(&first), "{said}");
    let pid = other.id().to_string();
    let said = explain(&["--pid", &pid]).data();
    let first = format!(
        "process {pid} does not come as far as credd\n  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: \
         keys come first in every SDK\n  → unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY where"
    );
    assert!(said.starts_with(&first), "{said}");
    assert!(!said.contains("CANARY"), "{said}");
    let report = explain(&["--pid", &pid, "--json"]).json();
    assert_eq!(report["client"]["uses-credd"], false);
    assert_eq!(report["client"]["findings"][0]["effect"], "outranks");
    assert_eq!(report["identities"], Value::Array(Vec::new()));
    // With an identity both are told.
    let said = explain(&["default", "--pid", &pid]).data();
    assert!(said.contains("\ndefault: container endpoint ("), "{said}");

    let said = explain(&["--pid", &u32::MAX.to_string()]);
    assert_eq!((said.code(), said.stdout.as_str()), (Some(1), ""));
    assert!(said.stderr.contains("there is no process"), "{said:?}");
}

#[test]
fn the_environment_of_a_service_is_read_from_its_file() {
    let (place, _upstream) = super::place();
    let _daemon = place.serve();
    let file = place.folder().join("app.env");
    let explain = |text: &str| {
        files::write_private(&file, text.as_bytes()).unwrap();
        Said::by(place.credd(&["explain", "--environment"]).arg(&file)).data()
    };
    let said = explain("AWS_REGION=eu-west-1\n");
    assert!(said.contains("gets nothing from credd"), "{said}");
    assert!(
        said.contains("AWS_CONTAINER_CREDENTIALS_FULL_URI: is not set"),
        "{said}"
    );
    let endpoint = format!(
        "export AWS_CONTAINER_CREDENTIALS_FULL_URI=\"http://{}/v1/credentials/default\"\n\
         AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE={}\n",
        place.address(),
        place.token_file().display()
    );
    let said = explain(&endpoint);
    assert!(said.contains("uses credd"), "{said}");
    assert!(said.contains("leads here, to identity default"), "{said}");
    let said = explain(&format!(
        "{endpoint}AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/CANARY\n"
    ));
    assert!(said.contains("does not come as far as credd"), "{said}");
    assert!(said.contains("in every SDK but Go's"), "{said}");
    assert!(!said.contains("CANARY"), "{said}");
    let absent = place.folder().join("absent");
    let said = Said::by(place.credd(&["explain", "--environment"]).arg(&absent));
    assert_eq!(said.code(), Some(1));
    assert!(said.stderr.contains("absent"), "{said:?}");
}
