//! That the fake STS can be trusted: it takes what AWS's vectors sign, and refuses as AWS does.

mod asking;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use credd::clock::{Clock, Timestamp};
use credd::os::files;

use super::signature::{Signable, Signature};
use super::{Call, FakeAws, Reply, Role, Session};
use crate::support::clock::TestClock;
use crate::support::news::tell;
use crate::support::patience::run;
use asking::{Signer, ask, form, post};

const KEY: &str = "AKIAFAKEUSER0001";
const SECRET: &str = "CANARY-ops";
const OPS: &str = "arn:aws:iam::123456789012:user/ops";
const SERIAL: &str = "arn:aws:iam::123456789012:mfa/ops";
const DEPLOY: &str = "arn:aws:iam::123456789012:role/team/deploy";
const ADMIN: &str = "arn:aws:iam::210987654321:role/admin";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "whoever runs the tests says where the vectors are"
)]
fn the_shared_vectors_of_posts_have_the_signatures_that_they_give() {
    let Some(vectors) = std::env::var_os("CREDD_VECTORS") else {
        return tell("skipped: CREDD_VECTORS names no folder of test vectors");
    };
    let mut count = 0;
    for folder in std::fs::read_dir(PathBuf::from(vectors).join("sigv4/aws-c-auth")).unwrap() {
        let folder = folder.unwrap();
        if !folder.file_name().to_string_lossy().starts_with("post-") {
            continue;
        }
        let file = folder.path().join("header-signed-request.txt");
        let text = files::read_text_now(&file, 100_000).unwrap();
        let text = text.replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap();
        let (line, headers) = head.split_once('\n').unwrap();
        let headers = headers.lines().map(|line| line.split_once(':').unwrap());
        let headers: Vec<_> = headers
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let value = |name| {
            headers
                .iter()
                .find(|(it, _)| it == name)
                .unwrap()
                .1
                .as_str()
        };
        let signature = Signature::parse(value("Authorization")).unwrap();
        let request = Signable {
            method: "POST",
            path: line.split(' ').nth(1).unwrap(),
            headers: &headers,
            body: body.trim_end().as_bytes(),
        };
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let expected = signature.by(secret, value("X-Amz-Date"), request);
        assert_eq!(expected, Some(signature.value), "{}", file.display());
        count += 1;
    }
    assert_eq!(count, 10);
    tell(&format!("{count} shared vectors of signed posts passed"));
}

#[test]
fn a_user_assumes_a_role_whose_session_goes_on_to_the_next_for_an_hour_at_most() {
    run(async || {
        let (clock, aws) = start().await;
        aws.role(
            Role::new(ADMIN)
                .trusting(DEPLOY)
                .lasting_at_most(Duration::from_hours(12)),
        );
        let first = ask(&aws, &ops(&clock), &assuming(DEPLOY)).await;
        let session = aws.sessions().pop().unwrap();
        assert_eq!(first.status, 200, "{}", first.body);
        assert_eq!(first.element("AccessKeyId"), session.key);
        assert_eq!(first.element("SecretAccessKey"), session.secret);
        assert_eq!(first.element("SessionToken"), session.token);
        assert_eq!(first.element("Expiration"), "2026-11-22T10:30:00Z");
        let arn = "arn:aws:sts::123456789012:assumed-role/deploy/credd";
        assert_eq!(first.element("Arn"), arn);
        let signer = of(&session, &clock);
        let who = ask(&aws, &signer, &[("Action", "GetCallerIdentity")]).await;
        assert_eq!(who.element("Arn"), arn);
        assert_eq!(who.element("Account"), "123456789012");
        let second = ask(&aws, &signer, &assuming(ADMIN)).await;
        let arn = "arn:aws:sts::210987654321:assumed-role/admin/credd";
        assert_eq!(second.element("Arn"), arn);
        let mut longer = assuming(ADMIN);
        longer.push(("DurationSeconds", "3601"));
        ask(&aws, &signer, &longer).await.is(
            400,
            "ValidationError",
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by \
             role chaining",
        );
        assert_eq!(aws.count(Call::AssumeRole), 3);
        let seen = aws.seen();
        assert_eq!(seen[0].signing_key().as_deref(), Some(KEY));
        assert!(!seen[0].signs("X-Amz-Security-Token"));
        assert_eq!(seen[2].parameter("RoleArn"), Some(ADMIN));
        assert_eq!(seen[2].parameters().len(), 4);
        assert_eq!(seen[2].signing_key(), Some(session.key));
        assert_eq!(seen[2].signing_region().as_deref(), Some("eu-west-1"));
        assert!(seen[2].signs("X-Amz-Security-Token"));
    });
}

#[test]
fn the_keys_of_the_host_are_those_of_its_role() {
    run(async || {
        let (clock, aws) = start().await;
        aws.role(Role::new(DEPLOY).trusting("arn:aws:iam::123456789012:role/app"));
        let set = aws.rotate(Duration::from_hours(2));
        let body = set.body();
        let signer = Signer {
            token: Some(body["Token"].as_str().unwrap().to_owned()),
            ..signer(
                &set.key(),
                body["SecretAccessKey"].as_str().unwrap(),
                &clock,
            )
        };
        let answer = ask(&aws, &signer, &assuming(DEPLOY)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        clock.advance(Duration::from_hours(2));
        let signer = Signer {
            time: clock.now(),
            ..signer
        };
        let message = "The security token included in the request is expired";
        ask(&aws, &signer, &assuming(DEPLOY))
            .await
            .is(403, "ExpiredToken", message);
    });
}

type Change = fn(&mut Signer);

const WRONG: &str = "The request signature we calculated does not match";
const EXPIRED: &str = "Signature expired: 20261122T092459Z is now earlier than 20261122T092500Z \
     (20261122T093000Z - 5 min.)";
const EARLY: &str = "Signature not yet current: 20261122T093501Z is still later than \
     20261122T093500Z (20261122T093000Z + 5 min.)";

#[test]
fn a_signature_that_is_not_right_is_refused() {
    run(async || {
        let (clock, aws) = start().await;
        let changes: [(&str, Change); 9] = [
            (WRONG, |it| it.secret.push('x')),
            (WRONG, |it| it.is_tampered = true),
            (WRONG, |it| it.signed_headers.reverse()),
            ("correct service: 'sts'", |it| it.service = "iam"),
            ("a valid region", |it| it.region = ""),
            ("does not match YYYYMMDD", |it| it.date = "20261121"),
            ("'host' must be a 'SignedHeader'", |it| {
                it.signed_headers.retain(|it| *it != "host");
            }),
            (EXPIRED, |it| {
                it.time = it.time.minus(Duration::from_secs(301));
            }),
            (EARLY, |it| it.time = it.time.plus(Duration::from_secs(301))),
        ];
        for (message, change) in changes {
            let mut signer = ops(&clock);
            change(&mut signer);
            let answer = ask(&aws, &signer, &assuming(DEPLOY)).await;
            answer.is(403, "SignatureDoesNotMatch", message);
        }
        assert_eq!(aws.sessions(), []);
        aws.be_in_region("us-east-1");
        let answer = ask(&aws, &ops(&clock), &assuming(DEPLOY)).await;
        answer.is(403, "SignatureDoesNotMatch", "a valid region");
    });
}

#[test]
fn whoever_is_not_known_is_refused() {
    run(async || {
        let (clock, aws) = start().await;
        let invalid = "The security token included in the request is invalid.";
        let stranger = signer("AKIAFAKESTRANGER", SECRET, &clock);
        let answer = ask(&aws, &stranger, &assuming(DEPLOY)).await;
        answer.is(403, "InvalidClientTokenId", invalid);
        let with_token = Signer {
            token: Some("x".to_owned()),
            ..ops(&clock)
        };
        let answer = ask(&aws, &with_token, &assuming(DEPLOY)).await;
        answer.is(403, "InvalidClientTokenId", invalid);
        let unsigned = post(&aws, &[], &form(&assuming(DEPLOY))).await;
        unsigned.is(
            403,
            "MissingAuthenticationToken",
            "missing Authentication Token",
        );
        let scribble = [("Authorization".to_owned(), "AWS4-HMAC-SHA256 x".to_owned())];
        let answer = post(&aws, &scribble, &form(&assuming(DEPLOY))).await;
        answer.is(400, "IncompleteSignature", "");
        ask(&aws, &ops(&clock), &assuming(DEPLOY)).await;
        let session = aws.sessions().pop().unwrap();
        for key in [KEY, &session.key] {
            aws.deactivate(key);
        }
        for signer in [ops(&clock), of(&session, &clock)] {
            let answer = ask(&aws, &signer, &assuming(DEPLOY)).await;
            answer.is(403, "InvalidClientTokenId", invalid);
        }
    });
}

#[test]
fn the_time_that_counts_is_its_own() {
    run(async || {
        let (clock, aws) = start().await;
        aws.skew(-3_600_000);
        let answer = ask(&aws, &ops(&clock), &assuming(DEPLOY)).await;
        answer.is(403, "SignatureDoesNotMatch", "Signature not yet current");
        assert!(
            answer.head.contains("Date: Sun, 22 Nov 2026 08:30:00 GMT"),
            "{}",
            answer.head
        );
        let time = clock.now().minus(Duration::from_hours(1));
        let signer = Signer {
            time,
            ..ops(&clock)
        };
        let answer = ask(&aws, &signer, &assuming(DEPLOY)).await;
        assert_eq!(answer.element("Expiration"), "2026-11-22T09:30:00Z");
    });
}

#[test]
fn a_code_is_good_once_and_its_session_needs_no_other() {
    run(async || {
        let (clock, aws) = start().await;
        aws.role(Role::new(ADMIN).trusting(OPS).requiring_mfa());
        aws.mfa_device(OPS, SERIAL);
        let ops = ops(&clock);
        let denied = "User: arn:aws:iam::123456789012:user/ops is not authorized to perform: \
             sts:AssumeRole on resource: arn:aws:iam::210987654321:role/admin";
        ask(&aws, &ops, &assuming(ADMIN))
            .await
            .is(403, "AccessDenied", denied);
        let with = |code| {
            [
                ("Action", "GetSessionToken"),
                ("SerialNumber", SERIAL),
                ("TokenCode", code),
            ]
        };
        let wrong = "MultiFactorAuthentication failed with invalid MFA one time pass code.";
        ask(&aws, &ops, &with("123456"))
            .await
            .is(403, "AccessDenied", wrong);
        aws.mfa_codes(SERIAL, &["123456"]);
        let answer = ask(&aws, &ops, &with("123456")).await;
        assert_eq!(answer.element("Expiration"), "2026-11-22T21:30:00Z");
        ask(&aws, &ops, &with("123456"))
            .await
            .is(403, "AccessDenied", wrong);
        let session = aws.sessions().pop().unwrap();
        assert!(session.has_mfa);
        let signer = of(&session, &clock);
        let answer = ask(&aws, &signer, &assuming(ADMIN)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let refused = "Cannot call GetSessionToken with session credentials";
        ask(&aws, &signer, &with("123456"))
            .await
            .is(403, "AccessDenied", refused);
        for (code, rule) in [
            ("12345", "length greater"),
            ("1234567", "length less"),
            ("12345x", "[\\d]*"),
        ] {
            ask(&aws, &ops, &with(code))
                .await
                .is(400, "ValidationError", rule);
        }
        let half = ask(&aws, &ops, &with("123456")[..2]).await;
        half.is(403, "AccessDenied", "must provide both");
        let mut other = with("123456");
        other[1].1 = "arn:aws:iam::123456789012:mfa/other";
        ask(&aws, &ops, &other)
            .await
            .is(403, "AccessDenied", "unable to validate MFA code");
    });
}

#[test]
fn a_device_with_a_clock_takes_each_step_once() {
    run(async || {
        let (clock, aws) = start().await;
        aws.totp_device(OPS, SERIAL, b"12345678901234567890");
        // RFC 6238 appendix B, at 2005-03-18T01:58:29Z.
        let time = Timestamp::from_unix_millis(1_111_111_109_000);
        aws.skew(time.unix_millis() - clock.now().unix_millis());
        let signer = Signer {
            date: "20050318",
            time,
            ..ops(&clock)
        };
        let call = [
            ("Action", "GetSessionToken"),
            ("SerialNumber", SERIAL),
            ("TokenCode", "081804"),
        ];
        assert_eq!(ask(&aws, &signer, &call).await.status, 200);
        ask(&aws, &signer, &call)
            .await
            .is(403, "AccessDenied", "invalid MFA one time pass code");
    });
}

#[test]
fn a_role_has_its_terms() {
    run(async || {
        let (clock, aws) = start().await;
        aws.role(
            Role::new(ADMIN)
                .trusting(OPS)
                .requiring_external_id("door-7")
                .lasting_at_most(Duration::from_hours(2)),
        );
        let with = |more: &[(&'static str, &'static str)]| [&assuming(ADMIN)[..], more].concat();
        let ops = ops(&clock);
        let fine = [("ExternalId", "door-7"), ("DurationSeconds", "7200")];
        let answer = ask(&aws, &ops, &with(&fine)).await;
        assert_eq!(answer.element("Expiration"), "2026-11-22T11:30:00Z");
        for (more, status, code, message) in [
            (&[][..], 403, "AccessDenied", "is not authorized"),
            (
                &[("ExternalId", "door-8")],
                403,
                "AccessDenied",
                "is not authorized",
            ),
            (
                &[fine[0], ("DurationSeconds", "7201")],
                400,
                "ValidationError",
                "MaxSessionDuration",
            ),
            (
                &[("DurationSeconds", "899")],
                400,
                "ValidationError",
                "greater than or equal to 900",
            ),
            (
                &[("DurationSeconds", "43201")],
                400,
                "ValidationError",
                "less than or equal to 43200",
            ),
        ] {
            ask(&aws, &ops, &with(more)).await.is(status, code, message);
        }
        let nameless = [("Action", "AssumeRole"), ("RoleArn", ADMIN)];
        ask(&aws, &ops, &nameless)
            .await
            .is(400, "ValidationError", "not be null");
        let spaced = [&nameless[..], &[("RoleSessionName", "a b")]].concat();
        ask(&aws, &ops, &spaced)
            .await
            .is(400, "ValidationError", "[\\w+=,.@-]*");
    });
}

#[test]
fn a_web_identity_needs_no_signature() {
    run(async || {
        let (_, aws) = start().await;
        let (token, subject) = ("CANARY-jwt+/=", "system:serviceaccount:team:app");
        aws.role(Role::new(ADMIN).trusting(subject));
        let with = |role, token| {
            form(&[
                ("Action", "AssumeRoleWithWebIdentity"),
                ("RoleArn", role),
                ("RoleSessionName", "credd"),
                ("WebIdentityToken", token),
            ])
        };
        let unknown = "No OpenIDConnect provider found in your account for";
        post(&aws, &[], &with(ADMIN, token))
            .await
            .is(400, "InvalidIdentityToken", unknown);
        aws.web_identity(token, subject);
        let answer = post(&aws, &[], &with(ADMIN, token)).await;
        assert_eq!(answer.element("SubjectFromWebIdentityToken"), subject);
        assert_eq!(answer.element("Expiration"), "2026-11-22T10:30:00Z");
        assert_eq!(aws.seen()[1].parameter("WebIdentityToken"), Some(token));
        let denied = "Not authorized to perform sts:AssumeRoleWithWebIdentity";
        post(&aws, &[], &with(DEPLOY, token))
            .await
            .is(403, "AccessDenied", denied);
        let trailed = format!("{token}\n");
        post(&aws, &[], &with(ADMIN, &trailed))
            .await
            .is(400, "InvalidIdentityToken", "");
        aws.expire_web_identity(token);
        let expired = post(&aws, &[], &with(ADMIN, token)).await;
        expired.is(
            400,
            "ExpiredTokenException",
            "Token expired: current date/time 1795339800 must",
        );
        assert_eq!(aws.count(Call::AssumeRoleWithWebIdentity), 5);
    });
}

#[test]
fn messages_are_decoded_for_users_and_roles() {
    run(async || {
        let (clock, aws) = start().await;
        let decoded = r#"{"allowed":false,"reason":"<none>"}"#;
        aws.authorization_message("Zm9v", decoded);
        let with = |message| {
            [
                ("Action", "DecodeAuthorizationMessage"),
                ("EncodedMessage", message),
            ]
        };
        let answer = ask(&aws, &ops(&clock), &with("Zm9v")).await;
        assert_eq!(
            answer
                .element("DecodedMessage")
                .replace("&lt;", "<")
                .replace("&gt;", ">"),
            decoded
        );
        let answer = ask(&aws, &ops(&clock), &with("YmFy")).await;
        answer.is(400, "InvalidAuthorizationMessageException", "");
        ask(&aws, &ops(&clock), &[("Action", "GetSessionToken")]).await;
        let session = aws.sessions().pop().unwrap();
        let answer = ask(&aws, &of(&session, &clock), &with("Zm9v")).await;
        answer.is(403, "AccessDenied", "session credentials");
    });
}

#[test]
fn what_goes_beyond_the_rate_is_throttled_and_spends_nothing() {
    run(async || {
        let (clock, aws) = start().await;
        aws.mfa_device(OPS, SERIAL);
        aws.mfa_codes(SERIAL, &["123456"]);
        let call = [
            ("Action", "GetSessionToken"),
            ("SerialNumber", SERIAL),
            ("TokenCode", "123456"),
        ];
        aws.go_down();
        assert_eq!(ask(&aws, &ops(&clock), &call).await.head, "");
        aws.be_honest();
        aws.limit_rate(Some(1));
        assert_eq!(ask(&aws, &ops(&clock), &assuming(DEPLOY)).await.status, 200);
        ask(&aws, &ops(&clock), &call)
            .await
            .is(400, "Throttling", "Rate exceeded");
        clock.advance(Duration::from_secs(1));
        assert_eq!(ask(&aws, &ops(&clock), &call).await.status, 200);
        aws.limit_rate(None);
        assert_eq!(ask(&aws, &ops(&clock), &assuming(DEPLOY)).await.status, 200);
        assert_eq!(aws.count(Call::GetSessionToken), 3);
    });
}

#[test]
fn an_action_that_is_none_is_refused() {
    run(async || {
        let (clock, aws) = start().await;
        let answer = ask(&aws, &ops(&clock), &[("Action", "DeleteEverything")]).await;
        let message = "Could not find operation DeleteEverything for version 2011-06-15";
        answer.is(400, "InvalidAction", message);
        let twice = [assuming(DEPLOY), assuming(DEPLOY)].concat();
        ask(&aws, &ops(&clock), &twice)
            .await
            .is(400, "InvalidAction", "");
    });
}

#[test]
fn sts_lies_where_it_is_told_to() {
    run(async || {
        let (clock, aws) = start().await;
        aws.next(Call::AssumeRole, |honest| {
            honest.with_element("Expiration", "<soon>")
        });
        aws.next(Call::AssumeRole, |honest| {
            honest.without_element("SessionToken")
        });
        aws.next(Call::AssumeRole, |_| {
            Reply::sts_error(500, "InternalFailure", "Oh & no")
        });
        aws.next(Call::AssumeRole, Reply::cut_at_the_end);
        aws.next(Call::AssumeRole, |honest| {
            let action = honest.element("AccessKeyId");
            honest.saying(action)
        });
        let call = assuming(DEPLOY);
        let ops = ops(&clock);
        assert_eq!(
            ask(&aws, &ops, &call).await.element("Expiration"),
            "&lt;soon&gt;"
        );
        assert!(!ask(&aws, &ops, &call).await.body.contains("SessionToken"));
        let failure = ask(&aws, &ops, &call).await;
        failure.is(500, "InternalFailure", "Oh &amp; no");
        assert!(failure.body.contains("<Type>Receiver</Type>"));
        assert!(ask(&aws, &ops, &call).await.body.ends_with("Response>"));
        assert_eq!(ask(&aws, &ops, &call).await.body, aws.sessions()[4].key);
    });
}

/// An AWS with one user and a role for it.
async fn start() -> (Arc<TestClock>, FakeAws) {
    let clock = TestClock::new();
    let aws = FakeAws::start(&clock).await;
    aws.user(KEY, SECRET, OPS);
    aws.role(Role::new(DEPLOY).trusting(OPS));
    (clock, aws)
}

fn assuming(role: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![
        ("Action", "AssumeRole"),
        ("RoleArn", role),
        ("RoleSessionName", "credd"),
    ]
}

fn signer(key: &str, secret: &str, clock: &TestClock) -> Signer {
    Signer {
        key: key.to_owned(),
        secret: secret.to_owned(),
        token: None,
        time: clock.now(),
        date: "20261122",
        region: "eu-west-1",
        service: "sts",
        signed_headers: vec!["content-type", "host", "x-amz-date"],
        is_tampered: false,
    }
}

fn ops(clock: &TestClock) -> Signer {
    signer(KEY, SECRET, clock)
}

fn of(session: &Session, clock: &TestClock) -> Signer {
    let token = Some(session.token.clone());
    Signer {
        token,
        ..signer(&session.key, &session.secret, clock)
    }
}
