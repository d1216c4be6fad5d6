//! What the daemon's process lets others do, looked at from outside.

mod config;
mod memory;
mod sandbox;
