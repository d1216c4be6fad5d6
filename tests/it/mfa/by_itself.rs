//! Codes that come without a person.

use super::*;
use crate::support::patience::run;

/// RFC 6238 appendix B, and its base32.
const SEED: &[u8] = b"12345678901234567890";
const BASE32: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// An AWS where `ops` has a device with that secret.
async fn timed(clock: &Arc<TestClock>) -> FakeAws {
    let aws = FakeAws::start(clock).await;
    aws.user(KEY, SECRET, OPS);
    aws.totp_device(OPS, SERIAL, SEED);
    aws
}

#[test]
fn a_secret_in_a_file_or_from_systemd_renews_the_session_again_and_again() {
    run(async || {
        for is_by_systemd in [false, true] {
            let clock = TestClock::new();
            let aws = timed(&clock).await;
            let host = Host::asking(&aws.url());
            let file = host.secret("ops-totp", &format!("{BASE32}\n"));
            let folder = host.folder.path().to_str().unwrap().to_owned();
            let host = host.set("CREDENTIALS_DIRECTORY", &folder);
            let place = if is_by_systemd {
                SecretPlace::Credential("ops-totp".to_owned())
            } else {
                file
            };
            let identities = [
                ("ops", host.keys(KEY, "secret")),
                ("ops-mfa", session("ops", CodeSource::Totp(place))),
            ];
            let mut bench = Bench::with(clock, aws, host, identities).await;
            let mut keys = vec![bench.served("ops-mfa").await];
            for round in 2..6 {
                let due = bench.reader("ops-mfa").load().due.unwrap();
                let wait = bench.clock.boot().until(due);
                assert!(wait > 2 * HOUR && wait < 6 * HOUR, "{wait:?}");
                bench.clock.advance_to(due);
                until(|| bench.reader("ops-mfa").load().attempts == round).await;
                keys.push(bench.key("ops-mfa").unwrap());
            }
            assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "{keys:?}");
            assert!(bench.aws.sessions().iter().all(|session| session.has_mfa));
            assert_eq!(bench.announced(), []);
            assert!(bench.challenges.list().is_empty());
            assert!(!bench.journal.text().contains(BASE32));
        }
    });
}

#[test]
fn a_step_whose_code_is_used_is_waited_out() {
    run(async || {
        let clock = TestClock::new();
        let aws = timed(&clock).await;
        let host = Host::asking(&aws.url());
        let place = host.secret("totp", BASE32);
        let identities = [
            ("ops", host.keys(KEY, "secret")),
            ("ops-mfa", session("ops", CodeSource::Totp(place))),
        ];
        let bench = Bench::with(clock, aws, host, identities).await;
        let first = bench.served("ops-mfa").await;
        bench.reader("ops-mfa").refresh();
        until(|| bench.reader("ops-mfa").load().attempts == 2).await;
        let snapshot = Arc::clone(&bench.reader("ops-mfa").load());
        let failure = &snapshot.trouble.as_ref().unwrap().failure;
        assert_eq!(failure.class, FailureClass::Transient);
        assert!(
            failure.message.contains("has been sent before"),
            "{failure}"
        );
        let wait = bench.clock.boot().until(snapshot.due.unwrap());
        let step = Duration::from_secs(30);
        assert!(wait >= step && wait <= step.mul_f64(1.1), "{wait:?}");
        assert_eq!(bench.sessions(), 1);
        bench.clock.advance(wait);
        until(|| bench.reader("ops-mfa").load().attempts == 3).await;
        assert_ne!(bench.key("ops-mfa").unwrap(), first);
        assert_eq!(bench.sessions(), 2);
    });
}

#[test]
fn a_secret_that_does_not_fit_the_device_is_told_of_and_not_tried_at_every_turn() {
    run(async || {
        let clock = TestClock::new();
        let aws = timed(&clock).await;
        let host = Host::asking(&aws.url());
        let eight = format!("otpauth://totp/ops?secret={BASE32}&digits=8");
        let identities = [
            ("ops", host.keys(KEY, "secret")),
            (
                "wrong",
                session(
                    "ops",
                    CodeSource::Totp(host.secret("wrong", &BASE32.repeat(2))),
                ),
            ),
            (
                "eight",
                session("ops", CodeSource::Totp(host.secret("eight", &eight))),
            ),
            (
                "none",
                session("ops", CodeSource::Totp(host.secret("none", "1ncorrect"))),
            ),
        ];
        let bench = Bench::with(clock, aws, host, identities).await;
        let wrong = bench.failure("wrong");
        assert_eq!(wrong.class, FailureClass::Denied);
        assert!(wrong.message.contains("clocks"), "{wrong}");
        for identity in ["eight", "none"] {
            assert_eq!(bench.failure(identity).class, FailureClass::Misconfigured);
        }
        assert!(bench.failure("eight").message.contains("six"));
        assert_eq!(bench.sessions(), 1);
        for _ in 0..60 {
            bench.clock.advance(MINUTE);
            bench.quiet().await;
        }
        let tried = bench.sessions();
        assert!((10..=13).contains(&tried), "{tried} codes in an hour");
    });
}

#[test]
fn two_identities_of_one_device_wait_for_no_second_code() {
    run(async || {
        let clock = TestClock::new();
        let aws = timed(&clock).await;
        let host = Host::asking(&aws.url());
        let place = host.secret("totp", BASE32);
        let identities = [
            ("here", host.keys(KEY, "here")),
            ("here-mfa", session("here", CodeSource::Totp(place.clone()))),
            ("there", host.keys(KEY, "there")),
            ("there-mfa", session("there", CodeSource::Totp(place))),
        ];
        let bench = Bench::with(clock, aws, host, identities).await;
        assert_eq!(
            bench.served("here-mfa").await,
            bench.served("there-mfa").await
        );
        assert_eq!(bench.sessions(), 1);
    });
}

#[test]
fn a_program_prints_the_codes() {
    run(async || {
        let clock = TestClock::new();
        let aws = aws(&clock).await;
        aws.mfa_codes(SERIAL, &["111111", "222222"]);
        let host = Host::asking(&aws.url());
        let codes = host.path("codes");
        files::write_private(&codes, b"111111\n").unwrap();
        let script = host.script(&format!("cat {}", codes.display()));
        let identities = [
            ("ops", host.keys(KEY, "secret")),
            ("ops-mfa", session("ops", CodeSource::Command(script))),
            ("deploy", role("ops-mfa", DEPLOY)),
        ];
        let bench = Bench::with(clock, aws, host, identities).await;
        bench.served("deploy").await;
        let first = bench.served("ops-mfa").await;

        // It prints the same again: that is not sent.
        bench.reader("ops-mfa").refresh();
        until(|| bench.reader("ops-mfa").load().trouble.is_some()).await;
        let snapshot = Arc::clone(&bench.reader("ops-mfa").load());
        let failure = &snapshot.trouble.as_ref().unwrap().failure;
        assert!(
            failure.message.contains("has been sent before"),
            "{failure}"
        );
        assert_eq!(bench.sessions(), 1);
        files::write_private(&codes, b"222 222\n").unwrap();
        bench.clock.advance_to(snapshot.due.unwrap());
        until(|| bench.key("ops-mfa").is_some_and(|key| key != first)).await;

        files::write_private(&codes, b"touch your key\n").unwrap();
        bench.reader("ops-mfa").refresh();
        until(|| bench.reader("ops-mfa").load().trouble.is_some()).await;
        let snapshot = Arc::clone(&bench.reader("ops-mfa").load());
        let failure = &snapshot.trouble.as_ref().unwrap().failure;
        assert_eq!(failure.class, FailureClass::Misconfigured);
        assert!(failure.message.contains("did not print an MFA code"));
        assert!(!failure.message.contains("touch"), "{failure}");
    });
}
