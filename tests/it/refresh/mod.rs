//! The refresher against an AWS that misbehaves, by a clock that is wound by hand.

mod clocks;
mod herd;
mod lies;
mod outages;
mod schedule;
mod transitions;

use std::sync::Arc;
use std::time::Duration;

use credd::clock::{BootInstant, Clock, SharedClock, Timestamp};
use credd::environment::Environment;
use credd::http::{Client, Roots};
use credd::identity::IdentityName;
use credd::providers::chain::{self, Link};
use credd::providers::{Context, Provider, Surroundings, container, imds};
use credd::refresh::{Answer, Snapshot, SnapshotReader, State, refresher};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::chance::Chance;
use crate::support::clock::TestClock;
use crate::support::fake_aws::{Call, FakeAws};
use crate::support::journal::Journal;
use crate::support::news::tell;
use crate::support::patience::{settle, until};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// To the source that is asked by `call`.
fn link(call: Call, aws: &FakeAws) -> Link {
    match call {
        Call::Container => Link::Container(container::Config {
            uri: Some(aws.container_url()),
            token_file: None,
        }),
        _ => Link::InstanceMetadata(imds::Config {
            endpoint: Some(aws.url()),
            ..imds::Config::default()
        }),
    }
}

/// One refresher at work.
struct Bench {
    clock: Arc<TestClock>,
    aws: FakeAws,
    reader: SnapshotReader,
    journal: Journal,
    _running: JoinSet<()>,
}

impl Bench {
    /// One that has not asked anything yet, since nothing has been awaited.
    async fn cold(call: Call, seed: u64) -> Self {
        let clock = TestClock::new();
        let aws = FakeAws::start(&clock).await;
        let provider = chain(&[link(call, &aws)], &clock, Environment::default());
        Self::with(provider, clock, aws, seed)
    }

    fn with(provider: Box<dyn Provider>, clock: Arc<TestClock>, aws: FakeAws, seed: u64) -> Self {
        let journal = Journal::begin();
        let (refresher, reader) = refresher(
            IdentityName::default(),
            provider,
            Arc::clone(&clock) as SharedClock,
            Box::new(Chance::new(seed)),
        );
        let mut running = JoinSet::new();
        running.spawn(refresher.run());
        Self {
            clock,
            aws,
            reader,
            journal,
            _running: running,
        }
    }

    /// One that holds a set of six hours from a container endpoint.
    async fn container() -> Self {
        Self::warm(Call::Container, 1).await
    }

    /// One that holds a set of six hours from instance metadata.
    async fn imds() -> Self {
        Self::warm(Call::Role, 1).await
    }

    async fn warm(call: Call, seed: u64) -> Self {
        let bench = Self::cold(call, seed).await;
        bench.attempts(1).await;
        assert_eq!(bench.state(), State::Fresh);
        bench
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.reader.load())
    }

    fn state(&self) -> State {
        self.snapshot().state(self.clock.now())
    }

    /// The body that a client would get now.
    fn body(&self) -> Option<Value> {
        match self.snapshot().answer(self.clock.now()) {
            Answer::Credentials(body) => Some(serde_json::from_slice(&body).unwrap()),
            Answer::Wait | Answer::Unavailable(_) => None,
        }
    }

    fn key(&self) -> Option<String> {
        Some(self.body()?["AccessKeyId"].as_str()?.to_owned())
    }

    /// How far ahead the `Expiration` is that a client would see now.
    fn advertised(&self) -> Option<Duration> {
        let expiry = Timestamp::parse(self.body()?["Expiration"].as_str()?)?;
        Some(self.clock.now().until(expiry))
    }

    fn failures(&self) -> u32 {
        let snapshot = self.snapshot();
        snapshot
            .trouble
            .as_ref()
            .map_or(0, |trouble| trouble.failures)
    }

    /// How long until the next attempt.
    fn wait(&self) -> Duration {
        self.clock.boot().until(self.due())
    }

    fn due(&self) -> BootInstant {
        self.snapshot().due.unwrap()
    }

    /// Waits until so many attempts have finished.
    async fn attempts(&self, count: u64) {
        until(|| self.snapshot().attempts >= count).await;
    }

    /// Winds the clock to the next attempt and waits until it has finished.
    async fn next_attempt(&self) {
        let before = self.snapshot().attempts;
        self.clock.advance_to(self.due());
        self.attempts(before + 1).await;
    }

    /// Winds the clock to `instant` and lets what has come due go on.
    async fn wind_to(&self, instant: Timestamp) {
        self.clock.advance(self.clock.now().until(instant));
        settle().await;
    }

    /// Winds the clock second by second until the attempt under way has finished.
    async fn wait_out(&self, attempt: u64) -> Duration {
        let mut waited = Duration::ZERO;
        loop {
            settle().await;
            if self.snapshot().attempts >= attempt {
                return waited;
            }
            self.clock.advance(SECOND);
            waited += SECOND;
        }
    }

    /// Winds the clock on by `duration`, in steps of `step` at most, stopping at each attempt
    /// until it has finished. Calls `look` after each step.
    async fn pass(&self, duration: Duration, step: Duration, mut look: impl FnMut(&Self)) {
        let end = self.clock.boot().after(duration);
        while self.clock.boot() < end {
            let (boot, due) = (self.clock.boot(), self.due());
            let next = boot.after(step).min(end);
            if due <= next {
                self.next_attempt().await;
            } else {
                self.clock.advance_to(next);
                // A body or a state whose time has come is changed by the refresher.
                for _ in 0..5 {
                    tokio::task::yield_now().await;
                }
            }
            look(self);
        }
    }
}

/// A chain over real sockets.
fn chain(links: &[Link], clock: &Arc<TestClock>, environment: Environment) -> Box<dyn Provider> {
    let clock = Arc::clone(clock) as SharedClock;
    let context = Context::alone(Surroundings::new(
        Arc::new(environment),
        Arc::new(Client::new(Arc::clone(&clock), [], Roots::System)),
        clock,
    ));
    Box::new(chain::build(links, &context))
}
