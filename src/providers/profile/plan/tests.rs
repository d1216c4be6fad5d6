use std::path::Path;

use super::*;
use crate::aws::profile_file::{FileKind, parse};
use proptest::prelude::*;

/// Profile `a` of a config in which `ops` has long-lived keys and `role:NAME` stands for the line
/// that names a role.
fn planned(config: &str, variables: &[(&str, &str)], makes_sessions: bool, runs: bool) -> String {
    let config = config
        .lines()
        .map(|line| match line.trim().strip_prefix("role:") {
            Some(name) => format!("role_arn = arn:aws:iam::123456789012:role/{name}\n"),
            None => format!("{}\n", line.trim()),
        })
        .collect::<Vec<_>>()
        .concat();
    let config = format!("{config}\n[profile ops]\n{}", keys("OPS"));
    let profiles = parse(FileKind::Config, Path::new("config"), &config).unwrap();
    let environment: Environment = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let locations = Locations::of(&environment);
    let reader = Reader {
        profiles: &profiles,
        locations: &locations,
        environment: &environment,
        mfa_code: &CodeSource::Ask,
        may_run_programs: runs,
        makes_sessions,
    };
    match reader.plan("a") {
        Ok(Plan::Keys) => "keys".to_owned(),
        Ok(Plan::Hop(link)) => shown(&link),
        Err(unclear) => format!("error: {unclear}"),
    }
}

fn keys(id: &str) -> String {
    format!("aws_access_key_id = AKIA{id}\naws_secret_access_key = CANARY\n")
}

fn shown(link: &Link) -> String {
    let origin = |from: &SourceIdentity| match from {
        SourceIdentity::Named(name) => name.to_string(),
        SourceIdentity::Unnamed(links) => links.iter().map(shown).collect(),
    };
    let name = |arn: &Arn| arn.role_name().to_owned();
    match link {
        Link::AssumeRole(config) => {
            let lifetime = config.lifetime.map(|it| format!("{}s", it.as_secs()));
            let as_name = config.session_name.as_ref();
            let parts = [
                Some(format!("role {}", name(&config.role_arn))),
                config.external_id.as_ref().map(|id| format!(" by {id}")),
                lifetime.map(|lifetime| format!(" for {lifetime}")),
                as_name.map(|name| format!(" as {}", name.filled("", ""))),
                Some(region(&config.settings)),
                Some(format!(" < {}", origin(&config.from))),
            ];
            parts.into_iter().flatten().collect()
        }
        Link::SessionToken(config) => {
            let mfa = config.mfa.as_ref();
            let mfa = mfa.map_or(String::new(), |mfa| format!(" with {}", mfa.serial));
            let region = region(&config.settings).replace(" in us-east-1", "");
            format!("session{mfa}{region} < {}", origin(&config.from))
        }
        Link::WebIdentity(web_identity::Config::Given(given)) => format!(
            "web identity {} {}{}",
            name(&given.role_arn),
            given.token_file.display(),
            region(&given.settings)
        ),
        Link::ProfileKeys(keys) => format!("keys of {}", keys.profile),
        Link::Process(_) => "process".to_owned(),
        Link::Environment => "environment".to_owned(),
        Link::Container(_) => "container".to_owned(),
        Link::InstanceMetadata(_) => "instance".to_owned(),
        other => format!("{other:?}"),
    }
}

fn region(settings: &Settings) -> String {
    let Settings::Profile(settings) = settings else {
        return " of the environment alone".to_owned();
    };
    let region = settings.region.as_ref();
    region.map_or(String::new(), |region| format!(" in {}", region.as_str()))
}

fn check(cases: &[(&str, &str)]) {
    for (config, expected) in cases {
        let config = format!("[profile a]\n{config}");
        let plan = planned(&config, &[], true, true);
        assert!(!plan.contains("CANARY"));
        if let Some(part) = expected.strip_prefix("error: ") {
            let is_told = plan
                .strip_prefix("error: ")
                .is_some_and(|it| it.contains(part));
            assert!(is_told, "{config}\nmeans {plan}\nnot {expected}");
        } else {
            assert_eq!(plan, *expected, "{config}");
        }
    }
}

const SESSION_KEYS: &str =
    "aws_access_key_id = ASIA\naws_secret_access_key = CANARY\naws_session_token = CANARY\n";

#[test]
fn keys_are_what_is_there_or_a_session_of_it() {
    let own = keys("A");
    let with_device = format!("{own}mfa_serial = dev");
    let session_with_device = format!("{SESSION_KEYS}mfa_serial = dev");
    check(&[
        (&own, "session < keys of a"),
        (&with_device, "session with dev < keys of a"),
        (SESSION_KEYS, "keys"),
        (&session_with_device, "keys"),
        // Whoever provides them says what is missing.
        ("", "keys"),
        ("aws_access_key_id = A", "session < keys of a"),
        ("aws_secret_access_key = CANARY", "session < keys of a"),
        ("region = eu-west-1", "keys"),
        ("source_profile =\nrole_arn =\n", "keys"),
    ]);
    let a_source = planned(&format!("[profile a]\n{with_device}"), &[], false, false);
    assert_eq!(a_source, "keys");
}

#[test]
fn a_role_is_assumed_with_the_keys_at_the_end_of_its_chain() {
    check(&[
        ("role:r\nsource_profile = ops", "role r < keys of ops"),
        (
            "role:r\nsource_profile = b\n[profile b]\nrole:s\nsource_profile = ops",
            "role r < role s < keys of ops",
        ),
        (
            "role:r\nsource_profile = ops\nexternal_id = x:1/2\nduration_seconds = 43200\n\
             role_session_name = me@example.com\nregion = eu-west-1",
            "role r by x:1/2 for 43200s as me@example.com in eu-west-1 < keys of ops",
        ),
        // A role outranks keys in the profile that is meant, and keys a role in its source.
        (
            "role:r\nsource_profile = ops\naws_access_key_id = A\naws_secret_access_key = CANARY",
            "role r < keys of ops",
        ),
        (
            "role:r\nsource_profile = b\n[profile b]\nrole:s\nsource_profile = ops\n\
             aws_access_key_id = A\naws_secret_access_key = CANARY",
            "role r < keys of b",
        ),
        (
            "role:r\nsource_profile = a\naws_access_key_id = A\naws_secret_access_key = CANARY",
            "role r < keys of a",
        ),
        // An empty source says what is missing once it is asked.
        (
            "role:r\nsource_profile = b\n[profile b]\n",
            "role r < keys of b",
        ),
        // Cases and spaces of a value are the reader's affair, order is none.
        ("SOURCE_PROFILE = ops\nrole:r", "role r < keys of ops"),
    ]);
}

#[test]
fn chains_that_lead_nowhere_are_told_in_the_words_of_the_sdks() {
    let hop = |number: usize| format!("role:r\nsource_profile = p{number}\n[profile p{number}]\n");
    let long = (1..40).map(hop).collect::<Vec<_>>().concat();
    check(&[
        (
            "role:r\nsource_profile = a",
            "error: profile formed an infinite loop. first we loaded [a], then attempted to \
             reload a",
        ),
        (
            "role:r\nsource_profile = b\n[profile b]\nrole:s\nsource_profile = a",
            "error: infinite loop. first we loaded [a, b], then attempted to reload a",
        ),
        (
            "role:r\nsource_profile = b\n[profile b]\nrole:s\nsource_profile = c\n\
             [profile c]\nrole:t\nsource_profile = b",
            "error: infinite loop. first we loaded [a, b, c], then attempted to reload b",
        ),
        (
            "role:r\nsource_profile = B",
            "error: could not find source profile B referenced from a",
        ),
        (
            "role:r\nsource_profile = \u{1b}[2J",
            "error: could not find source profile  [2J referenced",
        ),
        (
            "role:r",
            "error: a profile must contain `source_profile` or `credential_source` but neither \
             were defined",
        ),
        (
            "role:r\naws_access_key_id = A\naws_secret_access_key = CANARY",
            "error: a profile must contain `source_profile` or `credential_source` but neither \
             were defined (`source_profile = a` uses its own keys)",
        ),
        (
            "source_profile = ops",
            "error: profile `a` names a source but no `role_arn`",
        ),
        (
            "credential_source = Environment",
            "error: profile `a` names a source but no `role_arn`",
        ),
        (&long, "error: more than 16"),
    ]);
}

#[test]
fn two_sources_in_one_profile_are_an_error_that_names_both() {
    check(&[
        (
            "role:r\nsource_profile = ops\ncredential_source = Environment",
            "error: profile contained both source_profile and credential_source, but these \
             fields are mutually exclusive",
        ),
        (
            "role:r\nsource_profile = ops\nweb_identity_token_file = /t",
            "error: both `source_profile` and `web_identity_token_file`",
        ),
        (
            "role:r\ncredential_source = Environment\ncredential_process = p",
            "error: both `credential_source` and `credential_process`",
        ),
        (
            "role:r\nweb_identity_token_file = /t\naws_access_key_id = A",
            "error: both `web_identity_token_file` and `aws_access_key_id`",
        ),
        (
            "credential_process = p\naws_access_key_id = A\naws_secret_access_key = CANARY",
            "error: both `credential_process` and `aws_access_key_id`",
        ),
        (
            "credential_process = p\nsso_session = s",
            "error: both `credential_process` and `sso_session`",
        ),
        (
            "role:r\nsource_profile = b\n[profile b]\ncredential_process = p\nlogin_session = l",
            "error: profile `b` has both `credential_process` and `login_session`",
        ),
    ]);
}

#[test]
fn other_sources_than_profiles_are_named() {
    check(&[
        (
            "role:r\ncredential_source = Environment",
            "role r < environment",
        ),
        (
            "role:r\ncredential_source = EcsContainer",
            "role r < container",
        ),
        (
            "role:r\ncredential_source = Ec2InstanceMetadata",
            "role r < instance",
        ),
        (
            "role:r\ncredential_source = ec2instancemetadata",
            "role r < instance",
        ),
        (
            "role:r\ncredential_source = Lambda",
            "error: profile referenced `Lambda` provider but that provider is not supported",
        ),
        (
            "role:r\nsource_profile = b\n[profile b]\nrole:s\ncredential_source = EcsContainer",
            "role r < role s < container",
        ),
        (
            "role:w\nweb_identity_token_file = /var/t",
            "web identity w /var/t",
        ),
        (
            "role:r\nsource_profile = b\n[profile b]\nrole:w\nweb_identity_token_file = /t",
            "role r < web identity w /t",
        ),
        (
            "web_identity_token_file = /t",
            "error: `web_identity_token_file` was specified but `role_arn` was missing",
        ),
        ("credential_process = p CANARY", "process"),
        (
            "role:r\nsource_profile = b\n[profile b]\ncredential_process = p",
            "role r < process",
        ),
        (
            "sso_session = s\nsso_account_id = 1\nsso_role_name = r",
            "error: comes with a later version",
        ),
        (
            "sso_start_url = https://x",
            "error: comes with a later version",
        ),
        ("login_session = arn:x", "error: comes with a later version"),
        (
            "role:r\nsource_profile = b\n[profile b]\nsso_session = s",
            "error: profile `b` signs in through a browser",
        ),
    ]);
}

#[test]
fn programs_are_run_where_the_config_says_so() {
    for config in [
        "credential_process = p CANARY",
        "role:r\nsource_profile = b\n[profile b]\ncredential_process = p CANARY",
    ] {
        let plan = planned(&format!("[profile a]\n{config}"), &[], true, false);
        assert!(plan.contains("run-programs = true"), "{plan}");
        assert!(!plan.contains("CANARY"), "{plan}");
    }
}

#[test]
fn a_device_anywhere_in_a_chain_is_that_of_the_keys_at_its_end() {
    check(&[
        (
            "role:r\nsource_profile = ops\nmfa_serial = dev",
            "role r < session with dev < keys of ops",
        ),
        (
            "role:r\nsource_profile = b\nmfa_serial = dev\n[profile b]\nrole:s\n\
             source_profile = ops",
            "role r < role s < session with dev < keys of ops",
        ),
        (
            "role:r\nsource_profile = b\nmfa_serial = dev\n[profile b]\nmfa_serial = dev\n\
             aws_access_key_id = A\naws_secret_access_key = CANARY",
            "role r < session with dev < keys of b",
        ),
        (
            "role:r\nsource_profile = b\n[profile b]\nmfa_serial = dev\naws_access_key_id = A\n\
             aws_secret_access_key = CANARY",
            "role r < session with dev < keys of b",
        ),
        (
            "role:r\nsource_profile = a\nmfa_serial = dev\naws_access_key_id = A\n\
             aws_secret_access_key = CANARY",
            "role r < session with dev < keys of a",
        ),
        // Keys of a session need no code any more.
        (
            "role:r\nsource_profile = b\nmfa_serial = dev\n[profile b]\naws_access_key_id = A\n\
             aws_secret_access_key = CANARY\naws_session_token = CANARY",
            "role r < keys of b",
        ),
        (
            "role:r\nsource_profile = b\nmfa_serial = one\n[profile b]\nmfa_serial = two\n\
             aws_access_key_id = A\naws_secret_access_key = CANARY",
            "error: the profiles a, b name two MFA devices",
        ),
        (
            "role:r\nsource_profile = b\nmfa_serial = one\n[profile b]\nrole:s\n\
             mfa_serial = two\nsource_profile = ops",
            "error: name two MFA devices",
        ),
        (
            "role:r\nsource_profile = ops\nmfa_serial = dev\u{1b}[2J",
            "error: the `mfa_serial` `dev [2J` is not that of a device",
        ),
        (
            "role:r\ncredential_source = Environment\nmfa_serial = dev",
            "error: profile `a` has `credential_source` there",
        ),
        (
            "role:r\nsource_profile = b\nmfa_serial = dev\n[profile b]\ncredential_process = p",
            "error: profile `b` has `credential_process` there",
        ),
        (
            "role:r\nsource_profile = b\nmfa_serial = dev\n[profile b]\nrole:w\n\
             web_identity_token_file = /t",
            "error: profile `b` has `web_identity_token_file` there",
        ),
    ]);
}

#[test]
fn values_that_cannot_be_meant_are_refused() {
    check(&[
        (
            "role:r\nsource_profile = ops\nduration_seconds = 899",
            "error: from 900 to 43200",
        ),
        (
            "role:r\nsource_profile = ops\nduration_seconds = 43201",
            "error: `duration_seconds` of profile `a`",
        ),
        (
            "role:r\nsource_profile = ops\nduration_seconds = 1h",
            "error: `duration_seconds` of profile `a`",
        ),
        (
            "role:r\nsource_profile = ops\nduration_seconds = 900",
            "role r for 900s < keys of ops",
        ),
        (
            "role:r\nsource_profile = ops\nrole_session_name = a b",
            "error: `role_session_name` of profile `a`",
        ),
        (
            "role:r\nsource_profile = ops\nrole_session_name = {host}",
            "error: `role_session_name` of profile `a`",
        ),
        (
            "role_arn = arn:aws:iam::123456789012:user/u\nsource_profile = ops",
            "error: `role_arn` of profile `a` is not the ARN of a role",
        ),
        ("role_arn = r", "error: not the ARN of a role"),
        (
            "role:r\nsource_profile = ops\nregion = Not A Region",
            "error: the profile's `region` is no region",
        ),
        (
            "role:r\nsource_profile = ops\nservices = gone",
            "error: names a `[services …]` section that is not there",
        ),
    ]);
}

#[test]
fn a_hop_without_a_region_is_asked_where_the_profile_that_is_meant_is() {
    check(&[
        (
            "role:r\nsource_profile = b\nregion = eu-west-1\n[profile b]\nrole:s\n\
             source_profile = ops",
            "role r in eu-west-1 < role s in eu-west-1 < keys of ops",
        ),
        (
            "role:r\nsource_profile = b\nregion = eu-west-1\n[profile b]\nrole:s\n\
             source_profile = ops\nregion = eu-north-1",
            "role r in eu-west-1 < role s in eu-north-1 < keys of ops",
        ),
        (
            "role:r\nsource_profile = b\n[profile b]\nrole:s\nsource_profile = ops\n\
             region = eu-north-1",
            "role r < role s in eu-north-1 < keys of ops",
        ),
        // A session of keys is one, in whatever regions its roles are.
        (
            "role:r\nsource_profile = ops\nregion = eu-west-1\nmfa_serial = dev",
            "role r in eu-west-1 < session with dev < keys of ops",
        ),
        (
            "role:r\nsource_profile = ops\nmfa_serial = arn:aws-cn:iam::1:mfa/dev",
            "role r < session with arn:aws-cn:iam::1:mfa/dev in cn-north-1 < keys of ops",
        ),
    ]);
    let config = "[profile a]\nrole:r\nsource_profile = ops\nregion = eu-west-1";
    let plan = planned(config, &[("AWS_REGION", "eu-south-1")], true, true);
    assert_eq!(plan, "role r in eu-south-1 < keys of ops");
}

proptest! {
    #[test]
    fn whatever_profiles_say_is_a_plan_or_a_text(
        lines in proptest::collection::vec((0..14usize, 0..4usize), 0..40),
    ) {
        const KEYS: [&str; 14] = [
            "[profile ", "role_arn", "source_profile", "credential_source", "mfa_serial",
            "aws_access_key_id", "aws_secret_access_key", "aws_session_token",
            "web_identity_token_file", "credential_process", "duration_seconds", "sso_session",
            "[profile ", "region",
        ];
        let line = |(key, value): (usize, usize)| {
            let name = ["a", "b", "c", "ops"][value];
            match KEYS[key] {
                "[profile " => format!("[profile {name}]\n"),
                "role_arn" => format!("role:{name}\n"),
                "credential_source" => "credential_source = Environment\n".to_owned(),
                key => format!("{key} = {name}\n"),
            }
        };
        let lines: Vec<String> = lines.into_iter().map(line).collect();
        let config = format!("[profile a]\n{}", lines.concat());
        let plan = planned(&config, &[], true, true);
        prop_assert!(!plan.is_empty() && plan.matches(" < ").count() <= 5);
    }
}
