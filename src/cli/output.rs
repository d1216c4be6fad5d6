//! The only writer to stdout and stderr: data to one, everything else to the other.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use serde::Serialize;

use super::Failed;
use crate::environment::Environment;
use crate::os::stream::Patient;
use crate::printable;

/// Writes data. A reader that has left ends the command without a word, as it ends `cat`.
pub(super) fn data(bytes: &[u8]) -> Result<(), Failed> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failed::new(""),
        _ => Failed::new(format!("cannot write to standard output: {error}")),
    })
}

/// Writes a line of data.
pub(super) fn line(text: &str) -> Result<(), Failed> {
    data(format!("{text}\n").as_bytes())
}

/// Writes a report for programs.
pub(super) fn json(report: &impl Serialize) -> Result<(), Failed> {
    line(&serde_json::to_string(report).map_err(Failed::new)?)
}

/// Lines without what steers a terminal.
pub(super) fn harmless(lines: &str) -> String {
    let letters = lines.chars();
    letters
        .map(|it| {
            if it == '\n' {
                it
            } else {
                printable::letter(it)
            }
        })
        .collect()
}

/// Whether a person reads the data.
pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Whether lines for whoever watches may have colours: on a terminal that has them, unless
/// <https://no-color.org> says otherwise.
pub(super) fn may_colour(environment: &Environment) -> bool {
    std::io::stderr().is_terminal() && are_colours_welcome(environment)
}

/// Whether a terminal, if there is one, may be sent colours.
pub(super) fn are_colours_welcome(environment: &Environment) -> bool {
    let is_dumb = environment.variable("TERM").is_none_or(|it| it == "dumb");
    !is_dumb && environment.variable("NO_COLOR").is_none()
}

/// Rows and columns of the terminal that a person reads the data on.
pub(super) fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.map_or((24, 80), |size| (size.ws_row.into(), size.ws_col.into()))
}

/// Writes a line for whoever watches.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes a question, whose answer follows on its last line.
pub(super) fn ask(question: &str) {
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{question}").and_then(|()| stderr.flush());
}

/// Where lines for whoever watches are written by others.
pub(super) fn notes() -> impl Write + Send + 'static {
    std::io::stderr()
}

/// The same, for lines that are lost rather than have anybody wait: not even for the lock that
/// others have on it while they write.
pub(super) fn log() -> Box<dyn Write + Send> {
    match std::io::stderr().as_fd().try_clone_to_owned() {
        Ok(stderr) => Box::new(Patient::new(File::from(stderr))),
        Err(_) => Box::new(Patient::new(std::io::stderr())),
    }
}

/// The device and the inode of what notes are written to.
pub(super) fn notes_file() -> Option<(u64, u64)> {
    let copy = std::io::stderr().as_fd().try_clone_to_owned().ok()?;
    let metadata = File::from(copy).metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Writes an error.
pub(super) fn error(text: &str) {
    note(&format!("credd: {text}"));
}
