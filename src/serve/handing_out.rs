//! What is handed out by a grant, and the wait for what is on its way.

use std::sync::Arc;

use bytes::Bytes;

use super::terms::Visit;
use super::trail::Granted;
use super::{Refusal, WAIT};
use crate::clock::{Sleep, Timestamp};
use crate::refresh::{Answer, Snapshot, SnapshotReader};

/// A body, and the state that it is of.
pub(super) struct Served {
    pub(super) at: Timestamp,
    pub(super) body: Bytes,
    pub(super) snapshot: Arc<Snapshot>,
}

/// How long one request may still wait, however often it does.
#[derive(Default)]
pub(super) struct Patience(Option<Sleep>);

impl Visit<'_> {
    /// Nothing where something better may be had within the time that a request may wait.
    pub(super) fn look(&self, granted: &Granted) -> Result<Option<Served>, Refusal> {
        let now = self.clock.now();
        let snapshot = self.reader(granted)?.load();
        match snapshot.answer(now) {
            Answer::Credentials(body) => Ok(Some(Served {
                at: now,
                body,
                snapshot: Arc::clone(&snapshot),
            })),
            Answer::Wait => Ok(None),
            Answer::Unavailable(failure) => Err(failure.into()),
        }
    }

    /// Waits until it is worth looking again, under the terms that hold then: the caller may be
    /// gone by that time, its token taken back, or another config in force.
    pub(super) async fn wait(
        &self,
        granted: &Granted,
        patience: &mut Patience,
    ) -> Result<(), Refusal> {
        let reader = self.reader(granted)?;
        let mut published = reader.published();
        let mut replaced = self.replaced();
        if !self.is_worth_waiting(reader) {
            return Ok(());
        }
        reader.demand();
        let patience = patience.0.get_or_insert_with(|| self.clock.deadline(WAIT));
        tokio::select! {
            biased;
            _ = published.changed() => Ok(()),
            _ = replaced.changed() => Ok(()),
            () = patience => Err(Refusal::warming()),
        }
    }

    fn is_worth_waiting(&self, reader: &SnapshotReader) -> bool {
        !self.is_over() && matches!(reader.load().answer(self.clock.now()), Answer::Wait)
    }
}
