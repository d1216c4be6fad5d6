//! The places that lines are written to. Everything here may block.

mod journal;
mod log_file;

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::destination::Destination;
use super::line::Line;
use crate::journal::{Journal, SOCKET};
use log_file::LogFile;

/// The ends that lines may leave by.
#[derive(Clone)]
pub struct Outlets {
    /// The socket of journald: [`SOCKET`].
    pub journal: PathBuf,
    pub stderr: Arc<Mutex<dyn Write + Send>>,
    /// Where lines go if the config does not say.
    pub by_default: Destination,
}

impl Outlets {
    /// To `stderr` if the config does not say.
    pub fn to(stderr: impl Write + Send + 'static) -> Self {
        Self {
            journal: SOCKET.into(),
            stderr: Arc::new(Mutex::new(stderr)),
            by_default: Destination::Stderr,
        }
    }

    /// Where lines go that the config says nothing about. A container may have inherited its stderr
    /// from a unit, and no journald to go with it.
    pub(super) fn usual(&self) -> Destination {
        match self.by_default {
            Destination::Journal if Journal::open(self.journal.clone()).is_err() => {
                Destination::Stderr
            }
            ref usual => usual.clone(),
        }
    }
}

impl fmt::Debug for Outlets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Outlets")
            .field("journal", &self.journal)
            .field("by_default", &self.by_default)
            .finish_non_exhaustive()
    }
}

/// A destination that takes no lines.
#[derive(Debug)]
pub struct Unusable {
    to: Destination,
    cause: io::Error,
}

impl Unusable {
    pub(super) fn new(to: &Destination, cause: io::Error) -> Self {
        let to = to.clone();
        Self { to, cause }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to, cause } = self;
        write!(
            formatter,
            "cannot write the audit log to {to}: {cause}; mend that, or name another place in the \
             config: [audit] to = \"journal\", \"stderr\" or \"file:/absolute/path\""
        )
    }
}

impl std::error::Error for Unusable {}

pub(super) enum Sink {
    Journal(Journal),
    File(LogFile),
    Stream(Stream),
}

/// How far a sink has come.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) outcome: io::Result<()>,
    /// Decisions of lines that can never be written here.
    pub(super) lost: u64,
}

impl Sink {
    pub(super) fn open(to: &Destination, outlets: &Outlets) -> Result<Self, Unusable> {
        let opened = match to {
            Destination::Journal => Journal::open(outlets.journal.clone()).map(Self::Journal),
            Destination::File(path) => LogFile::open(path).map(Self::File),
            Destination::Stderr => Ok(Self::Stream(Stream {
                writer: Arc::clone(&outlets.stderr),
                torn: Torn::default(),
            })),
        };
        opened.map_err(|error| Unusable::new(to, error))
    }

    /// Takes from `lines` those that are written.
    pub(super) fn write(&mut self, lines: &mut VecDeque<Line>) -> Written {
        let mut lost = 0;
        let outcome = match self {
            Self::Journal(journal) => journal::write(journal, lines, &mut lost),
            Self::File(file) => file.write(lines),
            Self::Stream(Stream { writer, torn }) => {
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                torn.write(&mut *writer, lines)
            }
        };
        Written { outcome, lost }
    }
}

/// Anything that takes bytes in order.
pub(super) struct Stream {
    writer: Arc<Mutex<dyn Write + Send>>,
    torn: Torn,
}

/// How much of the next line is written already: a disk may be full in the middle of one.
#[derive(Debug, Default)]
struct Torn(usize);

impl Torn {
    fn write(&mut self, writer: &mut dyn Write, lines: &mut VecDeque<Line>) -> io::Result<()> {
        while let Some(line) = lines.front() {
            let mut bytes = line.to_json();
            bytes.push(b'\n');
            while let Some(rest) = bytes.get(self.0..).filter(|rest| !rest.is_empty()) {
                match writer.write(rest) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => self.0 += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            self.0 = 0;
            lines.pop_front();
        }
        writer.flush()
    }
}
