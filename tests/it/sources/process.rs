//! Programs as sources.

use credd::credentials::{FailureClass, Renewal};
use credd::program::Command;
use credd::providers::process::{Config, ProcessProvider};

use super::*;
use crate::support::fake_aws::CANARY;
use crate::support::patience::{run, settle};

const SESSION: &str = r#"{"Version":1,"AccessKeyId":"ASIASESSION","SecretAccessKey":"CANARY",
    "SessionToken":"CANARY","Expiration":"2026-11-22T12:30:00+02:00","AccountId":"123456789012"}"#;

const LONG_LIVED: &str = r#"{"Version":1,"AccessKeyId":"AKIALONG","SecretAccessKey":"CANARY"}"#;

fn provider(sources: &Sources, line: &str) -> ProcessProvider {
    let command = Command::Shell(line.to_owned());
    ProcessProvider::new(Config { command }, sources.context())
}

#[test]
fn a_session_that_a_program_writes_is_minted_at_each_run() {
    run(async || {
        let sources = Sources::new(&TestClock::new()).set("OUTPUT", SESSION);
        let mut source = provider(&sources, r#"printf %s "$OUTPUT"; echo progress >&2"#);
        let provided = provided(&mut source).await;
        assert_eq!(key(&provided), "ASIASESSION");
        assert_eq!(provided.renewal, Renewal::Mint);
        assert_eq!(provided.source, "process sh");
        let credentials = provided.credentials;
        let expiry = credentials.expiry.unwrap().to_string();
        assert_eq!(expiry, "2026-11-22T10:30:00Z");
        assert_eq!(credentials.account_id.as_deref(), Some("123456789012"));
        assert!(!credentials.is_long_lived() && !source.draws_on_shared_quota());
    });
}

#[test]
fn an_argument_list_is_run_without_a_shell_and_may_give_long_lived_keys() {
    run(async || {
        let sources = Sources::new(&TestClock::new());
        let words = ["/bin/sh", "-c", r#"printf %s "$1""#, "sh", LONG_LIVED];
        let command = Command::Arguments(words.map(str::to_owned).to_vec());
        let config = Config { command };
        assert!(!format!("{config:?}").contains(CANARY));
        let mut source = ProcessProvider::new(config, sources.context());
        let provided = provided(&mut source).await;
        assert_eq!(key(&provided), "AKIALONG");
        assert_eq!(provided.renewal, Renewal::Mint);
        assert!(provided.credentials.is_long_lived());
    });
}

#[test]
fn a_failing_program_is_told_of_in_the_words_of_the_sdks() {
    run(async || {
        let sources = Sources::new(&TestClock::new()).set("OUTPUT", SESSION);
        for (line, class, says) in [
            (
                "echo session expired >&2; echo CANARY; exit 3",
                FailureClass::Transient,
                "Error retrieving credentials: external process `sh` exited with code exit \
                 status: 3: session expired",
            ),
            (
                "exit 3",
                FailureClass::Transient,
                "exited with code exit status: 3: it wrote nothing",
            ),
            (
                "echo CANARY",
                FailureClass::Misconfigured,
                "Error retrieving credentials from external process `sh`, could not parse \
                 response: invalid JSON in response",
            ),
            (
                r#"echo '{"Version":2}'"#,
                FailureClass::Misconfigured,
                "Unsupported version '2' for credential process provider",
            ),
            (
                r#"echo '{"Version":1,"SecretAccessKey":"CANARY"}'"#,
                FailureClass::Misconfigured,
                "Missing required key in response: 'AccessKeyId'",
            ),
            (
                r#"printf %s "$OUTPUT$OUTPUT""#,
                FailureClass::Misconfigured,
                "invalid JSON in response",
            ),
            (
                "yes CANARY",
                FailureClass::Misconfigured,
                "more than 65536 bytes",
            ),
        ] {
            let failure = failure(&mut provider(&sources, line)).await;
            assert_eq!(failure.class, class, "{failure}");
            assert!(failure.message.contains(says), "{failure}");
            assert!(!failure.message.contains(CANARY), "{failure}");
        }
    });
}

#[test]
fn a_program_that_waits_for_a_person_is_ended_after_the_minute_of_the_sdks() {
    run(async || {
        let clock = TestClock::new();
        let sources = Sources::new(&clock);
        let mut provider = provider(&sources, "sleep 1000");
        let outcome = failure(&mut provider);
        tokio::pin!(outcome);
        let mut seconds = 0;
        let failure = loop {
            tokio::select! {
                failure = &mut outcome => break failure,
                () = settle() => {
                    seconds += 1;
                    clock.advance(std::time::Duration::from_secs(1));
                }
            }
        };
        assert!(seconds >= 60, "{seconds}");
        assert_eq!(failure.class, FailureClass::Transient);
        assert!(failure.message.contains("within 60 s"), "{failure}");
    });
}
