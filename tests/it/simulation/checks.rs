//! What must hold at every moment, whatever the weather.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use credd::clock::{BootInstant, Clock, Timestamp};
use credd::credentials::{Failure, FailureClass, Renewal};
use credd::providers::{Provider, Providing, Unprovided};
use credd::refresh::{Answer, Snapshot, SnapshotReader, State};
use credd::retry;
use serde_json::Value;

use super::Diary;
use super::clock::SimulatedClock;
use super::world::{CANARY, Source, World};

const MINUTE: Duration = Duration::from_mins(1);

/// After a success nothing is asked again sooner, and no quota that hosts share is drawn on.
const SUCCESS_FLOOR: Duration = Duration::from_secs(1);
const MINT_FLOOR: Duration = Duration::from_secs(30);

/// No minute sees more attempts than this. Bursts of short delays, and the last minutes of a set
/// that is read more and more often, come to two thirds of it in 10,000 seeds.
const ATTEMPTS_PER_MINUTE: usize = 60;

/// A provider whose every attempt is written down.
pub(super) struct Observed {
    inner: Box<dyn Provider>,
    source: Source,
    clock: Arc<SimulatedClock>,
    diary: Diary,
    log: Log,
}

pub(super) type Log = Arc<Mutex<Attempts>>;

#[derive(Debug, Default)]
pub(super) struct Attempts {
    all: Vec<Attempt>,
    /// What must not have happened. A panic would end in the refresher, as any provider's does.
    wrong: Option<String>,
}

#[derive(Debug)]
struct Attempt {
    begin: BootInstant,
    /// Absent while it is under way.
    end: Option<(BootInstant, Option<Failure>)>,
}

impl Observed {
    pub(super) fn new(
        inner: Box<dyn Provider>,
        source: Source,
        clock: &Arc<SimulatedClock>,
        diary: &Diary,
    ) -> (Self, Log) {
        let log = Log::default();
        let observed = Self {
            inner,
            source,
            clock: Arc::clone(clock),
            diary: diary.clone(),
            log: Arc::clone(&log),
        };
        (observed, log)
    }

    fn begin(&self) {
        let begin = self.clock.boot();
        let mut log = self.log.lock().unwrap();
        if let Some(last) = log.all.last_mut() {
            if let Some((end, failure)) = &last.end {
                let (waited, least) = (end.until(begin), floor(self.source, failure.as_ref()));
                if waited < least {
                    log.wrong = Some(format!("asked after {waited:?}, not {least:?}"));
                }
            } else {
                // Given up by its deadline, when exactly is not known here.
                last.end = Some((begin, Some(Failure::transient("given up"))));
            }
        }
        log.all.push(Attempt { begin, end: None });
        let name = self.source.name();
        let count = log.all.len();
        self.diary
            .note(&*self.clock, &format!("{name} attempt {count}"));
    }
}

/// The least wait before the next attempt.
fn floor(source: Source, failure: Option<&Failure>) -> Duration {
    let Some(failure) = failure else {
        return match source {
            Source::Minted | Source::Assumed | Source::Keyed => MINT_FLOOR,
            Source::Instance | Source::Task => SUCCESS_FLOOR,
        };
    };
    // A longer hint gives way to a set that is still good, though never by more than this.
    let hint = failure.retry_after.unwrap_or_default();
    retry::FLOOR.max(hint.min(Duration::from_mins(1)))
}

impl Provider for Observed {
    fn provide(&mut self) -> Providing<'_> {
        self.begin();
        let (log, clock) = (Arc::clone(&self.log), Arc::clone(&self.clock));
        let inner = self.inner.provide();
        Box::pin(async move {
            let outcome = inner.await;
            let failure = match &outcome {
                Ok(provided) => provided
                    .credentials
                    .expiry
                    .filter(|expiry| *expiry <= clock.now())
                    .map(|_| Failure::transient("expired")),
                Err(Unprovided::Failed(failure)) => Some(failure.clone()),
                Err(Unprovided::NotConfigured(why)) => Some(Failure::misconfigured(why)),
            };
            let mut log = log.lock().unwrap();
            let under_way = log.all.iter().filter(|attempt| attempt.end.is_none());
            if under_way.count() != 1 {
                log.wrong = Some("two attempts at once".to_owned());
            }
            log.all.last_mut().unwrap().end = Some((clock.boot(), failure));
            outcome
        })
    }

    fn draws_on_shared_quota(&self) -> bool {
        self.inner.draws_on_shared_quota()
    }
}

/// Looks at one identity.
pub(super) struct Checks {
    source: Source,
    reader: SnapshotReader,
    log: Log,
    world: Arc<World>,
    clock: Arc<SimulatedClock>,
    last: Option<Seen>,
}

/// A body that was answered.
struct Seen {
    body: Bytes,
    expiration: Timestamp,
}

impl Checks {
    pub(super) fn new(
        source: Source,
        reader: SnapshotReader,
        log: Log,
        world: Arc<World>,
        clock: Arc<SimulatedClock>,
    ) -> Self {
        Self {
            source,
            reader,
            log,
            world,
            clock,
            last: None,
        }
    }

    pub(super) fn demand(&self) {
        self.reader.demand();
    }

    pub(super) fn look(&mut self, has_recovered: bool) {
        let snapshot = Arc::clone(&self.reader.load());
        let now = self.clock.now();
        let answered = match snapshot.answer(now) {
            Answer::Credentials(body) => Some(body),
            Answer::Wait | Answer::Unavailable(_) => None,
        };
        let name = self.source.name();
        assert_eq!(self.log.lock().unwrap().wrong, None, "{name}");
        if let Some(held) = &snapshot.held {
            assert!(
                answered.is_some() || held.ends() <= now,
                "{name}: a good set is not served"
            );
        }
        if let Some(body) = answered {
            let expiration = self.genuine(body, &snapshot);
            assert_not_expired(&snapshot, expiration, now);
        }
        if has_recovered {
            let state = snapshot.state(now);
            assert!(
                matches!(state, State::Fresh | State::Late) && snapshot.trouble.is_none(),
                "{name}: {state:?} after all faults have ended: {:?}",
                snapshot.trouble
            );
        }
    }

    /// The body is whole and one that was issued. Says what it advertises.
    fn genuine(&mut self, body: Bytes, snapshot: &Snapshot) -> Timestamp {
        if let Some(seen) = self.last.as_ref().filter(|seen| seen.body == body) {
            return seen.expiration;
        }
        let value: Value = serde_json::from_slice(&body).unwrap();
        let text = |name: &str| value[name].as_str().unwrap();
        let set = self.world.issued(text("AccessKeyId")).unwrap();
        assert_eq!(set.source, self.source);
        assert_eq!(text("SecretAccessKey"), set.secret());
        assert_eq!(text("Token"), set.token());
        let expiration = Timestamp::parse(text("Expiration")).unwrap();
        assert!(expiration >= set.expiry, "an expiry before the true one");
        assert!(!format!("{snapshot:?}").contains(CANARY), "printed secrets");
        self.last = Some(Seen { body, expiration });
        expiration
    }

    pub(super) fn attempts(&self) -> usize {
        let attempts = usize::try_from(self.reader.load().attempts).unwrap();
        self.log.lock().unwrap().all.len().max(attempts)
    }

    /// The most attempts within any minute.
    pub(super) fn busiest_minute(&self) -> usize {
        if self.source.is_derived() {
            return self.busiest_minute_of_sts();
        }
        let log = &self.log.lock().unwrap().all;
        let mut busiest = 0;
        let mut first = 0;
        for (index, attempt) in log.iter().enumerate() {
            while log[first].begin.until(attempt.begin) >= MINUTE {
                first += 1;
            }
            busiest = busiest.max(index - first + 1);
        }
        assert!(busiest <= ATTEMPTS_PER_MINUTE, "{busiest} in a minute");
        busiest
    }
}

impl Checks {
    fn busiest_minute_of_sts(&self) -> usize {
        let asked = self.world.asked(self.source);
        let within = |from: &Duration| {
            let minute = *from..*from + MINUTE;
            asked.iter().filter(|it| minute.contains(*it)).count()
        };
        let busiest = asked.iter().map(within).max().unwrap_or(0);
        assert!(busiest <= ATTEMPTS_PER_MINUTE, "{busiest} in a minute");
        busiest
    }
}

fn assert_not_expired(snapshot: &Snapshot, expiration: Timestamp, now: Timestamp) {
    let held = snapshot.held.as_ref().unwrap();
    let ahead = now.until(expiration);
    if now < held.ends() {
        assert_eq!(expiration, held.ends(), "not the true expiry");
    } else {
        assert_eq!(held.renewal, Renewal::WatchStable, "an expired set");
        assert!(
            ahead >= 15 * MINUTE && ahead <= 25 * MINUTE,
            "stretched by {ahead:?}"
        );
        let class = snapshot.trouble.as_ref().map(|it| it.failure.class);
        assert!(
            class.is_none_or(FailureClass::may_pass),
            "stretched although {class:?}"
        );
    }
}
