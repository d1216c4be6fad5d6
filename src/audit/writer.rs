//! The task that takes lines when they are due, and the thread that writes them.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::mpsc;

use super::coalescer::Next;
use super::destination::{Config, Destination};
use super::handle::Audit;
use super::line::Line;
use super::sink::{Outlets, Sink, Unusable, Written};
use crate::clock::SharedClock;

/// After a failure to write: soon enough for a full disk that somebody has made room on.
const RETRY: Duration = Duration::from_secs(1);

/// For one thread that formats and writes.
const STACK: usize = 256 * 1024;

/// Opens the audit log. Fails where no line could be written: a daemon that leaves no trace must
/// not start.
///
/// `process` is random, and tells the requests of this process from those of others.
pub fn open(
    config: &Config,
    outlets: Outlets,
    process: [u8; 4],
) -> Result<(Audit, Writer), Unusable> {
    let way = Way::open(config, &outlets)?;
    let audit = Audit::new(process);
    let (others, redirected) = mpsc::unbounded_channel();
    let writer = Writer {
        redirection: Redirection {
            audit: audit.clone(),
            outlets,
            others,
        },
        audit: audit.clone(),
        way,
        redirected,
        is_failing: false,
    };
    Ok((audit, writer))
}

/// Where lines go, open.
#[derive(Debug)]
pub struct Way {
    thread: Thread,
    to: Destination,
}

impl Way {
    fn open(config: &Config, outlets: &Outlets) -> Result<Self, Unusable> {
        let to = config.to.clone().unwrap_or_else(|| outlets.usual());
        let sink = Sink::open(&to, outlets)?;
        let thread = Thread::start(sink).map_err(|error| Unusable::new(&to, error))?;
        Ok(Self { thread, to })
    }
}

/// What sends the lines of a writer to another place.
#[derive(Debug, Clone)]
pub struct Redirection {
    audit: Audit,
    outlets: Outlets,
    others: mpsc::UnboundedSender<Way>,
}

impl Redirection {
    /// Opens another place. Fails where no line could be written, and nothing has changed then.
    pub fn open(&self, config: &Config) -> Result<Way, Unusable> {
        Way::open(config, &self.outlets)
    }

    /// From now on lines go that way, also those that wait to be written.
    pub fn to(&self, way: Way) {
        // Fails only where the writer has ended.
        let _ = self.others.send(way);
        self.audit.wake();
    }
}

/// Takes lines from an [`Audit`] and has them written.
#[derive(Debug)]
pub struct Writer {
    audit: Audit,
    way: Way,
    redirection: Redirection,
    redirected: mpsc::UnboundedReceiver<Way>,
    is_failing: bool,
}

impl Writer {
    pub fn redirection(&self) -> Redirection {
        self.redirection.clone()
    }

    /// Ends once [`Audit::close`] was called and everything is written, or has failed once more.
    pub async fn run(mut self, clock: SharedClock) {
        loop {
            self.follow();
            let is_closing = self.audit.is_closing();
            let lines = self.audit.take(clock.now());
            if !lines.is_empty() {
                if self.write(lines, &clock).await.is_err() {
                    return;
                }
                continue;
            }
            if is_closing {
                return;
            }
            match self.audit.next(clock.now()) {
                Next::Nothing => self.audit.changed().await,
                Next::In(pause) => tokio::select! {
                    () = clock.deadline(pause) => {}
                    () = self.audit.changed() => {}
                },
                Next::Now => {}
            }
        }
    }

    /// Takes the last way that was opened.
    fn follow(&mut self) {
        while let Ok(way) = self.redirected.try_recv() {
            self.way = way;
            self.is_failing = false;
        }
    }

    /// Tries until all is written. A failure is final only where the daemon ends.
    async fn write(&mut self, mut lines: VecDeque<Line>, clock: &SharedClock) -> Result<(), Ended> {
        loop {
            let is_last = self.audit.is_closing();
            let (rest, written) = self.way.thread.write(lines).await?;
            lines = rest;
            self.audit.lose(written.lost);
            let Err(error) = written.outcome else {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(to = %self.way.to, "the audit log is written again");
                }
                return Ok(());
            };
            if !std::mem::replace(&mut self.is_failing, true) {
                tracing::error!(
                    to = %self.way.to,
                    %error,
                    "cannot write the audit log; what was decided waits, and is dropped once there \
                     is no more room for it"
                );
            }
            if is_last {
                let lost: u64 = lines.iter().map(|line| line.count).sum();
                self.audit.lose(lost);
                tracing::error!(decisions = lost, "the end of the audit log is lost");
                return Ok(());
            }
            let pause = clock.deadline(RETRY);
            tokio::pin!(pause);
            while !self.audit.is_closing() {
                tokio::select! {
                    () = &mut pause => break,
                    // Decisions that come meanwhile hurry nothing.
                    () = self.audit.changed() => if !self.redirected.is_empty() {
                        break;
                    },
                }
            }
            self.follow();
        }
    }
}

/// The thread is gone, which is a bug.
struct Ended;

/// Writes where it may block, as disks, pipes and journald do. Ends when this is dropped.
#[derive(Debug)]
struct Thread {
    orders: SyncSender<VecDeque<Line>>,
    done: mpsc::Receiver<(VecDeque<Line>, Written)>,
}

impl Thread {
    fn start(mut sink: Sink) -> io::Result<Self> {
        let (orders, ordered) = sync_channel::<VecDeque<Line>>(1);
        let (report, done) = mpsc::channel(1);
        let work = move || {
            for mut lines in ordered {
                let written = sink.write(&mut lines);
                if report.blocking_send((lines, written)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("audit".into());
        thread.stack_size(STACK).spawn(work)?;
        Ok(Self { orders, done })
    }

    /// Gives back what could not be written.
    async fn write(&mut self, lines: VecDeque<Line>) -> Result<(VecDeque<Line>, Written), Ended> {
        // One order at a time, so that there is always room for it.
        self.orders.try_send(lines).map_err(|_| Ended)?;
        self.done.recv().await.ok_or(Ended)
    }
}
