//! The service manager: what it is told (`sd_notify(3)`), and what it hands over
//! (`sd_listen_fds(3)`).

mod inherited;
mod notifier;
mod watchdog;

pub use inherited::{Inherited, TcpDoor, TcpSocket, UnixDoor, UnixSocket, Unusable};
pub use notifier::Notifier;
pub use watchdog::watchdog;
