//! What one caller may take up, so that no other has to go without: connections at once, and
//! requests in the long run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::Limits;
use crate::authz::{Caller, ListenerName};
use crate::clock::BootInstant;

/// Connections at once from which on nobody gets more than `FEW`: several callers who crowd
/// together leave room for others. At up to 20 KiB each they come to 15 MiB.
const CROWD: usize = 768;

const FEW: usize = 16;

/// Connections beyond those of a crowd; as many again for those whom a rule knows, since one person
/// may have 65,536 users of their own (subuid(5)).
const ROOM: usize = 768;

/// Each connection takes two descriptors at most: its own and that of its process.
const DESCRIPTORS: usize = 2;

/// Descriptors for all else: listeners, upstreams, files, programs.
const RESERVED: usize = 128;

/// Connections of one caller that are read from at once before their first request is whole. An
/// honest client's comes in one piece, so that none waits; those that send it byte by byte do, and
/// wait without the 20 KiB that reading takes.
const BEGINNERS: usize = 16;

/// How long a caller may go on at twice its rate, after it has asked nothing for as long.
const BURST: Duration = Duration::from_secs(2);

/// Accounts that are kept without looking for those that nobody needs any more.
const TIDY: usize = 64;

/// Whom the limits are for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    User(u32),
    /// All those on a listener of whom the kernel says nothing.
    Unknown(ListenerName),
}

impl Holder {
    pub(super) fn of(caller: &Caller) -> Self {
        match &caller.user {
            Some(user) => Self::User(user.uid),
            None => Self::Unknown(caller.listener.clone()),
        }
    }
}

/// What each caller takes up now. Those that take up nothing are forgotten.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Connections that there are descriptors for.
    places: usize,
    /// Beyond those of a crowd, for everybody, and once more for those who are known.
    room: usize,
    accounts: Mutex<Accounts>,
}

#[derive(Debug)]
struct Accounts {
    limits: Limits,
    /// Connections at once from which on nobody gets more than a few.
    crowd: usize,
    /// Users whom a rule names, root and the daemon's own.
    known: BTreeSet<u32>,
    taken: usize,
    of: BTreeMap<Holder, Usage>,
    /// How many there may be before they are tidied again.
    tidy_at: usize,
}

#[derive(Debug)]
struct Usage {
    connections: usize,
    /// When its requests so far would be over, had they come one by one at the rate allowed.
    busy_until: BootInstant,
    beginners: Arc<Semaphore>,
}

impl Usage {
    fn none() -> Self {
        Self {
            connections: 0,
            busy_until: BootInstant::since_boot(Duration::ZERO),
            beginners: Arc::new(Semaphore::new(BEGINNERS)),
        }
    }

    /// Counts a request, unless it comes too soon after too many others.
    fn request(&mut self, per_second: u32, now: BootInstant) -> bool {
        let share = Duration::from_secs(1) / per_second.max(1);
        let over = self.busy_until.max(now).after(share);
        let is_allowed = now.until(over) <= BURST;
        if is_allowed {
            self.busy_until = over;
        }
        is_allowed
    }

    fn is_none(&self, now: BootInstant) -> bool {
        self.connections == 0 && self.busy_until <= now
    }
}

impl Ledger {
    /// `descriptors` is how many the process may have at once, for this ledger's connections and
    /// all else.
    pub(super) fn new(limits: Limits, known: BTreeSet<u32>, descriptors: usize) -> Self {
        let places = descriptors.saturating_sub(RESERVED) / DESCRIPTORS;
        let ledger = Self {
            places,
            room: ROOM.min(places / 3),
            accounts: Mutex::new(Accounts {
                limits,
                crowd: 0,
                known: BTreeSet::new(),
                taken: 0,
                of: BTreeMap::new(),
                tidy_at: TIDY,
            }),
        };
        ledger.change(limits, known);
        ledger
    }

    /// Other limits hold from now on. Who has more than they allow keeps it.
    pub(super) fn change(&self, limits: Limits, known: BTreeSet<u32>) {
        // One caller alone is no crowd.
        let crowd = CROWD.max(limits.connections).min(self.places / 3);
        let mut accounts = self.accounts();
        accounts.limits = Limits {
            connections: limits.connections.min(crowd),
            ..limits
        };
        accounts.crowd = crowd;
        accounts.known = known;
    }

    /// A place for one more connection, unless its holder has as many as it may.
    pub(super) fn place(self: &Arc<Self>, holder: Holder, now: BootInstant) -> Option<Place> {
        let mut accounts = self.accounts();
        let rooms = if accounts.is_known(&holder) { 2 } else { 1 };
        let (limit, crowd) = (accounts.limits.connections, accounts.crowd);
        let allowed = match accounts.taken {
            taken if taken < crowd => limit,
            taken if taken < crowd + rooms * self.room => limit.min(FEW),
            _ => 0,
        };
        let usage = accounts.of.get(&holder);
        if usage.map_or(0, |usage| usage.connections) >= allowed {
            return None;
        }
        accounts.tidy(now);
        accounts.taken += 1;
        let account = accounts.of.entry(holder.clone());
        let account = account.or_insert_with(Usage::none);
        account.connections += 1;
        let beginners = Arc::clone(&account.beginners);
        drop(accounts);
        Some(Place {
            ledger: Arc::clone(self),
            holder,
            beginners,
        })
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Accounts {
    fn is_known(&self, holder: &Holder) -> bool {
        matches!(holder, Holder::User(uid) if self.known.contains(uid))
    }

    /// At most as many are kept as twice those that are needed: a holder needs one while it is
    /// connected, and for as long after as its requests count.
    fn tidy(&mut self, now: BootInstant) {
        if self.of.len() >= self.tidy_at {
            self.of.retain(|_, usage| !usage.is_none(now));
            self.tidy_at = TIDY.max(2 * self.of.len());
        }
    }
}

/// One connection's place. Free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    ledger: Arc<Ledger>,
    holder: Holder,
    beginners: Arc<Semaphore>,
}

impl Place {
    /// Its holder's room for connections whose first request is not whole yet.
    pub(super) fn beginners(&self) -> Arc<Semaphore> {
        Arc::clone(&self.beginners)
    }

    /// Whether its holder may make one more request now; it is counted then.
    pub(super) fn request(&self, now: BootInstant) -> bool {
        let mut accounts = self.ledger.accounts();
        let per_second = accounts.limits.requests_per_second;
        let account = accounts.of.get_mut(&self.holder);
        account.is_none_or(|account| account.request(per_second, now))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut accounts = self.ledger.accounts();
        accounts.taken -= 1;
        if let Some(account) = accounts.of.get_mut(&self.holder) {
            account.connections -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        connections: 100,
        requests_per_second: 10,
    };

    fn at(millis: u64) -> BootInstant {
        BootInstant::since_boot(Duration::from_millis(millis))
    }

    fn ledger() -> Arc<Ledger> {
        Arc::new(Ledger::new(LIMITS, BTreeSet::new(), usize::MAX))
    }

    /// As many places as there are for `holder`.
    fn crowd(ledger: &Arc<Ledger>, holder: &Holder) -> Vec<Place> {
        std::iter::from_fn(|| ledger.place(holder.clone(), at(0))).collect()
    }

    #[test]
    fn each_caller_has_places_of_its_own_and_strangers_share_theirs() {
        let ledger = ledger();
        let alice = crowd(&ledger, &Holder::User(1));
        assert_eq!(alice.len(), 100);
        assert_eq!(crowd(&ledger, &Holder::User(2)).len(), 100);
        let http = Holder::Unknown(ListenerName::http());
        let strangers = crowd(&ledger, &http);
        assert_eq!(strangers.len(), 100);
        let imds = Holder::Unknown(ListenerName::imds());
        assert_eq!(crowd(&ledger, &imds).len(), 100);
        drop(alice);
        assert_eq!(crowd(&ledger, &Holder::User(1)).len(), 100);
    }

    #[test]
    fn a_crowd_of_callers_leaves_a_few_places_for_each_of_many_more() {
        let ledger = ledger();
        let mut taken: Vec<_> = (0..8)
            .flat_map(|uid| crowd(&ledger, &Holder::User(uid)))
            .collect();
        assert_eq!(taken.len(), CROWD);
        // The last of them stopped short of its hundred, and has more than the few.
        assert!(ledger.place(Holder::User(7), at(0)).is_none());
        for uid in 100.. {
            let more = crowd(&ledger, &Holder::User(uid));
            if more.is_empty() {
                break;
            }
            assert_eq!(more.len(), FEW);
            taken.extend(more);
        }
        assert_eq!(taken.len(), CROWD + ROOM);
        taken.pop();
        assert!(ledger.place(Holder::User(5000), at(0)).is_some());
    }

    #[test]
    fn users_whom_a_rule_knows_have_room_that_no_crowd_of_others_takes() {
        let ledger = Arc::new(Ledger::new(LIMITS, [0, 1000].into(), usize::MAX));
        let strangers: Vec<_> = (5000..7000)
            .flat_map(|uid| crowd(&ledger, &Holder::User(uid)))
            .collect();
        assert_eq!(strangers.len(), CROWD + ROOM);
        for uid in [0, 1000] {
            assert_eq!(crowd(&ledger, &Holder::User(uid)).len(), FEW);
        }
    }

    #[test]
    fn there_are_never_more_places_than_descriptors() {
        for descriptors in [0, 128, 256, 1024, 8192] {
            let ledger = Arc::new(Ledger::new(LIMITS, [0].into(), descriptors));
            let users = (0..2000).chain([0]);
            let taken: Vec<_> = users
                .flat_map(|uid| crowd(&ledger, &Holder::User(uid)))
                .collect();
            let room = descriptors.saturating_sub(RESERVED);
            assert!(DESCRIPTORS * taken.len() <= room, "{descriptors}");
            assert_eq!(taken.is_empty(), room == 0, "{descriptors}");
        }
    }

    #[test]
    fn a_caller_that_may_have_more_than_a_crowd_gets_them() {
        let limits = Limits {
            connections: 1024,
            ..LIMITS
        };
        let ledger = Arc::new(Ledger::new(limits, BTreeSet::new(), usize::MAX));
        let alice = crowd(&ledger, &Holder::User(1));
        assert_eq!(alice.len(), 1024);
        assert_eq!(crowd(&ledger, &Holder::User(2)).len(), FEW);
    }

    #[test]
    fn a_burst_of_two_seconds_is_allowed_and_then_the_rate() {
        let ledger = ledger();
        let place = ledger.place(Holder::User(1), at(0)).unwrap();
        let allowed = |millis| {
            let asked = std::iter::repeat_with(|| place.request(at(millis)));
            asked.take_while(|it| *it).count()
        };
        assert_eq!(allowed(5000), 20);
        assert_eq!(allowed(5099), 0);
        assert_eq!(allowed(5100), 1);
        assert_eq!(allowed(6100), 10);
        assert_eq!(allowed(60_000), 20);
        // Time that goes back, or stands still, gives nothing.
        assert_eq!(allowed(0), 0);
    }

    #[test]
    fn whoever_connects_anew_has_no_new_allowance() {
        let ledger = ledger();
        let asked = |millis| {
            let place = ledger.place(Holder::User(1), at(millis)).unwrap();
            place.request(at(millis))
        };
        assert_eq!((0..100).filter(|_| asked(0)).count(), 20);
        assert!(!asked(99));
        assert!(asked(100));
    }

    #[test]
    fn whoever_takes_up_nothing_is_forgotten() {
        let ledger = ledger();
        for uid in 0..100_000 {
            let now = at(u64::from(uid) * 100);
            let place = ledger.place(Holder::User(uid), now).unwrap();
            assert!(place.request(now));
            assert!(ledger.accounts().of.len() <= TIDY + 1);
        }
        // But not before its requests are.
        for uid in 0..1000 {
            let place = ledger.place(Holder::User(uid), at(20_000_000)).unwrap();
            assert!(place.request(at(20_000_000)));
        }
        assert!(ledger.accounts().of.len() >= 1000);
        assert_eq!(ledger.accounts().taken, 0);
    }

    proptest! {
        #[test]
        fn no_caller_ever_has_more_than_its_burst_and_its_rate(
            steps in prop::collection::vec((0..500_u64, 0..8_usize), 1..200),
        ) {
            let ledger = ledger();
            let place = ledger.place(Holder::User(1), at(0)).unwrap();
            let (mut now, mut allowed) = (0, 0);
            for (pause, requests) in steps {
                now += pause;
                allowed += (0..requests).filter(|_| place.request(at(now))).count();
                prop_assert!(allowed as u64 <= 20 + now / 100);
            }
        }
    }
}
