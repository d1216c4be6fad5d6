//! What `serve` holds: a way to note decisions that never waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::coalescer::{Coalescer, Next, Noted};
use super::event::{Event, RequestId};
use super::line::Line;
use crate::clock::Timestamp;

/// The one audit log of a process. Its clones are the same.
#[derive(Debug, Clone)]
pub struct Audit {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Held for moments, and by the event loop alone: the thread that writes never takes it.
    coalescer: Mutex<Coalescer>,
    /// Told when the writer should look again.
    changed: Notify,
    is_closing: AtomicBool,
    /// Decisions that no line tells of.
    dropped: AtomicU64,
    process: u32,
    requests: AtomicU64,
}

impl Audit {
    /// `process` tells the requests of this process from those of others.
    pub(super) fn new(process: [u8; 4]) -> Self {
        Self {
            shared: Arc::new(Shared {
                coalescer: Mutex::default(),
                changed: Notify::new(),
                is_closing: AtomicBool::new(false),
                dropped: AtomicU64::new(0),
                process: u32::from_be_bytes(process),
                requests: AtomicU64::new(0),
            }),
        }
    }

    /// For one request.
    pub fn request_id(&self) -> RequestId {
        RequestId {
            process: self.shared.process,
            number: self.shared.requests.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Notes a decision. A repeat costs no allocation.
    pub fn record(&self, now: Timestamp, event: &Event<'_>) {
        let noted = self.coalescer().note(now, event);
        if noted == Noted::Dropped {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if noted.is_news() {
            self.shared.changed.notify_one();
        }
    }

    /// Has the writer look again.
    pub(super) fn wake(&self) {
        self.shared.changed.notify_one();
    }

    /// Decisions so far that no line tells of.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Lines that wait to be written.
    pub fn waiting(&self) -> usize {
        self.coalescer().waiting()
    }

    /// Has what is noted written at once, after which the writer ends.
    pub fn close(&self) {
        self.shared.is_closing.store(true, Ordering::Relaxed);
        self.shared.changed.notify_one();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.shared.is_closing.load(Ordering::Relaxed)
    }

    pub(super) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    pub(super) fn next(&self, now: Timestamp) -> Next {
        self.coalescer().next(now)
    }

    pub(super) fn take(&self, now: Timestamp) -> VecDeque<Line> {
        if self.is_closing() {
            self.coalescer().take_all()
        } else {
            self.coalescer().take(now)
        }
    }

    /// Counts what was taken and cannot be written.
    pub(super) fn lose(&self, decisions: u64) {
        if decisions > 0 {
            self.shared.dropped.fetch_add(decisions, Ordering::Relaxed);
            self.coalescer().lose(decisions);
        }
    }

    fn coalescer(&self) -> MutexGuard<'_, Coalescer> {
        let coalescer = self.shared.coalescer.lock();
        coalescer.unwrap_or_else(PoisonError::into_inner)
    }
}
