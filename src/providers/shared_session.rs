//! MFA sessions that identities share: one for each pair of keys and device, since a code makes
//! one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::challenge::Challenge;
use crate::clock::Timestamp;
use crate::credentials::{Credentials, Warnings};
use crate::identity::IdentityName;
use crate::state::{KeptSession, Mark, Marker};

/// The sessions of all identities.
#[derive(Debug, Clone, Default)]
pub struct SharedSessions {
    all: Arc<Mutex<Sessions>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Sessions {
    entries: Vec<Entry>,
    /// Of an earlier process, whose owners nobody has met yet in this one.
    left: Vec<KeptSession>,
    /// None where nothing outlasts the process.
    marker: Option<Arc<Marker>>,
}

#[derive(Debug)]
struct Entry {
    owner: Owner,
    latest: watch::Sender<Option<Session>>,
    challenge: Weak<Challenge>,
    /// Those of an earlier process, too.
    users: Vec<Mark>,
}

/// Whose sessions are one.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) keys: Arc<Credentials>,
    /// Of the MFA device.
    pub(super) serial: String,
}

/// The secret counts: whoever knows the id of a key alone is a stranger to its sessions.
impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        let secret = &self.keys.secret_access_key;
        self.serial == other.serial
            && self.keys.access_key_id == other.keys.access_key_id
            && secret.matches(other.keys.secret_access_key.expose().as_bytes())
    }
}

/// A session with MFA.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) credentials: Arc<Credentials>,
    /// By AWS's clock, as its end is.
    pub(super) issued: Timestamp,
    pub(super) ends: Timestamp,
}

impl Session {
    pub(super) fn is_alive(&self, now: Timestamp) -> bool {
        now < self.ends
    }

    /// Whether it is time to ask a person for the next one.
    pub(super) fn is_due(&self, now: Timestamp, warnings: Warnings) -> bool {
        let warnings = warnings.of_life(self.issued.until(self.ends));
        let left: Duration = now.until(self.ends);
        left <= warnings.first
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.credentials, &other.credentials)
    }
}

impl SharedSessions {
    /// Those that outlast the process, with what is left of an earlier one.
    pub fn lasting(marker: Arc<Marker>, left: Vec<KeptSession>) -> Self {
        let sessions = Sessions {
            entries: Vec::new(),
            left,
            marker: Some(marker),
        };
        Self {
            all: Arc::new(Mutex::new(sessions)),
            changed: Arc::default(),
        }
    }

    /// What is to outlast the process.
    pub fn kept(&self, now: Timestamp) -> Vec<KeptSession> {
        let all = self.lock();
        let Some(marker) = &all.marker else {
            return Vec::new();
        };
        let left = all.left.iter().filter(|session| now < session.ends);
        let entries = all.entries.iter();
        let met = entries.filter_map(|entry| entry.kept(marker, now));
        left.cloned().chain(met).collect()
    }

    /// Completes when what is kept has changed since it last did.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// One owner's session, for one identity. It outlives those who use it, so that none is lost
    /// while a provider is made anew.
    pub(super) fn join(
        &self,
        owner: &Owner,
        identity: &IdentityName,
        now: Timestamp,
    ) -> SharedSession {
        let mut all = self.lock();
        all.entries.retain(|entry| {
            let is_used = entry.latest.receiver_count() > 0;
            let latest = entry.latest.borrow();
            is_used || latest.as_ref().is_some_and(|it| it.is_alive(now))
        });
        let user = all.user(identity);
        let known = all.entries.iter_mut().find(|entry| entry.owner == *owner);
        let latest = if let Some(entry) = known {
            let is_new = |user: &Mark| !entry.users.contains(user);
            entry.users.extend(user.filter(is_new));
            entry.latest.clone()
        } else {
            let (session, mut users) = all.take_left(owner, now).unzip();
            users.get_or_insert_default().extend(user);
            let latest = watch::Sender::new(session);
            all.entries.push(Entry {
                owner: owner.clone(),
                latest: latest.clone(),
                challenge: Weak::new(),
                users: users.unwrap_or_default(),
            });
            latest
        };
        SharedSession {
            seen: latest.subscribe(),
            latest,
            changed: Arc::clone(&self.changed),
        }
    }

    /// Drops what an earlier process had for an identity that has not joined its session yet.
    pub(super) fn forget(&self, identity: &IdentityName) {
        let mut all = self.lock();
        let Some(user) = all.user(identity) else {
            return;
        };
        all.left.retain(|session| !session.users.contains(&user));
        for entry in all.entries.iter().filter(|it| it.users.contains(&user)) {
            entry.latest.send_replace(None);
        }
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one place where a person can leave a code for the owner. `open` makes it where there is
    /// none yet.
    pub(super) fn challenge(
        &self,
        owner: &Owner,
        open: impl FnOnce() -> Challenge,
    ) -> Arc<Challenge> {
        let mut all = self.lock();
        let mut entry = all.entries.iter_mut().find(|entry| entry.owner == *owner);
        let known = entry.as_ref().and_then(|entry| entry.challenge.upgrade());
        known.unwrap_or_else(|| {
            let challenge = Arc::new(open());
            if let Some(entry) = &mut entry {
                entry.challenge = Arc::downgrade(&challenge);
            }
            challenge
        })
    }
}

impl Sessions {
    /// What stands for a user, where anything outlasts the process.
    fn user(&self, identity: &IdentityName) -> Option<Mark> {
        Some(self.marker.as_ref()?.mark(&("user", identity)))
    }

    /// What an earlier process has left for `owner`, and who used it.
    fn take_left(&mut self, owner: &Owner, now: Timestamp) -> Option<(Session, Vec<Mark>)> {
        let owner = owner.mark(self.marker.as_ref()?);
        let at = self.left.iter().position(|it| it.owner == owner)?;
        let KeptSession {
            credentials,
            issued,
            ends,
            users,
            ..
        } = self.left.swap_remove(at);
        let session = Session {
            credentials,
            issued,
            ends,
        };
        session.is_alive(now).then_some((session, users))
    }
}

impl Entry {
    fn kept(&self, marker: &Marker, now: Timestamp) -> Option<KeptSession> {
        let latest = self.latest.borrow();
        let session = latest.as_ref().filter(|session| session.is_alive(now))?;
        Some(KeptSession {
            owner: self.owner.mark(marker),
            credentials: Arc::clone(&session.credentials),
            issued: session.issued,
            ends: session.ends,
            users: self.users.clone(),
        })
    }
}

impl Owner {
    /// Never the keys themselves.
    fn mark(&self, marker: &Marker) -> Mark {
        let keys = &self.keys;
        let secret = keys.secret_access_key.expose();
        marker.mark(&("owner", &keys.access_key_id, secret, &self.serial))
    }
}

/// One owner's session as one identity sees it.
#[derive(Debug)]
pub(super) struct SharedSession {
    latest: watch::Sender<Option<Session>>,
    seen: watch::Receiver<Option<Session>>,
    changed: Arc<Notify>,
}

impl SharedSession {
    /// The latest session that any of the identities has obtained, if it lives.
    pub(super) fn latest(&mut self, now: Timestamp) -> Option<Session> {
        let latest = self.seen.borrow_and_update();
        latest.clone().filter(|session| session.is_alive(now))
    }

    /// Hands a session to the others, or none any more.
    pub(super) fn publish(&mut self, session: Option<Session>) {
        self.latest.send_replace(session);
        self.seen.mark_unchanged();
        self.changed.notify_one();
    }

    /// Completes when another identity has obtained a session.
    pub(super) async fn obtained_elsewhere(&mut self) {
        loop {
            if self.seen.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            if self.seen.borrow().is_some() {
                return;
            }
        }
    }
}
