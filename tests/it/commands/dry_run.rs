//! check --dry-run: every identity resolved once, and nothing left behind.

use super::aws::{OPS, OPS_KEY, beside_aws, configure, credd, with_keys, write_profiles};
use crate::serving::program::{Place, Said};
use crate::support::fake_aws::{Call, Role};

const ROLE: &str = "arn:aws:iam::123456789012:role/billing";

fn profile(name: &str) -> String {
    format!("[identity.{name}]\nprovider = \"profile\"\nprofile = \"{name}\"\n")
}

#[test]
fn each_identity_is_resolved_and_named_and_nothing_is_left_behind() {
    beside_aws(|aws| {
        aws.role(Role::new(ROLE).trusting(OPS));
        let place = Place::bare();
        write_profiles(
            &place,
            &format!(
                "[profile billing]\nrole_arn = {ROLE}\ncredential_source = Environment\n\
                 role_session_name = ann\n"
            ),
        );
        configure(&place, "[identity.user]\nprovider = \"environment\"\n");
        configure(&place, "[identity.host]\nprovider = \"imds\"\n");
        configure(&place, &profile("billing"));
        let said = Said::by(with_keys(&mut credd(&place, aws, &["check", "--dry-run"]))).data();
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].starts_with("ok: "), "{said}");
        assert_eq!(
            lines[1..],
            [
                "billing  arn:aws:sts::123456789012:assumed-role/billing/ann (profile billing: role \
                 billing)",
                "host     arn:aws:sts::123456789012:assumed-role/app/i-0123456789abcdef0 (instance \
                 metadata)",
                "user     arn:aws:iam::123456789012:user/ops (session of environment)",
            ]
        );
        assert!(!place.runtime().exists());
        assert_eq!(aws.count(Call::AssumeRole), 1);
        // Without the option nobody is asked.
        let calls = aws.calls();
        let said = Said::by(with_keys(&mut credd(&place, aws, &["check"]))).data();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(aws.calls(), calls);
    });
}

/// Only the unit has its credentials; what does not need them is tried all the same.
#[test]
fn what_rests_on_credentials_of_the_unit_is_not_tried_elsewhere_and_said_where_it_can_be() {
    beside_aws(|aws| {
        let place = Place::bare();
        configure(&place, "[identity.user]\nprovider = \"environment\"\n");
        let ops = format!(
            "[identity.ops]\nprovider = \"keys\"\naccess-key-id = \"{OPS_KEY}\"\n\
             secret-access-key = \"credential:ops\"\n"
        );
        configure(&place, &ops);
        let role = format!(
            "[identity.billing]\nprovider = \"assume-role\"\nfrom = \"ops\"\nrole-arn = \"{ROLE}\"\n"
        );
        configure(&place, &role);
        let session = "[identity.session]\nprovider = \"session-token\"\nfrom = \"user\"\n\
            mfa-serial = \"arn:aws:iam::123456789012:mfa/ops\"\n\
            mfa-code = { totp-secret = \"credential:device\" }\n";
        configure(&place, session);
        let run = |folder: Option<&std::path::Path>| {
            let mut command = credd(&place, aws, &["check", "--dry-run"]);
            if let Some(folder) = folder {
                command.env("CREDENTIALS_DIRECTORY", folder);
            }
            Said::by(with_keys(&mut command))
        };
        let said = run(None);
        assert!(said.is_success(), "{said:?}");
        let not_tried =
            "not tried: it rests on credential:ops, which systemd gives to credd's unit alone";
        let lines: Vec<&str> = said.stdout.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                format!("billing  {not_tried}"),
                format!("ops      {not_tried}"),
                format!("session  {}", not_tried.replace(":ops", ":device")),
                "user     arn:aws:iam::123456789012:user/ops (session of environment)".to_owned(),
            ]
        );
        let hint = "CREDENTIALS_DIRECTORY=/run/credentials/credd.service credd check --dry-run";
        assert!(said.stderr.contains(hint), "{said:?}");
        // With the folder at hand they are tried.
        let said = run(Some(&place.folder().join("credentials")));
        assert_eq!(said.code(), Some(1), "{said:?}");
        assert!(said.stdout.contains("ops      failed: "), "{said:?}");
        assert!(!said.stderr.contains(hint), "{said:?}");
    });
}

#[test]
fn an_identity_that_cannot_be_resolved_fails_the_check_and_not_the_others() {
    beside_aws(|aws| {
        let place = Place::bare();
        write_profiles(
            &place,
            &format!("[profile billing]\nrole_arn = {ROLE}\ncredential_source = Environment\n"),
        );
        configure(&place, "[identity.host]\nprovider = \"imds\"\n");
        configure(&place, &profile("billing"));
        configure(&place, &profile("none"));
        let said = Said::by(with_keys(&mut credd(&place, aws, &["check", "--dry-run"])));
        assert_eq!(said.code(), Some(1), "{said:?}");
        let lines: Vec<&str> = said.stdout.lines().skip(1).collect();
        assert!(lines[0].starts_with("billing  failed: "), "{said:?}");
        assert!(
            lines[0].contains("not authorized to perform: sts:AssumeRole"),
            "{said:?}"
        );
        assert!(lines[1].starts_with("host     arn:"), "{said:?}");
        assert!(
            lines[2].starts_with("none     failed: there is no profile `none`"),
            "{said:?}"
        );
        assert!(!said.stdout.contains("CANARY"), "{said:?}");
    });
}

#[test]
fn credentials_that_aws_does_not_take_fail_the_check() {
    beside_aws(|aws| {
        let place = Place::bare();
        let mut check = credd(&place, aws, &["check", "--dry-run"]);
        check
            .env("AWS_ACCESS_KEY_ID", "ASIAOTHER")
            .env("AWS_SECRET_ACCESS_KEY", "CANARY")
            .env("AWS_SESSION_TOKEN", "CANARY");
        let said = Said::by(&mut check);
        assert_eq!(said.code(), Some(1), "{said:?}");
        let line = said.stdout.lines().nth(1).unwrap();
        let expected = "default  failed: has credentials (environment), but ";
        assert!(line.starts_with(expected), "{said:?}");
        assert!(
            line.contains("InvalidClientTokenId") && !line.contains("CANARY"),
            "{said:?}"
        );
    });
}

#[test]
fn no_code_is_spent_and_an_identity_that_takes_one_is_no_failure() {
    const SERIAL: &str = "arn:aws:iam::123456789012:mfa/ops";
    beside_aws(|aws| {
        aws.mfa_device(OPS, SERIAL);
        aws.role(Role::new(ROLE).trusting(OPS).requiring_mfa());
        let place = Place::bare();
        write_profiles(
            &place,
            &format!(
                "[profile ops]\naws_access_key_id = {OPS_KEY}\n\
                 aws_secret_access_key = CANARY-ops\nmfa_serial = {SERIAL}\n\
                 [profile billing]\nrole_arn = {ROLE}\nsource_profile = ops\n"
            ),
        );
        configure(&place, &profile("billing"));
        configure(&place, &profile("ops"));
        let said = Said::by(&mut credd(&place, aws, &["check", "--dry-run"])).data();
        let lines: Vec<&str> = said.lines().skip(1).collect();
        for (line, name) in lines.iter().zip(["billing  ", "ops      "]) {
            let why = format!("{name}needs a person: it takes a code of MFA device {SERIAL}");
            assert!(line.starts_with(&why), "{said}");
        }
        assert_eq!(lines.len(), 2, "{said}");
        assert_eq!(aws.calls(), 0);
    });
}
