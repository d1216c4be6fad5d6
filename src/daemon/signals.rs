//! Signals as values.

use std::io;

use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// Arrivals of one signal.
#[derive(Debug)]
pub struct Signal(UnixStream);

impl Signal {
    /// From now on `signal` no longer does what it does by default.
    pub fn new(signal: i32) -> io::Result<Self> {
        let (read, write) = std::os::unix::net::UnixStream::pair()?;
        read.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(signal, write)?;
        Ok(Self(UnixStream::from_std(read)?))
    }

    /// Waits for the next arrival. Several that come at once may count as one, as the kernel
    /// counts them.
    pub async fn next(&mut self) {
        if self.0.read(&mut [0u8; 16]).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// From now on, what tells this process to end completes the future: SIGTERM by systemd, an
/// orchestrator or `kill`, SIGINT by a terminal.
pub fn termination() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (Signal::new(SIGTERM)?, Signal::new(SIGINT)?);
    Ok(async move {
        tokio::select! {
            () = terminate.next() => {}
            () = interrupt.next() => {}
        }
    })
}
