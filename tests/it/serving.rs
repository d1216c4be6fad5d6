//! What the tests of serving stand on: a daemon in the test's own process, connections whose bytes
//! are written by hand, an upstream that counts, and a clock that is wound by hand.

pub(crate) mod clock;
pub(crate) mod daemon;
pub(crate) mod network;
pub(crate) mod program;
pub(crate) mod upstream;
pub(crate) mod wire;

use std::time::Duration;

use credd::clock::{Clock, SystemClock};

/// Far more than anything here takes, on a machine that is busy with something else too.
const PATIENCE: Duration = Duration::from_mins(1);

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let clock = SystemClock::new();
    let begun = clock.boot();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            begun.until(clock.boot()) < PATIENCE,
            "waited in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Says that a test could not run, and why.
#[expect(clippy::print_stderr, reason = "news to whoever runs the tests")]
pub(crate) fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// Says what a test has measured.
#[expect(clippy::print_stderr, reason = "news to whoever runs the tests")]
pub(crate) fn measured(figures: &str) {
    eprintln!("measured: {figures}");
}
