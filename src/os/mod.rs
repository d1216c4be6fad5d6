//! What only the operating system can do; the only home of `unsafe`.

pub mod cgroup;
pub mod files;
pub mod host;
pub mod memory;
pub mod peer;
pub mod process;
pub mod sock_diag;
