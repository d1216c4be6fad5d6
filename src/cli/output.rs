//! The only writer to stdout and stderr: data to one, everything else to the other.

use std::io::{IsTerminal, Write};

/// Writes data. Whether anybody still reads it is the reader's business: a closed pipe is no
/// error.
pub(super) fn data(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// Writes a line of data.
pub(super) fn line(text: &str) {
    data(format!("{text}\n").as_bytes());
}

/// Whether a person reads the data.
pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Writes a line for whoever watches.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes an error.
pub(super) fn error(text: &str) {
    note(&format!("credd: {text}"));
}
