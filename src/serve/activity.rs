//! What a connection is doing, so that one that does nothing can be closed without a timer for
//! each request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Peer;
use crate::clock::{Clock, Sleep};

/// How often a connection is looked at. A request whose head takes more than one whole interval
/// to arrive is not waited for: the largest head is 16 KiB from this very host.
const INTERVAL: Duration = Duration::from_secs(2);

/// Intervals that a connection may idle between requests: 76 s. botocore and Go keep connections
/// for reuse, and one that is closed under them costs a retry.
const IDLE_INTERVALS: u32 = 38;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Idle,
    Receiving,
    /// Bounded by the endpoint itself.
    Serving,
    /// Open for as long as its holder wants, who has nothing more to say.
    Leased,
}

/// Shared by a connection's stream, its service and its watch, all in one task.
#[derive(Debug)]
pub(super) struct Activity {
    phase: AtomicU8,
    /// Requests begun.
    requests: AtomicU32,
}

impl Activity {
    /// A connection owes its first request at once.
    pub(super) fn new() -> Arc<Self> {
        let phase = AtomicU8::new(Phase::Receiving as u8);
        Arc::new(Self {
            phase,
            requests: AtomicU32::new(0),
        })
    }

    pub(super) fn serving(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.phase.store(Phase::Serving as u8, Ordering::Relaxed);
    }

    pub(super) fn served(&self) {
        self.phase.store(Phase::Idle as u8, Ordering::Relaxed);
    }

    pub(super) fn leased(&self) {
        self.phase.store(Phase::Leased as u8, Ordering::Relaxed);
    }

    pub(super) fn is_leased(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == Phase::Leased as u8
    }

    /// Whether a request is on its way, or owed.
    pub(super) fn is_receiving(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == Phase::Receiving as u8
    }

    fn received(&self) {
        if self.phase.load(Ordering::Relaxed) == Phase::Idle as u8 {
            self.phase.store(Phase::Receiving as u8, Ordering::Relaxed);
        }
    }
}

/// Looks at an activity once per interval.
pub(super) struct Watch {
    activity: Arc<Activity>,
    clock: Arc<dyn Clock>,
    look: Sleep,
    seen: Seen,
}

impl Watch {
    pub(super) fn new(activity: Arc<Activity>, clock: Arc<dyn Clock>) -> Self {
        Self {
            activity,
            look: clock.deadline(INTERVAL),
            clock,
            seen: Seen::default(),
        }
    }

    pub(super) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Waits until the connection should be closed. Nothing is lost if that is not waited for.
    pub(super) async fn until_over(&mut self, peer: &Peer) {
        loop {
            (&mut self.look).await;
            // A lease is its process's, whoever that has left the connection to.
            let is_orphaned = self.activity.is_leased() && !peer.is_there();
            if is_orphaned || self.seen.is_over(&self.activity) {
                return;
            }
            self.look = self.clock.deadline(INTERVAL);
        }
    }
}

#[derive(Debug, Default)]
struct Seen {
    /// The requests begun, and the phase, at the last look.
    last: Option<(u32, u8)>,
    unchanged: u32,
}

impl Seen {
    /// Whether the connection should be closed now.
    fn is_over(&mut self, activity: &Activity) -> bool {
        let now = (
            activity.requests.load(Ordering::Relaxed),
            activity.phase.load(Ordering::Relaxed),
        );
        self.unchanged = if self.last == Some(now) {
            self.unchanged + 1
        } else {
            0
        };
        self.last = Some(now);
        let allowed = match now.1 {
            phase if phase == Phase::Receiving as u8 => 1,
            phase if phase == Phase::Idle as u8 => IDLE_INTERVALS,
            _ => return false,
        };
        self.unchanged >= allowed
    }
}

/// A stream that notes when something arrives.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            if self.activity.is_leased() {
                // hyper looks for the end of a connection only while nothing else has come, so
                // that a word too many would keep a lease for ever: take it for the end.
                buffer.set_filled(before);
            } else {
                self.activity.received();
            }
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks_until_over(activity: &Activity) -> Option<u32> {
        let mut seen = Seen::default();
        (1..200).find(|_| seen.is_over(activity))
    }

    #[test]
    fn a_silent_connection_is_closed_at_the_second_look() {
        assert_eq!(looks_until_over(&Activity::new()), Some(2));
    }

    #[test]
    fn a_dripping_head_is_closed_as_a_silent_one() {
        let activity = Activity::new();
        activity.serving();
        activity.served();
        activity.received();
        activity.received();
        assert_eq!(looks_until_over(&activity), Some(2));
    }

    #[test]
    fn an_idle_connection_has_over_a_minute_and_a_served_one_no_limit() {
        let activity = Activity::new();
        activity.serving();
        assert_eq!(looks_until_over(&activity), None);
        activity.served();
        let looks = looks_until_over(&activity).unwrap();
        assert!(INTERVAL * (looks - 1) >= Duration::from_mins(1));
    }

    #[test]
    fn a_busy_connection_is_never_over() {
        let (activity, mut seen) = (Activity::new(), Seen::default());
        for _ in 0..1000 {
            activity.serving();
            activity.served();
            activity.received();
            assert!(!seen.is_over(&activity));
        }
    }
}
