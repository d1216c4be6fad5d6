//! Signals as values.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

pub use signal_hook::consts::SIGHUP;
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::io::{AsyncRead, ReadBuf};
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

    /// Waits for the next arrival.
    pub async fn next(&mut self) {
        poll_fn(|context| self.poll_next(context)).await;
    }

    /// Like [`next`](Self::next), for whoever waits for several.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0u8; 1];
        match Pin::new(&mut self.0).poll_read(context, &mut ReadBuf::new(&mut bytes)) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

/// From now on, what tells this process to end completes the future: SIGTERM by systemd, an
/// orchestrator or `kill`, SIGINT by a terminal, and whatever `also` names.
pub fn termination(also: Option<i32>) -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (Signal::new(SIGTERM)?, Signal::new(SIGINT)?);
    let mut other = also.map(Signal::new).transpose()?;
    Ok(async move {
        let other = async {
            match &mut other {
                Some(signal) => signal.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = terminate.next() => {}
            () = interrupt.next() => {}
            () = other => {}
        }
    })
}

/// Completes once this process was told to end, and then again: whoever asks twice is in a hurry.
pub fn second_termination() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (Signal::new(SIGTERM)?, Signal::new(SIGINT)?);
    Ok(async move {
        for _ in 0..2 {
            tokio::select! {
                () = terminate.next() => {}
                () = interrupt.next() => {}
            }
        }
    })
}
