//! The refresher: the one task that asks an identity's provider, and so the reason why no second
//! call can be under way.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::file_watch::FileWatch;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::held::Held;
use super::ledger::Page;
use super::orders::{Order, Orders};
use super::schedule;
use super::snapshot::{Snapshot, SnapshotPublisher, SnapshotReader, State, Trouble};
use crate::clock::{BootInstant, Jumps, SharedClock, timeout};
use crate::credentials::{Failure, FailureClass, Provided};
use crate::identity::IdentityName;
use crate::metrics::RefreshCounts;
use crate::providers::{Provider, Unprovided};
use crate::pulse::{Heart, Pulse};
use crate::random::Draws;
use crate::state::Mark;

/// The longest that an attempt may take, above the providers' own deadlines: a program has a
/// minute, and STS 20 s to make a session of what it writes.
const ATTEMPT: Duration = Duration::from_secs(90);

/// A look into a file that has changed may take this long: it may be on a file server.
const LOOK: Duration = Duration::from_secs(5);

/// Keeps one identity fresh for as long as it runs.
pub struct Refresher {
    provider: Box<dyn Provider>,
    orders: Orders,
    files: FileWatch,
    heart: Heart,
    keeper: Keeper,
}

/// All but the provider, so that what is in hand can be kept up while the provider is asked.
struct Keeper {
    identity: IdentityName,
    clock: SharedClock,
    draws: Box<dyn Draws>,
    publisher: SnapshotPublisher,
    counts: Arc<RefreshCounts>,
    snapshot: Snapshot,
    /// When the last attempt ended.
    concluded: BootInstant,
    logged: State,
    /// Where what is held is written down beyond the process.
    page: Page,
    /// What the set that an attempt brings will be the credentials of.
    definition: Option<Mark>,
    /// What the set is the credentials of that an earlier process has left, until the first attempt.
    restored: Option<Mark>,
}

impl std::fmt::Debug for Refresher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_tuple("Refresher")
            .field(&self.keeper.identity)
            .finish()
    }
}

/// Makes a refresher and the view of what it will publish.
pub fn refresher(
    identity: IdentityName,
    provider: Box<dyn Provider>,
    clock: SharedClock,
    draws: Box<dyn Draws>,
) -> (Refresher, SnapshotReader) {
    let (publisher, orders, reader) = SnapshotPublisher::new(identity.clone());
    let heart = Pulse::default().heart(identity.as_str());
    let keeper = Keeper {
        concluded: clock.boot(),
        identity,
        clock,
        draws,
        publisher,
        counts: Arc::default(),
        snapshot: Snapshot::default(),
        logged: State::Warming,
        page: Page::default(),
        definition: None,
        restored: None,
    };
    let files = FileWatch::new(Arc::clone(&keeper.clock));
    let refresher = Refresher {
        provider,
        orders,
        files,
        heart,
        keeper,
    };
    (refresher, reader)
}

impl Refresher {
    /// Has it answer whoever asks whether it is alive.
    #[must_use]
    pub fn watched_by(self, pulse: &Pulse) -> Self {
        let name = format!("the refresher of {}", self.keeper.identity);
        let heart = pulse.heart(name);
        Self { heart, ..self }
    }

    /// The same, beginning with what an earlier process has left, and leaving what it holds.
    #[must_use]
    pub(super) fn lasting(mut self, page: Page) -> Self {
        self.keeper.page = page;
        self
    }

    /// Counts its attempts there.
    #[must_use]
    pub fn counting(mut self, counts: Arc<RefreshCounts>) -> Self {
        self.keeper.counts = counts;
        self
    }

    /// Never ends of itself. Dropping it at any moment loses nothing.
    pub async fn run(mut self) {
        let clock = Arc::clone(&self.keeper.clock);
        let mut jumps = clock.jumps();
        let mut due = match self.keeper.restore().await {
            Some(due) => due,
            None => self.first_due(),
        };
        loop {
            self.files.watch(self.decisive_files());
            let wake = due.min(self.keeper.next_change());
            tokio::select! {
                // In order, since tokio's own choice is a chance that no seed decides.
                biased;
                () = jumps.next() => due = due.min(self.keeper.due_by_the_wall_clock()),
                order = self.orders.next() => due = self.obey(order, due),
                // What was forgotten is of no interest until somebody asks.
                () = self.provider.news(), if self.keeper.snapshot.attempts > 0 => {
                    due = clock.boot();
                }
                () = self.files.changed() => {
                    if self.keeper.snapshot.attempts > 0 {
                        let (is_due, has_jumped) = self.heeds_files(&mut jumps).await;
                        if has_jumped {
                            due = due.min(self.keeper.due_by_the_wall_clock());
                        }
                        if is_due {
                            due = clock.boot();
                        }
                    }
                }
                () = clock.sleep_until(wake) => {}
                // Last, so that one that finds no rest does not answer.
                () = self.heart.beat() => {}
            }
            if clock.boot() >= due {
                due = self.attempt(&mut jumps).await;
            } else {
                self.keeper.keep_up();
            }
        }
    }

    /// A provider that has not been asked since a restart does not know yet what the set in hand was
    /// made of.
    fn decisive_files(&self) -> Vec<PathBuf> {
        if self.keeper.restored.is_some() {
            self.keeper.page.files()
        } else {
            self.provider.files()
        }
    }

    /// Whether changed files are worth an attempt, and whether the wall clock has jumped meanwhile. A
    /// look that takes longer than one at them would is worth it, too.
    async fn heeds_files(&mut self, jumps: &mut Jumps) -> (bool, bool) {
        let Self {
            provider,
            keeper,
            heart,
            ..
        } = self;
        let (clock, page) = (Arc::clone(&keeper.clock), keeper.page.clone());
        let restored = keeper.restored;
        let look = async {
            if restored.is_some() {
                return page.definition(&clock).await != restored;
            }
            let heeding = timeout(&*clock, LOOK, provider.heeds_files());
            heeding.await.unwrap_or(true)
        };
        keeper.keep_up_during(look, jumps, heart).await
    }

    /// Says when the next attempt is due after `order`, which was `due` before.
    fn obey(&mut self, order: Order, due: BootInstant) -> BootInstant {
        let now = self.keeper.clock.boot();
        match order {
            Order::Demand | Order::Begin if self.keeper.snapshot.attempts > 0 => due,
            Order::Begin if due == BootInstant::NEVER => due,
            Order::Demand | Order::Begin => now,
            Order::Refresh => {
                self.provider.renew();
                now
            }
            // At most every 30 s: AWS may go on refusing what the source goes on giving.
            Order::Replace => {
                self.provider.renew();
                due.min(self.keeper.concluded.after(schedule::MINT_FLOOR))
            }
            Order::Forget => {
                self.provider.forget();
                self.keeper.forget();
                BootInstant::NEVER
            }
        }
    }

    fn first_due(&mut self) -> BootInstant {
        let now = self.keeper.clock.boot();
        if self.provider.draws_on_shared_quota() {
            now.after(schedule::start_spread(self.keeper.draws.draw()))
        } else {
            now
        }
    }

    /// Asks the provider. What is in hand is kept up meanwhile.
    async fn attempt(&mut self, jumps: &mut Jumps) -> BootInstant {
        let Self {
            provider,
            keeper,
            heart,
            ..
        } = self;
        let (clock, page) = (Arc::clone(&keeper.clock), keeper.page.clone());
        keeper.restored = None;
        let (span, begun) = (keeper.span(), clock.boot());
        let mut definition = None;
        let provide = async {
            // Before: what changes meanwhile may not have been seen.
            definition = page.definition(&clock).await;
            provider.provide().await
        };
        // Called where panics are caught, too.
        let provide = Box::pin(provide.instrument(span.clone()));
        let attempt = timeout(&*clock, ATTEMPT, catching_panics(provide));
        let (outcome, _) = keeper.keep_up_during(attempt, jumps, heart).await;
        keeper.definition = definition;
        let slow = |_| Err(Failure::transient("the attempt took longer than 90 s"));
        span.record("duration_ms", begun.until(clock.boot()).as_millis());
        keeper.conclude(outcome.unwrap_or_else(slow), &span)
    }
}

impl Keeper {
    /// Lets `work` come to its end, which an upstream or a file server may put off just when the body
    /// has to change. Says besides whether the wall clock has jumped.
    async fn keep_up_during<T>(
        &mut self,
        work: impl Future<Output = T>,
        jumps: &mut Jumps,
        heart: &mut Heart,
    ) -> (T, bool) {
        let clock = Arc::clone(&self.clock);
        let mut has_jumped = false;
        tokio::pin!(work);
        loop {
            self.keep_up();
            tokio::select! {
                biased;
                outcome = &mut work => return (outcome, has_jumped),
                () = jumps.next() => has_jumped = true,
                () = clock.sleep_until(self.next_change()) => {}
                // Alive until its deadline, which ends it.
                () = heart.beat() => {}
            }
        }
    }

    /// The instant, on the clock that never steps, at which the state or the body changes.
    fn next_change(&self) -> BootInstant {
        let now = self.clock.now();
        match self.snapshot.changes_at(now) {
            Some(instant) => self.clock.boot().after(now.until(instant)),
            None => BootInstant::NEVER,
        }
    }

    /// After a step forward the set may be due, or over, long before the deadline that was
    /// computed then; what is overdue is due at once, however often the clock is set. A step back
    /// never puts anything off.
    fn due_by_the_wall_clock(&self) -> BootInstant {
        let (Some(held), trouble) = (&self.snapshot.held, &self.snapshot.trouble) else {
            return BootInstant::NEVER;
        };
        match trouble {
            None => {}
            // Costs no upstream a call, and tells a person of a stage that was jumped over.
            Some(trouble) if trouble.failure.class == FailureClass::NeedsPerson => {
                return self.clock.boot();
            }
            Some(_) => return BootInstant::NEVER,
        }
        let now = self.clock.now();
        let wait = schedule::after_success(&held.life(), now, held.draw);
        let floor = schedule::floor(held.renewal);
        if held.ends() <= now || wait <= floor {
            self.concluded.after(floor)
        } else {
            self.clock.boot().after(wait)
        }
    }

    /// Takes over what an earlier process has left, if that is still what the identity stands for,
    /// and says when the first attempt is due.
    async fn restore(&mut self) -> Option<BootInstant> {
        let definition = self.page.definition(&self.clock).await;
        let kept = self.page.take(definition)?;
        let (now, boot) = (self.clock.now(), self.clock.boot());
        let planned = kept.due.map(|due| boot.until(due));
        let Some(held) = Held::restored(kept, now) else {
            self.page.release();
            return None;
        };
        let (life, spread) = (held.life(), self.draws.draw());
        let wait = schedule::after_restoring(&life, now, held.draw, planned, spread);
        tracing::info!(
            identity = %self.identity,
            source = %held.source,
            key = %held.credentials().access_key_id,
            expiry = held.credentials().expiry.map(tracing::field::display),
            next_refresh_seconds = wait.as_secs(),
            "taken over from before the restart"
        );
        let due = boot.after(wait);
        self.snapshot = Snapshot {
            refreshed: Some(held.obtained),
            held: Some(held),
            trouble: None,
            // Those of the earlier process: it is known, and not waited for.
            attempts: 1,
            next_attempt: Some(now.plus(wait)),
            due: Some(due),
        };
        self.restored = definition;
        self.keep_up();
        self.publisher.publish(self.snapshot.clone());
        Some(due)
    }

    fn forget(&mut self) {
        self.page.forget();
        self.restored = None;
        self.snapshot = Snapshot::default();
        self.publisher.publish(self.snapshot.clone());
        tracing::info!(identity = %self.identity, "forgotten, until somebody asks");
        self.logged = State::Warming;
    }

    /// All that is known of an attempt, in every line that the log has on it. Whatever the level
    /// is: a warning has to say whose it is.
    fn span(&self) -> Span {
        let failures = self.snapshot.trouble.as_ref().map_or(0, |it| it.failures);
        tracing::error_span!(
            "refresh",
            identity = %self.identity,
            attempt = failures.saturating_add(1),
            provider = Empty,
            request_id = Empty,
            duration_ms = Empty,
        )
    }

    /// Takes an attempt's outcome in, and says when the next attempt is due.
    fn conclude(&mut self, outcome: Result<Provided, Failure>, span: &Span) -> BootInstant {
        self.snapshot.attempts += 1;
        let wait = span.in_scope(|| match outcome.and_then(|provided| self.adopt(provided)) {
            Ok(wait) => {
                self.counts.succeeded.add();
                Some(wait)
            }
            Err(failure) => {
                self.counts.failed.add(failure.class);
                self.fail(failure)
            }
        });
        let (now, boot) = (self.clock.now(), self.clock.boot());
        self.concluded = boot;
        self.snapshot.next_attempt = wait.map(|wait| now.plus(wait));
        self.snapshot.due = wait.map(|wait| boot.after(wait));
        self.keep_record();
        self.keep_up();
        self.publisher.publish(self.snapshot.clone());
        self.snapshot.due.unwrap_or(BootInstant::NEVER)
    }

    /// After a failure what was written down before stands.
    fn keep_record(&self) {
        let Snapshot {
            held, trouble, due, ..
        } = &self.snapshot;
        if let (Some(held), None) = (held, trouble) {
            self.page.hold(held, self.definition, *due);
        }
    }

    fn adopt(&mut self, provided: Provided) -> Result<Duration, Failure> {
        let now = self.clock.now();
        let before = self.snapshot.held.as_ref();
        let is_new = before.is_none_or(|held| !held.is_same_set(&provided.credentials));
        let held = Held::adopt(provided, before, now, self.draws.draw())?;
        let wait = schedule::after_success(&held.life(), now, held.draw);
        if is_new {
            tracing::info!(
                outcome = "new",
                source = %held.source,
                key = %held.credentials().access_key_id,
                expiry = held.credentials().expiry.map(tracing::field::display),
                next_refresh_seconds = wait.as_secs(),
                "refreshed"
            );
        } else {
            tracing::debug!(
                outcome = "unchanged",
                source = %held.source,
                next_refresh_seconds = wait.as_secs(),
                "refreshed"
            );
        }
        if let Some(trouble) = self.snapshot.trouble.take() {
            tracing::info!(failures = trouble.failures, "refresh works again");
        }
        self.snapshot.held = Some(held);
        self.snapshot.refreshed = Some(now);
        Ok(wait)
    }

    fn fail(&mut self, failure: Failure) -> Option<Duration> {
        let now = self.clock.now();
        let before = self.snapshot.trouble.take();
        let failures = before
            .as_ref()
            .map_or(0, |trouble| trouble.failures)
            .saturating_add(1);
        let life = self.snapshot.held.as_ref().map(Held::life);
        let wait =
            schedule::after_failure(&failure, failures, life.as_ref(), now, self.draws.draw());
        let is_news = before
            .as_ref()
            .is_none_or(|trouble| trouble.failure.class != failure.class);
        let class = failure.class.as_str();
        if is_news {
            tracing::warn!(outcome = "failed", class, error = %failure, "refresh failed");
        } else {
            tracing::debug!(outcome = "failed", class, failures, error = %failure, "refresh failed again");
        }
        let since = before.map_or(now, |trouble| trouble.since);
        self.snapshot.trouble = Some(Trouble {
            failure,
            failures,
            since,
        });
        wait
    }

    /// Renders a body anew where its time has come, and says once what has changed.
    fn keep_up(&mut self) {
        let now = self.clock.now();
        if let Some(held) = self
            .snapshot
            .held
            .as_ref()
            .filter(|held| held.is_outdated(now) && self.snapshot.is_usable(now))
        {
            self.snapshot.held = Some(held.clone().rendered(now));
            self.publisher.publish(self.snapshot.clone());
        }
        self.log_transition();
    }

    fn log_transition(&mut self) {
        let state = self.snapshot.state(self.clock.now());
        if state == self.logged {
            return;
        }
        let (before, is_failing) = (self.logged.as_str(), self.snapshot.trouble.is_some());
        self.logged = state;
        let identity = &self.identity;
        match state {
            State::Warming | State::Fresh => {
                tracing::info!(%identity, state = state.as_str(), before, "state changed");
            }
            // A watched set whose successor has not appeared yet is late in the ordinary way.
            State::Late if !is_failing => {
                tracing::info!(%identity, state = state.as_str(), before, "state changed");
            }
            State::Late | State::Stale => {
                tracing::warn!(%identity, state = state.as_str(), before, "state changed");
            }
            State::Expired | State::Failed => {
                tracing::error!(%identity, state = state.as_str(), before, "state changed");
            }
        }
    }
}

/// Runs an attempt so that a panic in it is a failure of this identity, not the end of its task.
async fn catching_panics(
    mut attempt: crate::providers::Providing<'_>,
) -> Result<Provided, Failure> {
    let outcome = poll_fn(|context| {
        match catch_unwind(AssertUnwindSafe(|| attempt.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(outcome)) => Poll::Ready(Ok(outcome)),
            Err(_) => Poll::Ready(Err(Failure::transient(
                "the attempt panicked; please report this, with the panic message before it",
            ))),
        }
    })
    .await?;
    outcome.map_err(|unprovided| match unprovided {
        Unprovided::Failed(failure) => failure,
        Unprovided::NotConfigured(why) => {
            Failure::misconfigured(format!("no source of credentials is configured ({why})"))
        }
    })
}
