//! The audit log: one line for each hand-out and each denial, written without anybody waiting.
//!
//! [`Audit::record`] notes a decision in memory, where repeats are counted; the [`Writer`] takes
//! lines from there and has a thread of its own write them. What finds no room is dropped, and the
//! next line says how much. An [`Event`] is made of names, numbers and the last four of an access
//! key id: nothing in it can hold a secret.

mod coalescer;
mod destination;
mod event;
mod handle;
mod line;
mod sink;
mod writer;

pub use coalescer::{CAPACITY, WINDOW};
pub use destination::{Config, Destination, InvalidDestination};
pub use event::{Caller, Decision, Event, KeyTail, RequestId};
pub use handle::Audit;
pub use sink::{Outlets, Unusable};
pub use writer::{Redirection, Way, Writer, open};
