//! What only the operating system can do; the only home of `unsafe`.

pub mod cgroup;
pub mod descriptors;
pub mod device;
pub mod files;
pub mod host;
pub mod init;
pub mod lasting_memory;
pub mod memory;
pub mod ownership;
pub mod peer;
pub mod process;
pub mod sandbox;
pub mod secret_memory;
pub mod sock_diag;
mod socket_option;
pub mod stream;
pub mod users;
