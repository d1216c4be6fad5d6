//! The session of one pair of keys and device, as one identity uses it, and the person who is
//! asked for its next code.

use super::Context;
use super::shared_session::{Owner, Session, SharedSession};
use crate::challenge::{Answered, Share, Subject};
use crate::clock::Timestamp;
use crate::credentials::Warnings;
use crate::identity::IdentityName;

pub(super) struct MfaSession {
    owner: Owner,
    /// What people call the identity.
    name: IdentityName,
    shared: SharedSession,
    /// Where a person leaves codes, if codes are a person's.
    challenge: Option<Share>,
    /// What this identity was given last.
    in_hand: Option<Session>,
    /// Whether what is in hand is good for nothing more, whatever its end.
    wants_another: bool,
}

impl MfaSession {
    /// The session of `owner`. What was in hand `before`, with other keys, goes on to be used.
    pub(super) fn join(
        owner: Owner,
        is_asked_for: bool,
        context: &Context,
        before: Option<Self>,
    ) -> Self {
        let name = called(&context.identity);
        let sessions = &context.shared_sessions;
        let shared = sessions.join(&owner, &context.identity, context.clock.now());
        let challenge = is_asked_for.then(|| {
            let subject = || Subject {
                identity: name.clone(),
                serial: owner.serial.clone(),
            };
            let open = || context.challenges.open(subject());
            let challenge = context.shared_sessions.challenge(&owner, open);
            challenge.share_with(&name)
        });
        Self {
            owner,
            name,
            shared,
            challenge,
            wants_another: before.as_ref().is_some_and(|it| it.wants_another),
            in_hand: before.and_then(|it| it.in_hand),
        }
    }

    pub(super) fn is_of(&self, owner: &Owner) -> bool {
        self.owner == *owner
    }

    pub(super) fn asked_as(&self) -> &str {
        self.name.as_str()
    }

    /// The code that a person has left.
    pub(super) fn answered_code(&self) -> Option<Answered> {
        self.challenge.as_ref()?.take()
    }

    /// A session that is news to this identity.
    pub(super) fn another(&mut self, now: Timestamp) -> Option<Session> {
        let latest = self.shared.latest(now)?;
        let in_hand = self.in_hand.as_ref();
        if in_hand.is_some_and(|session| session.is_same(&latest)) {
            return None;
        }
        if let Some(challenge) = &self.challenge {
            challenge.obtained(now, latest.ends);
        }
        self.wants_another = false;
        self.in_hand = Some(latest.clone());
        Some(latest)
    }

    /// One with which nobody need be asked yet.
    pub(super) fn usable(&mut self, now: Timestamp, warnings: Warnings) -> Option<Session> {
        if let Some(another) = self.another(now) {
            return Some(another);
        }
        let in_hand = self.in_hand.as_ref()?;
        let is_good = !self.wants_another && !in_hand.is_due(now, warnings);
        is_good.then(|| in_hand.clone())
    }

    pub(super) fn ask(&self, now: Timestamp) {
        if let Some(challenge) = &self.challenge {
            let ends = self.in_hand.as_ref().map(|session| session.ends);
            challenge.ask(now, ends);
        }
    }

    /// This identity has obtained a session, for all.
    pub(super) fn obtained(&mut self, session: Session) {
        self.shared.publish(Some(session.clone()));
        self.in_hand = Some(session);
        self.wants_another = false;
    }

    pub(super) fn wish_for_another(&mut self) {
        self.wants_another = true;
    }

    pub(super) fn forget(&mut self) {
        self.shared.publish(None);
        self.in_hand = None;
        self.wants_another = false;
    }

    /// Completes when a code waits, or another identity has obtained a session.
    pub(super) async fn news(&mut self) {
        let answered = async {
            match &self.challenge {
                Some(challenge) => challenge.answered().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = answered => {}
            () = self.shared.obtained_elsewhere() => {}
        }
    }
}

/// A hop that nobody named goes by the name of the identity that needs it.
fn called(identity: &IdentityName) -> IdentityName {
    let name = identity.as_str().trim_end_matches(".from");
    IdentityName::parse(name).unwrap_or_else(|_| identity.clone())
}
