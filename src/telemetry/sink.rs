//! Where records go. None of it makes the daemon wait for long: a log that is not read must not
//! cost clients their credentials.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::Level;

use super::record::Record;
use crate::journal::{self, Journal};

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    /// Text with colours.
    Colour,
    Json,
}

/// One place for all records.
pub struct Sink {
    journal: Option<Way>,
    stream: Mutex<Box<dyn Write + Send>>,
    form: Form,
}

/// To the journal, as long as it takes what is sent.
struct Way {
    journal: Journal,
    is_stuck: AtomicBool,
}

/// For a journald that is busy: bursts are longer than the queue of its socket.
const PATIENCE: Duration = Duration::from_millis(100);

/// Records that were written nowhere.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many records were written nowhere.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

impl fmt::Debug for Sink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sink")
            .field("journal", &self.journal.is_some())
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

impl Sink {
    /// Lines to `stream`, which is stderr and makes nobody wait.
    pub fn stream(stream: impl Write + Send + 'static, form: Form) -> Self {
        Self {
            journal: None,
            stream: Mutex::new(Box::new(stream)),
            form,
        }
    }

    /// Records with fields to the journald at `path`. What it does not take goes to `stream`, which
    /// is stderr and as a rule connected to the journal too. Fails where nobody listens.
    pub fn journal(path: PathBuf, stream: impl Write + Send + 'static) -> io::Result<Self> {
        let journal = Journal::open(path)?;
        journal.wait(Some(PATIENCE))?;
        let way = Way {
            journal,
            is_stuck: AtomicBool::new(false),
        };
        Ok(Self {
            journal: Some(way),
            ..Self::stream(stream, Form::Text)
        })
    }

    pub(super) fn write(&self, record: &Record) {
        let line = match &self.journal {
            Some(way) if way.write(record).is_ok() => return,
            // As the service manager reads priorities from a stream (sd-daemon(3)).
            Some(_) => format!("<{}>{}\n", priority(record.level), record.body(false)),
            None => match self.form {
                Form::Text => record.text(false),
                Form::Colour => record.text(true),
                Form::Json => record.json(),
            },
        };
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if stream.write_all(line.as_bytes()).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Way {
    fn write(&self, record: &Record) -> io::Result<()> {
        let outcome = self
            .journal
            .send(|with_fields| datagram(record, with_fields));
        // Waits once, not for each record after that.
        let is_stuck = outcome.is_err();
        if self.is_stuck.swap(is_stuck, Ordering::Relaxed) != is_stuck {
            let _ = self.journal.wait((!is_stuck).then_some(PATIENCE));
        }
        outcome
    }
}

fn datagram(record: &Record, with_fields: bool) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(512);
    journal::put(&mut datagram, "MESSAGE", &record.body(false));
    let priority = priority(record.level).to_string();
    journal::put(&mut datagram, "PRIORITY", &priority);
    journal::put(&mut datagram, "SYSLOG_IDENTIFIER", "credd");
    journal::put(&mut datagram, "CREDD_TARGET", &record.target);
    for (name, value) in record.fields().filter(|_| with_fields) {
        journal::put(&mut datagram, &format!("CREDD_{name}"), &value);
    }
    datagram
}

/// Levels of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}
