//! What all connections share, on whichever listeners they come in.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::Notify;

use super::limits::Ledger;
use super::{Limits, Witness};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::os::process;
use crate::pulse::Pulse;

/// Their clock, their places, and where they are counted.
#[derive(Debug)]
pub struct Connections {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) witness: Arc<Witness>,
    pub(super) metrics: Arc<Metrics>,
    /// Told whenever a connection has ended.
    ended: Arc<Notify>,
    pub(super) pulse: Pulse,
}

impl Connections {
    pub fn new(clock: Arc<dyn Clock>, limits: Limits, witness: Witness) -> Self {
        Self {
            clock,
            ledger: ledger(limits),
            witness: Arc::new(witness),
            metrics: Arc::default(),
            ended: Arc::new(Notify::new()),
            pulse: Pulse::default(),
        }
    }

    /// Counted there.
    #[must_use]
    pub fn counted(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..self }
    }

    /// From now on these limits hold, and these users have room that they alone can take. No
    /// connection ends.
    pub fn change(&self, limits: Limits, known: BTreeSet<u32>) {
        self.ledger.change(limits, known);
    }

    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// For a listener whose places nobody on another can take.
    #[must_use]
    pub fn apart(&self, limits: Limits) -> Self {
        Self {
            clock: Arc::clone(&self.clock),
            ledger: ledger(limits),
            witness: Arc::clone(&self.witness),
            metrics: Arc::clone(&self.metrics),
            ended: self.ended(),
            pulse: self.pulse.clone(),
        }
    }

    /// With listeners that answer whoever asks whether they are alive.
    #[must_use]
    pub fn watched_by(self, pulse: Pulse) -> Self {
        Self { pulse, ..self }
    }

    pub fn ended(&self) -> Arc<Notify> {
        Arc::clone(&self.ended)
    }
}

fn ledger(limits: Limits) -> Arc<Ledger> {
    Arc::new(Ledger::new(limits, BTreeSet::new(), process::descriptors()))
}
