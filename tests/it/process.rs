//! What the daemon's process lets others do, looked at from outside.

mod config;
pub(crate) mod memory;
mod sandbox;
