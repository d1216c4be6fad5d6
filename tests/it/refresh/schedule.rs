//! When sources are asked, and what is in hand for how long.

use std::path::Path;

use credd::credentials::{
    AccessKeyId, Credentials, Failure, FailureClass, Principal, Provided, Renewal,
};
use credd::os::files;
use credd::providers::{Providing, profile};
use credd::secret::Secret;

use super::*;
use crate::support::fake_aws::CANARY;
use crate::support::patience::run;

#[test]
fn a_new_set_in_the_last_quarter_is_picked_up_within_a_minute() {
    for call in [Call::Container, Call::Role] {
        run(async move || {
            let mut chance = Chance::new(7);
            for seed in 0..10 {
                let bench = Bench::warm(call, seed).await;
                let appears = Duration::from_secs(chance.between(270 * 60, 359 * 60));
                bench.pass(appears, HOUR, |_| ()).await;
                let new = bench.aws.rotate(6 * HOUR);
                let mut waited = Duration::ZERO;
                while bench.key() != Some(new.key()) {
                    bench.pass(SECOND, SECOND, |_| ()).await;
                    waited += SECOND;
                }
                assert!(waited <= MINUTE, "{waited:?} at {appears:?}");
            }
        });
    }
}

#[test]
fn a_whole_life_of_an_instance_set_costs_few_calls() {
    run(async || {
        let bench = Bench::imds().await;
        bench.pass(6 * HOUR, HOUR, |_| ()).await;
        tell(&format!(
            "a set of six hours: {} calls to instance metadata",
            bench.aws.calls()
        ));
        assert!(bench.aws.calls() <= 140, "{}", bench.aws.calls());
    });
}

#[test]
fn a_role_that_is_swapped_early_is_noticed_within_an_hour() {
    run(async || {
        let bench = Bench::imds().await;
        bench.aws.attach(Some("other"));
        let new = bench.aws.rotate(6 * HOUR);
        bench.pass(HOUR, HOUR, |_| ()).await;
        assert_eq!(bench.key(), Some(new.key()));
    });
}

#[test]
fn a_session_of_unknown_end_is_advertised_for_16_minutes_and_read_each_minute() {
    run(async || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        write_session(&path, 1);
        let bench = profile_bench(&path).await;
        assert_eq!(bench.key().unwrap(), "ASIASESSION1");
        bench
            .pass(40 * MINUTE, 10 * SECOND, |bench| {
                assert!(bench.wait() <= MINUTE);
                let advertised = bench.advertised().unwrap();
                assert!(advertised > 14 * MINUTE && advertised <= 16 * MINUTE);
                assert_eq!(bench.state(), State::Fresh);
            })
            .await;
        write_session(&path, 2);
        bench.next_attempt().await;
        assert_eq!(bench.key().unwrap(), "ASIASESSION2");
    });
}

#[test]
fn a_session_of_unknown_end_is_not_served_beyond_the_longest_life_of_any() {
    run(async || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        write_session(&path, 1);
        let bench = profile_bench(&path).await;
        bench.clock.suspend(35 * HOUR + 59 * MINUTE + MINUTE / 2);
        bench.attempts(2).await;
        assert!(bench.body().is_some());
        bench.pass(MINUTE / 2, MINUTE, |_| ()).await;
        assert_eq!(bench.body(), None);
        assert_eq!(bench.state(), State::Expired);
        // Its clients are told at once, and not to wait for what will not come.
        bench.pass(5 * MINUTE, MINUTE, |_| ()).await;
        let snapshot = bench.snapshot();
        assert!(matches!(
            snapshot.answer(bench.clock.now()),
            Answer::Unavailable(_)
        ));
    });
}

#[test]
fn long_lived_keys_are_not_served_and_the_answer_says_why() {
    run(async || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        let keys = format!("aws_access_key_id=AKIAKEYS\naws_secret_access_key={CANARY}\n");
        files::write_private(&path, format!("[default]\n{keys}").as_bytes()).unwrap();
        let bench = profile_bench(&path).await;
        let snapshot = bench.snapshot();
        let Answer::Unavailable(failure) = snapshot.answer(bench.clock.now()) else {
            panic!("served");
        };
        assert_eq!(failure.code, "LongLivedCredentials");
        assert_eq!(failure.class, FailureClass::Misconfigured);
        assert!(!bench.journal.text().contains(CANARY));
        // A session in their place is taken up.
        write_session(&path, 1);
        bench.next_attempt().await;
        assert_eq!(bench.state(), State::Fresh);
    });
}

async fn profile_bench(credentials: &Path) -> Bench {
    let clock = TestClock::new();
    let aws = FakeAws::start(&clock).await;
    let link = Link::Profile(profile::Config {
        credentials_file: Some(credentials.to_owned()),
        ..profile::Config::default()
    });
    let provider = chain(&[link], &clock, Environment::default());
    let bench = Bench::with(provider, clock, aws, 1);
    bench.attempts(1).await;
    bench
}

fn write_session(path: &Path, number: u32) {
    let text = format!(
        "[default]\naws_access_key_id=ASIASESSION{number}\naws_secret_access_key={CANARY}\n\
         aws_session_token={CANARY}\n"
    );
    files::write_private(path, text.as_bytes()).unwrap();
}

#[test]
fn a_minted_set_is_replaced_after_20_to_45_percent_of_its_life() {
    run(async || {
        for seed in 0..20 {
            let bench = minting_bench(seed, Mint::default()).await;
            bench.clock.advance(MINUTE);
            bench.attempts(1).await;
            assert!(bench.wait() >= 12 * MINUTE && bench.wait() <= 27 * MINUTE);
            let before = bench.key();
            bench.next_attempt().await;
            assert_ne!(bench.key(), before);
        }
    });
}

#[test]
fn a_clock_that_is_wrong_by_a_lifetime_does_not_make_a_refresher_drain_a_quota() {
    run(async || {
        let mint = Mint {
            lifetime: 3 * SECOND,
            ..Mint::default()
        };
        let bench = minting_bench(1, mint).await;
        bench.clock.advance(MINUTE);
        bench.attempts(1).await;
        bench.pass(10 * MINUTE, SECOND, |_| ()).await;
        assert!(bench.snapshot().attempts <= 21);
    });
}

#[test]
fn a_fleet_spreads_its_first_calls_unless_somebody_waits() {
    run(async || {
        let mut begins = Vec::new();
        for seed in 0..40 {
            let bench = minting_bench(seed, Mint::default()).await;
            let mut waited = Duration::ZERO;
            while bench.snapshot().attempts == 0 {
                bench.clock.advance(SECOND);
                waited += SECOND;
                settle().await;
            }
            assert!(waited <= MINUTE);
            begins.push(waited);
        }
        begins.sort();
        begins.dedup();
        assert!(begins.len() >= 15, "{begins:?}");

        let bench = minting_bench(3, Mint::default()).await;
        settle().await;
        assert_eq!(bench.snapshot().attempts, 0);
        bench.reader.demand();
        bench.attempts(1).await;
        assert_eq!(bench.state(), State::Fresh);
    });
}

#[test]
fn whoever_holds_others_back_has_a_first_call_made_and_brings_nothing_forgotten_back() {
    run(async || {
        let bench = minting_bench(3, Mint::default()).await;
        settle().await;
        assert_eq!(bench.snapshot().attempts, 0);
        bench.reader.begin();
        bench.attempts(1).await;
        assert_eq!(bench.state(), State::Fresh);
        bench.reader.begin();
        settle().await;
        assert_eq!(bench.snapshot().attempts, 1);
        bench.reader.forget();
        settle().await;
        assert_eq!(bench.snapshot().attempts, 0);
        for _ in 0..10 {
            bench.reader.begin();
            bench.clock.advance(MINUTE);
            settle().await;
        }
        assert_eq!(bench.snapshot().attempts, 0);
        bench.reader.demand();
        bench.attempts(1).await;
    });
}

#[test]
fn what_needs_a_person_is_not_asked_again_by_itself() {
    run(async || {
        let failure = Failure {
            class: FailureClass::NeedsPerson,
            ..Failure::denied("an MFA code is needed")
        };
        let bench = minting_bench(1, Mint::failing(failure)).await;
        bench.clock.advance(MINUTE);
        bench.attempts(1).await;
        assert_eq!(bench.snapshot().due, None);
        for _ in 0..10 {
            bench.reader.demand();
            bench.clock.advance(HOUR);
            bench.clock.step_forward(HOUR);
            settle().await;
        }
        assert_eq!(bench.snapshot().attempts, 1);
    });
}

#[test]
fn a_provider_that_panics_or_never_ends_fails_and_is_asked_again() {
    run(async || {
        let bench = minting_bench(
            1,
            Mint {
                panics: true,
                ..Mint::default()
            },
        )
        .await;
        bench.clock.advance(MINUTE);
        bench.attempts(1).await;
        assert!(
            bench
                .snapshot()
                .trouble
                .as_ref()
                .unwrap()
                .failure
                .message
                .contains("panicked")
        );
        bench.next_attempt().await;
        assert_eq!(bench.state(), State::Fresh);

        let bench = minting_bench(
            1,
            Mint {
                hangs: true,
                ..Mint::default()
            },
        )
        .await;
        bench.clock.advance(MINUTE);
        assert!(bench.wait_out(1).await <= 90 * SECOND);
        assert_eq!(bench.state(), State::Failed);
        bench.next_attempt().await;
        assert_eq!(bench.state(), State::Fresh);
    });
}

/// A source that makes a new set at each call, or does as told once.
struct Mint {
    clock: Option<Arc<TestClock>>,
    lifetime: Duration,
    made: u32,
    fails: Option<Failure>,
    panics: bool,
    hangs: bool,
}

impl Default for Mint {
    fn default() -> Self {
        Self {
            clock: None,
            lifetime: HOUR,
            made: 0,
            fails: None,
            panics: false,
            hangs: false,
        }
    }
}

impl Mint {
    fn failing(failure: Failure) -> Self {
        Self {
            fails: Some(failure),
            ..Self::default()
        }
    }
}

impl Provider for Mint {
    fn provide(&mut self) -> Providing<'_> {
        // Before there is a future to be polled.
        assert!(!std::mem::take(&mut self.panics), "told to");
        Box::pin(async move {
            if std::mem::take(&mut self.hangs) {
                std::future::pending::<()>().await;
            }
            if let Some(failure) = self.fails.take() {
                return Err(failure.into());
            }
            self.made += 1;
            let now = self.clock.as_ref().unwrap().now();
            Ok(Provided {
                credentials: Credentials {
                    access_key_id: AccessKeyId::from(format!("ASIAMINTED{:04}", self.made)),
                    secret_access_key: Secret::from(CANARY.to_owned()),
                    session_token: Some(Secret::from(CANARY.to_owned())),
                    expiry: Some(now.plus(self.lifetime)),
                    account_id: None,
                    role_arn: None,
                    principal: Principal::Unknown,
                },
                renewal: Renewal::Mint,
                issued: Some(now),
                source: "mint".into(),
            })
        })
    }

    fn draws_on_shared_quota(&self) -> bool {
        true
    }
}

async fn minting_bench(seed: u64, mint: Mint) -> Bench {
    let clock = TestClock::new();
    let aws = FakeAws::start(&clock).await;
    let mint = Mint {
        clock: Some(Arc::clone(&clock)),
        ..mint
    };
    let bench = Bench::with(Box::new(mint), clock, aws, seed);
    settle().await;
    bench
}
