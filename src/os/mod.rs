//! What only the operating system can do; the only home of `unsafe`.

pub mod files;
pub mod host;
pub mod memory;
pub mod ownership;
pub mod peer;
pub mod process;
pub mod secret_memory;
pub mod users;
