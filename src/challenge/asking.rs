//! The side that needs a code: the provider of a session.

use std::sync::Arc;

use tokio::sync::{Notify, oneshot};

use super::MfaCode;
use super::desk::{Challenges, Delivery, DeskNumber, Turn, TurnNumber};
use super::outcome::{Accepted, NotAccepted, Subject, Verdict};
use super::used::Claim;
use crate::clock::Timestamp;
use crate::identity::IdentityName;

/// A session that a person's code can renew, in the hands of the providers that use it.
#[derive(Debug)]
pub struct Challenge {
    challenges: Arc<Challenges>,
    desk: DeskNumber,
    arrival: Arc<Notify>,
}

impl Challenge {
    pub(super) fn new(challenges: Arc<Challenges>, desk: DeskNumber, arrival: Arc<Notify>) -> Self {
        Self {
            challenges,
            desk,
            arrival,
        }
    }

    /// Lets an identity that uses the session stand for it, for as long as it does.
    pub fn share_with(self: Arc<Self>, identity: &IdentityName) -> Share {
        self.challenges.enter(self.desk, identity);
        Share {
            challenge: self,
            identity: identity.clone(),
        }
    }

    /// Asks for a code, since the session in hand ends then, or there is none. People are told
    /// once for each stage on the way to its end, however often this is called.
    pub fn ask(&self, now: Timestamp, ends: Option<Timestamp>) {
        self.challenges.ask(self.desk, now, ends);
    }

    /// A session that ends then was obtained, by whatever means: nobody need answer.
    pub fn obtained(&self, now: Timestamp, ends: Timestamp) {
        self.challenges.obtain(self.desk, now, ends);
    }

    /// Completes when a code waits to be taken, asked for or not. Dropping it loses nothing.
    pub async fn answered(&self) {
        while !self.is_answered() {
            self.arrival.notified().await;
        }
    }

    fn is_answered(&self) -> bool {
        let mut desks = self.challenges.desks();
        let desk = desks.desk(self.desk);
        desk.is_some_and(|desk| matches!(desk.turn, Turn::Waiting(..)))
    }

    /// The code that waits, if one does. It has been written down as used.
    pub fn take(&self) -> Option<Answered> {
        let mut desks = self.challenges.desks();
        let desk = desks.desk(self.desk)?;
        let (turn, delivery) = match std::mem::replace(&mut desk.turn, Turn::Free) {
            Turn::Waiting(turn, delivery) => (turn, delivery),
            other => {
                desk.turn = other;
                return None;
            }
        };
        desk.turn = Turn::Tried(turn);
        let Delivery { code, claim, reply } = delivery;
        Some(Answered {
            code,
            conclusion: Some(Conclusion {
                challenges: Arc::clone(&self.challenges),
                subject: desk.subject.clone(),
                desk: self.desk,
                turn,
                claim,
                reply,
            }),
        })
    }
}

impl Drop for Challenge {
    fn drop(&mut self) {
        self.challenges.close(self.desk);
    }
}

/// One identity's part in a challenge.
#[derive(Debug)]
pub struct Share {
    challenge: Arc<Challenge>,
    identity: IdentityName,
}

impl std::ops::Deref for Share {
    type Target = Challenge;

    fn deref(&self) -> &Challenge {
        &self.challenge
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Challenge {
            challenges, desk, ..
        } = &*self.challenge;
        challenges.leave(*desk, &self.identity);
    }
}

/// A person's code, to be tried once.
#[derive(Debug)]
#[must_use = "somebody waits to hear what came of the code"]
pub struct Answered {
    code: MfaCode,
    /// Until it is concluded.
    conclusion: Option<Conclusion>,
}

#[derive(Debug)]
struct Conclusion {
    challenges: Arc<Challenges>,
    subject: Subject,
    desk: DeskNumber,
    turn: TurnNumber,
    claim: Claim,
    reply: oneshot::Sender<Result<Accepted, NotAccepted>>,
}

impl Answered {
    pub fn code(&self) -> &MfaCode {
        &self.code
    }

    /// Tells whoever answered, and everybody else, what came of it.
    pub fn conclude(mut self, verdict: Verdict) {
        if let Some(conclusion) = self.conclusion.take() {
            conclusion.tell(verdict);
        }
    }
}

impl Conclusion {
    fn tell(self, verdict: Verdict) {
        if matches!(verdict, Verdict::Unsent(_)) {
            self.claim.release();
        }
        let outcome = NotAccepted::of(verdict, self.subject);
        self.challenges.conclude(self.desk, self.turn, &outcome);
        // Whoever answered may have gone.
        let _ = self.reply.send(outcome);
    }
}

/// Dropped with an attempt that was cut short, when nobody knows how far the code has come.
impl Drop for Answered {
    fn drop(&mut self) {
        if let Some(conclusion) = self.conclusion.take() {
            let why = "the attempt was given up half-way".to_owned();
            conclusion.tell(Verdict::Unclear(why));
        }
    }
}
