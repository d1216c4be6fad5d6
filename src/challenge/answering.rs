//! The side that has a code: a person, by way of the admin socket.

use std::time::Duration;

use tokio::sync::oneshot;

use super::MfaCode;
use super::automatic::until_next_step;
use super::desk::{Challenges, Delivery, Desk, DeskNumber, Turn, TurnNumber};
use super::outcome::{Accepted, NotAccepted, Subject, printable};
use super::used::Claim;
use crate::clock::timeout;

/// How long a person waits for the outcome: somewhat more than the 20 s that STS may take, so that
/// its own word comes first, after a look at the keys.
const PATIENCE: Duration = Duration::from_secs(35);

impl Challenges {
    /// Leaves a code at the desk of an identity or a device, and waits for what comes of it. With
    /// no name it is for the only one that wants a code or, if none does, for the only one.
    ///
    /// Dropping it takes the code back, unless the provider has it already.
    pub async fn answer(
        &self,
        which: Option<&str>,
        code: MfaCode,
    ) -> Result<Accepted, NotAccepted> {
        let visit = self.visit(which)?;
        let serial = &visit.subject.serial;
        let claim = self.used.claim(serial, &code, self.clock.boot()).await;
        let claim = claim.map_err(|_| NotAccepted::AlreadyUsed {
            subject: visit.subject.clone(),
            next_in: until_next_step(self.clock.now()),
        })?;
        let heard = visit.deliver(code, claim)?;
        let gone = || NotAccepted::Gone {
            subject: visit.subject.clone(),
        };
        match timeout(&*self.clock, PATIENCE, heard).await {
            Ok(outcome) => outcome.unwrap_or_else(|_| Err(gone())),
            Err(_) => Err(visit.given_up()),
        }
    }

    /// Begins a turn at the desk that is meant.
    fn visit(&self, which: Option<&str>) -> Result<Visit<'_>, NotAccepted> {
        let boot = self.clock.boot();
        let mut desks = self.desks();
        let number = chosen(desks.all(), which)?;
        let turn = desks.turn_number();
        let desk = desks.desk(number).ok_or(NotAccepted::NothingOpen)?;
        let subject = desk.subject.clone();
        if desk.turn.number().is_some() {
            return Err(NotAccepted::Busy { subject });
        }
        if let Some(until) = desk.recently_accepted(boot) {
            return Err(NotAccepted::AlreadyAnswered { subject, until });
        }
        desk.turn = Turn::Arriving(turn);
        drop(desks);
        Ok(Visit {
            challenges: self,
            subject,
            desk: number,
            turn,
        })
    }
}

/// The desk that is meant: of those with the name, the only one or the only one that wants a code.
fn chosen<'desks>(
    desks: impl Iterator<Item = (DeskNumber, &'desks Desk)>,
    which: Option<&str>,
) -> Result<DeskNumber, NotAccepted> {
    let all: Vec<_> = desks.collect();
    let subjects = |desks: &[(DeskNumber, &Desk)]| {
        let mut open: Vec<Subject> = desks.iter().map(|(_, desk)| desk.subject.clone()).collect();
        open.sort();
        open
    };
    let is_meant = |desk: &Desk| which.is_none_or(|which| desk.is_called(which));
    let meant: Vec<_> = all
        .iter()
        .copied()
        .filter(|(_, desk)| is_meant(desk))
        .collect();
    let pending: Vec<_> = meant
        .iter()
        .copied()
        .filter(|(_, desk)| desk.told.is_pending())
        .collect();
    match (which, &meant[..], &pending[..]) {
        (_, [(number, _)], _) | (_, _, [(number, _)]) => Ok(*number),
        (Some(which), [], _) if !all.is_empty() => Err(NotAccepted::Unknown {
            which: printable(which),
            open: subjects(&all),
        }),
        (_, [], _) => Err(NotAccepted::NothingOpen),
        (_, meant, []) => Err(NotAccepted::Ambiguous {
            open: subjects(meant),
        }),
        (_, _, pending) => Err(NotAccepted::Ambiguous {
            open: subjects(pending),
        }),
    }
}

/// A turn at a desk, until the person leaves.
struct Visit<'challenges> {
    challenges: &'challenges Challenges,
    subject: Subject,
    desk: DeskNumber,
    turn: TurnNumber,
}

impl Visit<'_> {
    /// Leaves the code for the provider. What comes of it is heard where this returns.
    fn deliver(
        &self,
        code: MfaCode,
        claim: Claim,
    ) -> Result<oneshot::Receiver<Result<Accepted, NotAccepted>>, NotAccepted> {
        let mut desks = self.challenges.desks();
        let Some(desk) = desks.desk(self.desk) else {
            drop(desks);
            claim.release();
            let subject = self.subject.clone();
            return Err(NotAccepted::Gone { subject });
        };
        let (reply, heard) = oneshot::channel();
        desk.turn = Turn::Waiting(self.turn, Delivery { code, claim, reply });
        desk.arrival.notify_one();
        Ok(heard)
    }

    /// The person has waited long enough.
    fn given_up(&self) -> NotAccepted {
        let subject = self.subject.clone();
        if self.take_back() {
            NotAccepted::NotTaken { subject }
        } else {
            let why = "the attempt takes longer than it may; `credd mfa` shows what came of it";
            let why = why.to_owned();
            NotAccepted::Unclear { subject, why }
        }
    }

    /// Ends the turn, unless the provider has the code: it ends that itself. Says whether it did.
    fn take_back(&self) -> bool {
        let mut desks = self.challenges.desks();
        let Some(desk) = desks.desk(self.desk) else {
            return false;
        };
        match std::mem::replace(&mut desk.turn, Turn::Free) {
            Turn::Arriving(turn) if turn == self.turn => true,
            Turn::Waiting(turn, delivery) if turn == self.turn => {
                drop(desks);
                delivery.claim.release();
                true
            }
            other => {
                desk.turn = other;
                false
            }
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.take_back();
    }
}
