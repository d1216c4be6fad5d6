//! What a person or a script types: one line, not shown and not kept.

use std::io::IsTerminal;

use rustix::io::Errno;
use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use zeroize::Zeroizing;

use super::{Failed, output};
use crate::daemon::signals;

/// More than anybody types for a code.
const LONGEST: usize = 256;

/// Whether a person types what is read.
pub(super) fn is_input() -> bool {
    std::io::stdin().is_terminal()
}

/// Asks for a line that is not shown while it is typed. A signal that ends the process shows what
/// is typed again.
pub(super) async fn ask_secretly(prompt: &str) -> Result<Zeroizing<String>, Failed> {
    let failed = |error: std::io::Error| Failed::new(format!("cannot use the terminal: {error}"));
    let termination = signals::termination(Some(signals::SIGHUP)).map_err(failed)?;
    let hidden = Hidden::begin().map_err(failed)?;
    output::ask(prompt);
    let line = tokio::select! {
        line = first_line() => Some(line),
        () = termination => None,
    };
    drop(hidden);
    output::note("");
    line.unwrap_or_else(|| {
        Err(Failed {
            code: 130, // as shells say of SIGINT
            ..Failed::new("no code was sent")
        })
    })
}

/// The first line of standard input.
pub(super) async fn first_line() -> Result<Zeroizing<String>, Failed> {
    let read = tokio::task::spawn_blocking(read_line);
    let line = read.await.map_err(Failed::new)?;
    line.map_err(|error| Failed::new(format!("cannot read standard input: {error}")))
}

/// Reads by itself: a buffer of the standard library would keep what went through it.
fn read_line() -> Result<Zeroizing<String>, Errno> {
    let mut bytes = Zeroizing::new([0; LONGEST]);
    let mut length = 0;
    while let Some(room) = bytes.get_mut(length..).filter(|room| !room.is_empty()) {
        let read = match rustix::io::read(std::io::stdin(), room) {
            Err(Errno::INTR) => continue,
            read => read?,
        };
        length += read;
        let read_so_far = bytes.get(..length).unwrap_or_default();
        if read == 0 || read_so_far.contains(&b'\n') {
            break;
        }
    }
    let mut lines = bytes
        .get(..length)
        .unwrap_or_default()
        .split(|it| *it == b'\n');
    // What is not text is no code either, and is refused as such.
    let line = std::str::from_utf8(lines.next().unwrap_or_default()).unwrap_or("?");
    Ok(Zeroizing::new(line.to_owned()))
}

/// A terminal that does not show what is typed, for as long as this lives.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> std::io::Result<Self> {
        let stdin = std::io::stdin();
        let usual = termios::tcgetattr(&stdin)?;
        let mut silent = usual.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        // What was typed before the question is no answer.
        termios::tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
        Ok(Self(usual))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}
