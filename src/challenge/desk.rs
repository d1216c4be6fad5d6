//! Where those who need a code and those who have one meet: one desk for each session that a
//! person can renew, and at each one code at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, oneshot};

use super::MfaCode;
use super::asking::Challenge;
use super::outcome::{Accepted, NotAccepted, Subject};
use super::used::{Claim, UsedCodes};
use super::warnings::{Kind, Told};
use crate::clock::{BootInstant, SharedClock, Timestamp};
use crate::credentials::Warnings;
use crate::identity::IdentityName;

/// What people are told: in the log, in `status`, by a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    pub subject: Subject,
    /// When the session in hand ends, if there is one.
    pub ends: Option<Timestamp>,
    pub kind: Kind,
}

/// Announcements that a subscriber may be behind before it misses some.
const BACKLOG: usize = 64;

/// One session that a person can renew, as `status` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    pub subject: Subject,
    /// Other identities that use the session.
    pub shared_by: Vec<IdentityName>,
    /// Since when a code is wanted. One may be given before.
    pub pending_since: Option<Timestamp>,
    /// When the session in hand ends, if there is one.
    pub ends: Option<Timestamp>,
    pub is_being_tried: bool,
    pub last: Option<LastAnswer>,
}

/// What came of the last code that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastAnswer {
    pub at: Timestamp,
    pub outcome: Result<Accepted, NotAccepted>,
}

/// Every session of this daemon that a person can renew.
pub struct Challenges {
    desks: Mutex<Desks>,
    pub(super) used: UsedCodes,
    pub(super) clock: SharedClock,
    warnings: Mutex<Warnings>,
    announcements: broadcast::Sender<Announcement>,
}

#[derive(Default)]
pub(super) struct Desks {
    by_number: BTreeMap<DeskNumber, Desk>,
    next: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DeskNumber(u64);

pub(super) struct Desk {
    pub(super) subject: Subject,
    /// Those that use the session, as often as they do: a reload may begin one anew before it ends
    /// the one before.
    users: Vec<IdentityName>,
    pub(super) told: Told,
    pending_since: Option<Timestamp>,
    pub(super) turn: Turn,
    pub(super) last: Option<LastAnswer>,
    /// When a code was last taken.
    accepted: Option<(BootInstant, Timestamp)>,
    /// Woken when a code waits.
    pub(super) arrival: Arc<Notify>,
}

/// How far the code at a desk has come. There is never more than one. Whoever holds a number acts
/// on their own turn only.
pub(super) enum Turn {
    Free,
    /// It is being written down as used.
    Arriving(TurnNumber),
    /// It waits for the provider.
    Waiting(TurnNumber, Delivery),
    /// The provider has it.
    Tried(TurnNumber),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TurnNumber(u64);

/// A code on its way, and the one who waits to hear of it.
pub(super) struct Delivery {
    pub(super) code: MfaCode,
    pub(super) claim: Claim,
    pub(super) reply: oneshot::Sender<Result<Accepted, NotAccepted>>,
}

/// How long after a code was taken a second one counts as an answer to the same question.
const RECENT: Duration = Duration::from_mins(1);

impl Challenges {
    pub fn new(used: UsedCodes, clock: SharedClock, warnings: Warnings) -> Arc<Self> {
        Arc::new(Self {
            desks: Mutex::default(),
            used,
            clock,
            warnings: Mutex::new(warnings),
            announcements: broadcast::Sender::new(BACKLOG),
        })
    }

    /// Opens a desk, at which codes for `subject` can be left for as long as the challenge lives.
    pub fn open(self: &Arc<Self>, subject: Subject) -> Challenge {
        let arrival = Arc::new(Notify::new());
        let desk = Desk {
            subject,
            users: Vec::new(),
            told: Told::default(),
            pending_since: None,
            turn: Turn::Free,
            last: None,
            accepted: None,
            arrival: Arc::clone(&arrival),
        };
        let mut desks = self.desks();
        let number = DeskNumber(desks.number());
        desks.by_number.insert(number, desk);
        drop(desks);
        Challenge::new(Arc::clone(self), number, arrival)
    }

    /// Every open desk, by name.
    pub fn list(&self) -> Vec<Open> {
        let desks = self.desks();
        let mut open: Vec<Open> = desks.by_number.values().map(Desk::open).collect();
        drop(desks);
        open.sort_by(|one, other| one.subject.cmp(&other.subject));
        open
    }

    /// A subscription to what is announced from now on.
    pub fn announcements(&self) -> broadcast::Receiver<Announcement> {
        self.announcements.subscribe()
    }

    /// The codes that have been sent, for providers whose codes need no person.
    pub fn used(&self) -> &UsedCodes {
        &self.used
    }

    /// How long before their ends sessions are announced.
    pub fn warnings(&self) -> Warnings {
        *self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has sessions announced that long before their ends from now on.
    pub fn warn(&self, warnings: Warnings) {
        *self.warnings.lock().unwrap_or_else(PoisonError::into_inner) = warnings;
    }

    pub(super) fn desks(&self) -> MutexGuard<'_, Desks> {
        // Nothing that is done under the lock can panic half-way.
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, desk: DeskNumber, user: &IdentityName) {
        if let Some(desk) = self.desks().desk(desk) {
            desk.users.push(user.clone());
        }
    }

    pub(super) fn leave(&self, desk: DeskNumber, user: &IdentityName) {
        if let Some(desk) = self.desks().desk(desk) {
            desk.leave(user);
        }
    }

    pub(super) fn ask(&self, desk: DeskNumber, now: Timestamp, ends: Option<Timestamp>) {
        let warnings = self.warnings();
        self.change(desk, |desk| {
            let kind = desk.told.ask(warnings, now, ends);
            desk.pending_since.get_or_insert(now);
            kind
        });
    }

    pub(super) fn obtain(&self, desk: DeskNumber, now: Timestamp, ends: Timestamp) {
        self.change(desk, |desk| desk.obtain(now, ends));
    }

    /// A code of this turn has been tried.
    pub(super) fn conclude(
        &self,
        desk: DeskNumber,
        turn: TurnNumber,
        outcome: &Result<Accepted, NotAccepted>,
    ) {
        let (now, boot) = (self.clock.now(), self.clock.boot());
        self.change(desk, |desk| {
            if desk.turn.number() != Some(turn) {
                return None;
            }
            desk.turn = Turn::Free;
            desk.last = Some(LastAnswer {
                at: now,
                outcome: outcome.clone(),
            });
            let until = outcome.as_ref().ok()?.until;
            desk.accepted = Some((boot, until));
            desk.obtain(now, until)
        });
    }

    pub(super) fn close(&self, desk: DeskNumber) {
        let Some(desk) = self.desks().by_number.remove(&desk) else {
            return;
        };
        if desk.told.is_pending() {
            self.announce(desk.announcement(Kind::Withdrawn));
        }
        if let Turn::Waiting(_, delivery) = desk.turn {
            delivery.claim.release();
            let subject = desk.subject;
            let _ = delivery.reply.send(Err(NotAccepted::Gone { subject }));
        }
    }

    /// Changes a desk, and announces what comes of it once the others may go on.
    fn change(&self, desk: DeskNumber, change: impl FnOnce(&mut Desk) -> Option<Kind>) {
        let mut desks = self.desks();
        let announcement = desks
            .desk(desk)
            .and_then(|desk| change(desk).map(|kind| desk.announcement(kind)));
        drop(desks);
        if let Some(announcement) = announcement {
            self.announce(announcement);
        }
    }

    fn announce(&self, announcement: Announcement) {
        let Announcement {
            subject,
            ends,
            kind,
        } = &announcement;
        let Subject { identity, serial } = subject;
        let (stage, ends) = (kind.as_str(), ends.map(tracing::field::display));
        match kind {
            Kind::Asked | Kind::Lapsed => tracing::warn!(
                %identity, serial, stage, ends,
                "an MFA code is needed, and nothing is served without: run `credd mfa {identity}`"
            ),
            Kind::Warned(_) => tracing::warn!(
                %identity, serial, stage, ends,
                "an MFA code is needed before the session ends: run `credd mfa {identity}`"
            ),
            Kind::Answered => tracing::info!(
                %identity, serial, stage, ends,
                "no MFA code is needed any more: there is a session"
            ),
            Kind::Withdrawn => tracing::info!(
                %identity, serial, stage,
                "no MFA code is needed any more: the identity has gone"
            ),
        }
        // That nobody listens is no fault.
        let _ = self.announcements.send(announcement);
    }
}

impl Desks {
    /// One that nothing else here has.
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn turn_number(&mut self) -> TurnNumber {
        TurnNumber(self.number())
    }

    pub(super) fn desk(&mut self, number: DeskNumber) -> Option<&mut Desk> {
        self.by_number.get_mut(&number)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (DeskNumber, &Desk)> {
        self.by_number.iter().map(|(number, desk)| (*number, desk))
    }
}

impl Desk {
    fn open(&self) -> Open {
        Open {
            subject: self.subject.clone(),
            shared_by: self.shared_by(),
            pending_since: self.pending_since,
            ends: self.told.ends(),
            is_being_tried: !matches!(self.turn, Turn::Free),
            last: self.last.clone(),
        }
    }

    /// Once each, in the order in which they came.
    fn shared_by(&self) -> Vec<IdentityName> {
        let mut others = Vec::new();
        for user in &self.users {
            if *user != self.subject.identity && !others.contains(user) {
                others.push(user.clone());
            }
        }
        others
    }

    /// Whoever has gone is not asked for any more: another that stays is.
    fn leave(&mut self, user: &IdentityName) {
        if let Some(place) = self.users.iter().position(|it| it == user) {
            self.users.remove(place);
        }
        if let Some(first) = self.users.first()
            && !self.users.contains(&self.subject.identity)
        {
            self.subject.identity = first.clone();
        }
    }

    fn obtain(&mut self, now: Timestamp, ends: Timestamp) -> Option<Kind> {
        self.pending_since = None;
        self.told.obtain(now, ends)
    }

    /// Whether a person may mean it by that.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let mut names = std::iter::once(&self.subject.identity).chain(&self.users);
        self.subject.serial == name || names.any(|it| it.as_str() == name)
    }

    fn announcement(&self, kind: Kind) -> Announcement {
        Announcement {
            subject: self.subject.clone(),
            ends: self.told.ends(),
            kind,
        }
    }

    /// Until when the session lives that somebody else has obtained just now.
    pub(super) fn recently_accepted(&self, boot: BootInstant) -> Option<Timestamp> {
        let (at, until) = self.accepted?;
        let is_recent = at.until(boot) < RECENT && !self.told.is_pending();
        is_recent.then_some(until)
    }
}

impl Turn {
    pub(super) fn number(&self) -> Option<TurnNumber> {
        match self {
            Self::Free => None,
            Self::Arriving(number) | Self::Waiting(number, _) | Self::Tried(number) => {
                Some(*number)
            }
        }
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Challenges")
            .field("open", &self.list())
            .finish_non_exhaustive()
    }
}
