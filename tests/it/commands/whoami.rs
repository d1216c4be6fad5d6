//! whoami and decode: what STS says to the credentials that the daemon hands out.

use std::io::Write;
use std::process::Stdio;

use super::aws::{OPS, beside_aws, configure, credd, with_keys, write_profiles};
use crate::serving::program::{Place, Said};
use crate::support::fake_aws::{Call, Role};

const ROLE: &str = "arn:aws:iam::123456789012:role/billing";
const ASSUMED: &str = "arn:aws:sts::123456789012:assumed-role/billing/ann";

#[test]
fn whoami_says_whom_aws_takes_an_identity_for() {
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
        configure(
            &place,
            "[identity.user]\nprovider = \"environment\"\n\
             [identity.billing]\nprovider = \"profile\"\nprofile = \"billing\"\n",
        );
        let _daemon = place.serving(with_keys(&mut credd(&place, aws, &["serve"])));
        // The keys of the command's own environment are not asked about.
        let mut whoami = credd(&place, aws, &["whoami", "billing"]);
        let said = Said::by(whoami.env("AWS_ACCESS_KEY_ID", "AKIAOTHER")).data();
        let mut lines = said.lines();
        assert_eq!(lines.next(), Some(&*format!("arn      {ASSUMED}")));
        assert_eq!(lines.next(), Some("account  123456789012"));
        assert!(lines.next().unwrap().starts_with("user id  "), "{said}");
        let said = Said::by(&mut credd(&place, aws, &["whoami", "user", "--json"])).json();
        assert_eq!(said["arn"], OPS);
        assert_eq!(said["account"], "123456789012");
        assert!(said["user-id"].is_string(), "{said}");
        // The session is asked about, not the keys that it is made of.
        let seen = aws.seen();
        let asked = seen.iter().rfind(|it| it.call == Call::GetCallerIdentity);
        assert!(asked.unwrap().signing_key().unwrap().starts_with("ASIA"));
    });
}

#[test]
fn whoami_passes_on_why_sts_says_no() {
    beside_aws(|aws| {
        let place = Place::bare();
        let _daemon = place.serving(with_keys(&mut credd(&place, aws, &["serve"])));
        place.warm();
        for session in aws.sessions() {
            aws.deactivate(&session.key);
        }
        let said = Said::by(&mut credd(&place, aws, &["whoami"]));
        assert_eq!((said.code(), said.stdout.as_str()), (Some(1), ""));
        assert!(said.stderr.contains("InvalidClientTokenId"), "{said:?}");
        assert!(!said.stderr.contains("CANARY"), "{said:?}");
    });
}

#[test]
fn decode_finds_the_message_in_an_argument_or_on_standard_input() {
    beside_aws(|aws| {
        let message = "Xb2_-".repeat(20);
        aws.authorization_message(
            &message,
            r#"{"allowed":false,"context":{"action":"ec2:X"}}"#,
        );
        let place = Place::bare();
        let _daemon = place.serving(&mut credd(&place, aws, &["serve"]));
        place.warm();
        let expected =
            "{\n  \"allowed\": false,\n  \"context\": {\n    \"action\": \"ec2:X\"\n  }\n}\n";
        let decode = |words: &[&str]| {
            let words = [&["decode"], words].concat();
            Said::by(&mut credd(&place, aws, &words))
        };
        assert_eq!(decode(&[&message]).data(), expected);
        assert_eq!(
            decode(&["--identity", "default", &message]).data(),
            expected
        );
        let text = format!(
            "An error occurred (UnauthorizedOperation) when calling the RunInstances operation: You \
             are not authorized to perform this operation. Encoded authorization failure message: \
             {message}\n\tstatus code: 403"
        );
        assert_eq!(decode(&[&text]).data(), expected);
        for words in [&["decode"][..], &["decode", "-"]] {
            let (input, mut writer) = std::io::pipe().unwrap();
            writer.write_all(text.as_bytes()).unwrap();
            drop(writer);
            let mut command = credd(&place, aws, words);
            assert_eq!(Said::by(command.stdin(Stdio::from(input))).data(), expected);
        }
        let said = decode(&["You are not authorized to perform this operation."]);
        assert_eq!((said.code(), said.stdout.as_str()), (Some(1), ""));
        assert!(said.stderr.contains("no encoded message"), "{said:?}");
        let said = decode(&[&"y".repeat(60)]);
        assert_eq!(said.code(), Some(1));
        assert!(
            said.stderr.contains("InvalidAuthorizationMessage"),
            "{said:?}"
        );
    });
}

#[test]
fn decode_of_an_identity_that_cannot_decode_says_what_it_takes() {
    beside_aws(|aws| {
        let place = Place::bare();
        let _daemon = place.serving(with_keys(&mut credd(&place, aws, &["serve"])));
        place.warm();
        let said = Said::by(&mut credd(&place, aws, &["decode", "short"]));
        assert_eq!(said.code(), Some(1));
        assert!(
            said.stderr.contains("takes an identity that is a role"),
            "{said:?}"
        );
    });
}
