//! The program beside the AWS of the tests, whose clock shows the host's time.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use credd::clock::{Clock, SystemClock};
use credd::os::files;

use crate::serving::program::Place;
use crate::support::clock::TestClock;
use crate::support::fake_aws::FakeAws;
use crate::support::patience;

/// A user with long-lived keys.
pub(crate) const OPS: &str = "arn:aws:iam::123456789012:user/ops";
pub(crate) const OPS_KEY: &str = "AKIAFAKEUSER0001";
pub(crate) const OPS_SECRET: &str = "CANARY-ops";

/// Runs `test` on a thread that may wait for programs.
pub(crate) fn beside_aws(test: impl FnOnce(&FakeAws) + Send + 'static) {
    patience::run(async move || {
        let clock = TestClock::new();
        let aws = Arc::new(FakeAws::start(&clock).await);
        aws.skew(SystemClock::new().now().unix_millis() - clock.now().unix_millis());
        // The role's first set is as old as the clock of the tests.
        aws.rotate(Duration::from_hours(6));
        aws.user(OPS_KEY, OPS_SECRET, OPS);
        let test = tokio::task::spawn_blocking(move || test(&aws));
        test.await.unwrap();
    });
}

/// `credd` with these words, in an environment where `aws` is all that there is of AWS.
pub(crate) fn credd(place: &Place, aws: &FakeAws, words: &[&str]) -> Command {
    let mut command = place.credd(words);
    command
        .env("AWS_ENDPOINT_URL_STS", aws.url())
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws.url());
    command
}

/// Puts the keys of the user into the environment.
pub(crate) fn with_keys(command: &mut Command) -> &mut Command {
    command
        .env("AWS_ACCESS_KEY_ID", OPS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", OPS_SECRET)
}

/// Adds to the config.
pub(crate) fn configure(place: &Place, more: &str) {
    let config = files::read_text_now(&place.config(), 64 * 1024).unwrap();
    let config = format!("{}{more}", *config);
    files::write_private(&place.config(), config.as_bytes()).unwrap();
}

/// Writes `~/.aws/config`.
pub(crate) fn write_profiles(place: &Place, text: &str) {
    let folder = place.home().join(".aws");
    std::fs::create_dir_all(&folder).unwrap();
    files::write_private(&folder.join("config"), text.as_bytes()).unwrap();
}
