//! The current state of one identity, as everybody but its refresher sees it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::watch;

use super::held::{Expiry, Held};
use super::orders::{Given, Order, Orders};
use crate::clock::{BootInstant, Timestamp};
use crate::credentials::{Credentials, Failure, FailureClass, Renewal};
use crate::identity::IdentityName;

/// Less than this left, and clients begin to poll: 15 minutes, and one for clocks and transit.
const LATE: Duration = Duration::from_mins(16);

/// The last failure whose retry still comes within the time that a request may wait: the ceiling
/// of the fourth delay is 400 ms.
const SOON_FAILURES: u32 = 4;

/// Immutable; replaced whole.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub held: Option<Held>,
    /// What has gone wrong since the last success.
    pub trouble: Option<Trouble>,
    /// Attempts finished so far.
    pub attempts: u64,
    /// When the source last gave something good.
    pub refreshed: Option<Timestamp>,
    /// When the next attempt is due, by the wall clock as it was; `None` if only a person can
    /// bring one about.
    pub next_attempt: Option<Timestamp>,
    /// The same by the clock that never steps.
    pub due: Option<BootInstant>,
}

/// A streak of failures.
#[derive(Debug, Clone)]
pub struct Trouble {
    pub failure: Failure,
    /// How many in a row.
    pub failures: u32,
    pub since: Timestamp,
}

/// How an identity is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The first attempt has not finished.
    Warming,
    Fresh,
    /// Served, with under 16 minutes left.
    Late,
    /// Served past its expiry, by IMDS static stability.
    Stale,
    Expired,
    /// Never had credentials.
    Failed,
}

impl State {
    pub const ALL: [Self; 6] = [
        Self::Warming,
        Self::Fresh,
        Self::Late,
        Self::Stale,
        Self::Expired,
        Self::Failed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warming => "warming",
            Self::Fresh => "fresh",
            Self::Late => "late",
            Self::Stale => "stale",
            Self::Expired => "expired",
            Self::Failed => "failed",
        }
    }
}

/// What a request gets.
pub enum Answer<'a> {
    Credentials(Bytes),
    /// Something better may be had within the time that a request may wait.
    Wait,
    Unavailable(&'a Failure),
}

/// What a derived identity gets.
#[derive(Debug)]
pub enum Usable<'a> {
    Credentials(&'a Arc<Credentials>),
    /// An attempt is under way, or about to be.
    Wait,
    Unavailable(&'a Failure),
}

/// Not the body.
impl std::fmt::Debug for Answer<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Credentials(_) => formatter.write_str("Credentials"),
            Self::Wait => formatter.write_str("Wait"),
            Self::Unavailable(failure) => {
                formatter.debug_tuple("Unavailable").field(failure).finish()
            }
        }
    }
}

impl Snapshot {
    pub fn state(&self, now: Timestamp) -> State {
        let Some(held) = &self.held else {
            return if self.trouble.is_some() {
                State::Failed
            } else {
                State::Warming
            };
        };
        if now >= held.ends() {
            return if self.is_usable(now) {
                State::Stale
            } else {
                State::Expired
            };
        }
        match held.expiry {
            Expiry::Known(expiry) if now.until(expiry) < LATE => State::Late,
            _ => State::Fresh,
        }
    }

    /// Whether the set in hand may be handed out at `now`: until it ends, and beyond that while
    /// AWS keeps honouring it, which it does while IMDS cannot renew it, and not where IMDS says
    /// that there is nothing to renew.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        let Some(held) = &self.held else { return false };
        let is_an_outage = || {
            self.trouble
                .as_ref()
                .is_none_or(|trouble| trouble.failure.class.may_pass())
        };
        now < held.ends() || (held.renewal == Renewal::WatchStable && is_an_outage())
    }

    /// When the state changes, or the body has to, if nothing else happens.
    pub fn changes_at(&self, now: Timestamp) -> Option<Timestamp> {
        let held = self.held.as_ref()?;
        let late = match held.expiry {
            Expiry::Known(expiry) => Some(expiry.minus(LATE).plus(Duration::from_millis(1))),
            Expiry::Unknown { .. } | Expiry::Never => None,
        };
        let rendering = held.render_again_at().filter(|_| self.is_usable(now));
        let to_come = [late, Some(held.ends())]
            .into_iter()
            .flatten()
            .filter(|&it| it > now);
        to_come.chain(rendering).min()
    }

    /// Whether clients get credentials.
    pub fn is_served(&self, now: Timestamp) -> bool {
        self.is_usable(now) && self.held.as_ref().is_some_and(Held::is_handed_out)
    }

    /// Whether it does what it is for: clients get credentials, or, where they never do, those
    /// feed others.
    pub fn is_ready(&self, now: Timestamp) -> bool {
        let feeds_others = self.held.as_ref().is_some_and(|held| !held.is_handed_out());
        self.is_served(now) || feeds_others
    }

    /// The set itself, for what is derived from it.
    pub fn usable(&self, now: Timestamp) -> Usable<'_> {
        match (&self.held, &self.trouble) {
            (Some(held), _) if self.is_usable(now) => Usable::Credentials(held.credentials()),
            (_, Some(trouble)) => Usable::Unavailable(&trouble.failure),
            (_, None) => Usable::Wait,
        }
    }

    pub fn answer(&self, now: Timestamp) -> Answer<'_> {
        if let Some(held) = self.held.as_ref().filter(|_| self.is_usable(now)) {
            return match held.body(now) {
                None => Answer::Wait,
                Some(Ok(body)) => Answer::Credentials(body),
                Some(Err(why)) => Answer::Unavailable(why),
            };
        }
        match &self.trouble {
            None => Answer::Wait,
            Some(trouble) if trouble.may_pass_soon() => Answer::Wait,
            // No waiting: a failing identity costs its clients a load and a comparison.
            Some(trouble) => Answer::Unavailable(&trouble.failure),
        }
    }
}

impl Trouble {
    fn may_pass_soon(&self) -> bool {
        self.failure.class == FailureClass::Transient
            && self.failure.retry_after.is_none()
            && self.failures <= SOON_FAILURES
    }
}

/// Everybody's view of one identity.
#[derive(Debug, Clone)]
pub struct SnapshotReader {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    identity: IdentityName,
    current: ArcSwap<Snapshot>,
    published: watch::Sender<u64>,
    orders: watch::Sender<Given>,
}

impl SnapshotReader {
    pub fn identity(&self) -> &IdentityName {
        &self.shared.identity
    }

    /// The current snapshot, without a lock. Hold it for the length of a look.
    pub fn load(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.shared.current.load()
    }

    /// A subscription to what is published from now on.
    pub fn published(&self) -> watch::Receiver<u64> {
        self.shared.published.subscribe()
    }

    /// Waits for a snapshot of that kind, the current one included.
    pub async fn until(&self, is_such: impl Fn(&Snapshot) -> bool) {
        let mut published = self.published();
        while !is_such(&self.load()) {
            if published.changed().await.is_err() {
                return;
            }
        }
    }

    /// Says that somebody waits: a first attempt that was put off by the start spread begins now.
    /// Never shortens a delay that failures have brought about.
    pub fn demand(&self) {
        self.order(Order::Demand);
    }

    /// Says that others are held back until there is a first set, as a container's app is until its
    /// sidecar is healthy: like [`demand`](Self::demand), but what was forgotten stays forgotten.
    pub fn begin(&self) {
        self.order(Order::Begin);
    }

    /// Makes an attempt now, whatever the schedule says.
    pub fn refresh(&self) {
        self.order(Order::Refresh);
    }

    /// Says that AWS does not take the set in hand any more: one attempt is made soon.
    pub fn replace(&self) {
        self.order(Order::Replace);
    }

    /// Drops the set in hand. The next attempt is made when somebody asks.
    pub fn forget(&self) {
        self.order(Order::Forget);
    }

    fn order(&self, order: Order) {
        self.shared.orders.send_modify(|given| given.add(order));
    }
}

/// The refresher's end.
#[derive(Debug)]
pub(super) struct SnapshotPublisher {
    shared: Arc<Shared>,
}

impl SnapshotPublisher {
    pub(super) fn new(identity: IdentityName) -> (Self, Orders, SnapshotReader) {
        let shared = Arc::new(Shared {
            identity,
            current: ArcSwap::from_pointee(Snapshot::default()),
            published: watch::Sender::new(0),
            orders: watch::Sender::default(),
        });
        let orders = Orders::new(shared.orders.subscribe());
        let publisher = Self {
            shared: Arc::clone(&shared),
        };
        (publisher, orders, SnapshotReader { shared })
    }

    pub(super) fn publish(&self, snapshot: Snapshot) {
        self.shared.current.store(Arc::new(snapshot));
        self.shared.published.send_modify(|count| *count += 1);
    }
}
