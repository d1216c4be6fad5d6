//! What deciding on the next attempt costs.

use std::time::Duration;

use credd::clock::Timestamp;
use credd::credentials::{Failure, Renewal};
use credd::random::Draw;
use credd::refresh::{Life, after_failure, after_success};
use credd::retry::{self, Pace};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const RENEWALS: [Renewal; 3] = [Renewal::Mint, Renewal::Watch, Renewal::WatchStable];

#[divan::bench(args = RENEWALS)]
fn after_a_success(bencher: Bencher<'_, '_>, renewal: Renewal) {
    let (life, now) = (life(renewal), now());
    bencher.bench_local(|| after_success(black_box(&life), now, black_box(Draw::new(0.5))));
}

#[divan::bench(args = RENEWALS)]
fn after_a_failure(bencher: Bencher<'_, '_>, renewal: Renewal) {
    let (life, now) = (life(renewal), now());
    let failure = Failure::transient("the service is away");
    let draw = Draw::new(0.5);
    bencher
        .bench_local(|| after_failure(black_box(&failure), 5, Some(&life), now, black_box(draw)));
}

/// The delay alone, after as many failures in a row.
#[divan::bench(args = [1, 5, 1000])]
fn delay(bencher: Bencher<'_, '_>, failures: u32) {
    let draw = Draw::new(0.5);
    bencher.bench_local(|| retry::delay(Pace::Quick, black_box(failures), draw, None));
}

/// In its last quarter, where a schedule looks at everything.
fn life(renewal: Renewal) -> Life {
    Life {
        renewal,
        issued: Some(now().minus(Duration::from_hours(5))),
        obtained: now().minus(Duration::from_hours(5)),
        expiry: Some(now().plus(Duration::from_hours(1))),
    }
}

fn now() -> Timestamp {
    Timestamp::from_unix_millis(1_800_000_000_000)
}
