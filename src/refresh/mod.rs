//! Keeping identities fresh: one task each, which alone asks its provider and publishes what
//! everybody else reads.

mod held;
mod identities;
mod ledger;
mod orders;
mod schedule;
mod snapshot;
mod task;

pub use held::{Expiry, Held};
pub use identities::{Changes, Identities, Kept, Opened, Parts};
pub use ledger::Ledger;
pub use schedule::{Life, after_failure, after_restoring, after_success, start_spread};
pub use snapshot::{Answer, Snapshot, SnapshotReader, State, Trouble, Usable};
pub use task::{Refresher, refresher};
