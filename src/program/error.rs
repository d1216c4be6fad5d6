//! Why a program gave nothing, and what that calls for.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use crate::credentials::Failure;
use crate::os::ownership::Unsafe;

/// A run that failed. Shows the name of the program's file, never its arguments.
#[derive(Debug)]
pub struct ProgramError {
    pub program: String,
    pub problem: Problem,
}

/// How far the run came.
#[derive(Debug)]
pub enum Problem {
    /// The list of arguments is empty.
    NoProgram,
    Unsafe(Unsafe),
    Start(io::Error),
    /// The connection to the program broke.
    Read(io::Error),
    TooSlow(Duration),
    /// More bytes of standard output than these.
    TooMuch(usize),
    /// It exited with a code other than 0, or by a signal.
    Exit {
        status: ExitStatus,
        /// The beginning of its standard error, as one printable line.
        stderr: String,
    },
}

impl fmt::Display for ProgramError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = &self.program;
        match &self.problem {
            Problem::NoProgram => formatter.write_str("the command names no program"),
            Problem::Unsafe(problem) => write!(formatter, "`{program}` is not run: {problem}"),
            Problem::Start(error) => write!(formatter, "cannot run `{program}`: {error}"),
            Problem::Read(error) => write!(formatter, "lost touch with `{program}`: {error}"),
            Problem::TooSlow(allowed) => write!(
                formatter,
                "`{program}` did not finish within {} s and was ended; it gets no input, so it \
                 must not wait for a person",
                allowed.as_secs()
            ),
            Problem::TooMuch(limit) => write!(
                formatter,
                "`{program}` wrote more than {limit} bytes to its standard output and was ended"
            ),
            Problem::Exit { status, stderr } => {
                let colon = if stderr.is_empty() { "" } else { ": " };
                write!(formatter, "`{program}` failed ({status}){colon}{stderr}")
            }
        }
    }
}

impl std::error::Error for ProgramError {}

impl From<ProgramError> for Failure {
    fn from(error: ProgramError) -> Self {
        match &error.problem {
            Problem::NoProgram | Problem::Unsafe(_) | Problem::TooMuch(_) => {
                Self::misconfigured(error.to_string())
            }
            Problem::Start(cause)
                if matches!(
                    cause.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::PermissionDenied
                        | io::ErrorKind::InvalidInput
                ) =>
            {
                Self::misconfigured(error.to_string())
            }
            // A program says only that it failed: as well for want of a network as of a login.
            _ => Self::transient(error.to_string()),
        }
    }
}
