//! Long-lived keys where a role would do: on an EC2 instance.

use credd::providers::chain;

use super::*;
use crate::support::fake_aws::{CANARY, FakeAws};
use crate::support::journal::Journal;
use crate::support::patience::run;

const KEY: &str = "AKIAFAKEUSER0001";

/// The lines that warn, after two refreshes of one identity with these variables.
async fn warnings(is_on_ec2: bool, has_token: bool) -> Vec<String> {
    let journal = Journal::begin();
    let clock = TestClock::new();
    let aws = FakeAws::start(&clock).await;
    aws.user(KEY, CANARY, "arn:aws:iam::123456789012:user/ops");
    let mut sources = Sources::new(&clock)
        .set("AWS_ENDPOINT_URL_STS", aws.url())
        .set("AWS_ACCESS_KEY_ID", KEY)
        .set("AWS_SECRET_ACCESS_KEY", CANARY);
    if has_token {
        sources = sources.set("AWS_SESSION_TOKEN", CANARY);
    }
    let context = sources.context();
    let context = Context {
        surroundings: Surroundings {
            is_on_ec2,
            ..context.surroundings
        },
        ..context
    };
    let mut chain = chain::build_served(&chain::default_chain(), &context);
    for _ in 0..2 {
        provided(&mut *chain).await;
    }
    journal.lines("long-lived keys on an EC2 instance")
}

#[test]
fn long_lived_keys_on_an_instance_are_warned_of_once() {
    run(async || {
        let lines = warnings(true, false).await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("WARN") && lines[0].contains("identity=default"));
        assert!(lines[0].contains("give the instance a role"), "{lines:?}");
        assert!(!lines[0].contains(CANARY) && !lines[0].contains(KEY));
    });
}

#[test]
fn nobody_is_warned_of_sessions_or_elsewhere() {
    run(async || {
        assert!(warnings(true, true).await.is_empty());
        assert!(warnings(false, false).await.is_empty());
    });
}
