//! MFA sessions that identities share: one for each pair of keys and device, since a code makes
//! one.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;

use crate::challenge::Challenge;
use crate::clock::Timestamp;
use crate::credentials::{Credentials, Warnings};

/// The sessions of all identities.
#[derive(Debug, Clone, Default)]
pub struct SharedSessions(Arc<Mutex<Vec<Entry>>>);

#[derive(Debug)]
struct Entry {
    owner: Owner,
    latest: watch::Sender<Option<Session>>,
    challenge: Weak<Challenge>,
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
    /// One owner's session, for one identity. It outlives those who use it, so that none is lost
    /// while a provider is made anew.
    pub(super) fn join(&self, owner: &Owner, now: Timestamp) -> SharedSession {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| {
            let is_used = entry.latest.receiver_count() > 0;
            let latest = entry.latest.borrow();
            is_used || latest.as_ref().is_some_and(|it| it.is_alive(now))
        });
        let known = entries.iter().find(|entry| entry.owner == *owner);
        let latest = if let Some(entry) = known {
            entry.latest.clone()
        } else {
            let latest = watch::Sender::default();
            entries.push(Entry {
                owner: owner.clone(),
                latest: latest.clone(),
                challenge: Weak::new(),
            });
            latest
        };
        SharedSession {
            seen: latest.subscribe(),
            latest,
        }
    }

    /// The one place where a person can leave a code for the owner. `open` makes it where there is
    /// none yet.
    pub(super) fn challenge(
        &self,
        owner: &Owner,
        open: impl FnOnce() -> Challenge,
    ) -> Arc<Challenge> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entry = entries.iter_mut().find(|entry| entry.owner == *owner);
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

/// One owner's session as one identity sees it.
#[derive(Debug)]
pub(super) struct SharedSession {
    latest: watch::Sender<Option<Session>>,
    seen: watch::Receiver<Option<Session>>,
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
