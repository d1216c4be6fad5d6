//! Programs that credd runs: bounded in time and output, ended with all that they started, and
//! told nothing that is credd's own.

mod error;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command as Spawn};
use zeroize::Zeroizing;

pub use error::{Problem, ProgramError};

use crate::clock::{Clock, timeout};
use crate::environment::Environment;
use crate::os::files::in_turn;
use crate::os::ownership::check_program;
use crate::os::process;

/// What to run.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Command {
    /// A program by its absolute path, and its arguments, as credd.toml names them. Before each
    /// run it is looked at whether anybody but root and credd's user could have put it there.
    Arguments(Vec<String>),
    /// A line for `sh -c`, as profile files hold one. Whoever allows such lines checks the file
    /// that this one comes from: [`crate::os::ownership::check_owned`].
    Shell(String),
}

/// The name of the program's file alone: arguments, and shell lines with them, may hold secrets.
impl fmt::Debug for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Command({})", self.name())
    }
}

/// The bounds of one run.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the start to the exit and the end of the output.
    pub deadline: Duration,
    /// Of the standard output.
    pub output_bytes: usize,
}

impl Limits {
    /// The minute of the Go SDK (`processcreds`), and about the 64,000 bytes of the Java SDK
    /// (`ProcessCredentialsProvider`).
    pub const OF_SDKS: Self = Self {
        deadline: Duration::from_mins(1),
        output_bytes: 64 * 1024,
    };
}

/// What a program that exited well has written.
pub struct Output {
    /// Wiped when dropped: it may be a secret.
    pub stdout: Zeroizing<Vec<u8>>,
}

/// Not the output.
impl fmt::Debug for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = &self.stdout.len();
        formatter
            .debug_struct("Output")
            .field("stdout", length)
            .finish()
    }
}

/// Of what a failing program says on its standard error, this much is told.
const STDERR_BYTES: usize = 4 * 1024;

/// How long a killed program may take to be gone before it is left to be reaped later. Only one
/// that hangs in the kernel needs more than an instant.
const END: Duration = Duration::from_secs(1);

/// Where programs look for credentials that credd itself serves, which would be a loop, and the
/// ways to speak to systemd in the daemon's name.
const WITHHELD: [&str; 10] = [
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

impl Command {
    /// What messages call it.
    pub fn name(&self) -> String {
        match self {
            Self::Shell(_) => "sh".to_owned(),
            Self::Arguments(words) => {
                let file = words.first().and_then(|path| Path::new(path).file_name());
                printable(file.unwrap_or_default().as_encoded_bytes())
            }
        }
    }

    /// Runs it to its end in a process group of its own, in `/`, without standard input, with the
    /// variables of `environment` but for those that are credd's own. Keys among them stay: making
    /// a session of them may be what the program is for.
    ///
    /// Its group is killed when time runs out, when it writes too much, and when this future is
    /// dropped. A program that exits while something of its group holds its output open has not
    /// come to its end.
    pub async fn run(
        &self,
        limits: Limits,
        environment: &Environment,
        clock: &dyn Clock,
    ) -> Result<Output, ProgramError> {
        self.run_to_end(limits, environment, clock)
            .await
            .map_err(|problem| ProgramError {
                program: self.name(),
                problem,
            })
    }

    async fn run_to_end(
        &self,
        limits: Limits,
        environment: &Environment,
        clock: &dyn Clock,
    ) -> Result<Output, Problem> {
        let mut spawn = self.prepare().await?;
        let variables = environment.variables();
        let passed_on = variables.filter(|(name, _)| !WITHHELD.contains(name));
        spawn
            .env_clear()
            .envs(passed_on)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut running = Running(spawn.spawn().map_err(Problem::Start)?);
        let outcome = timeout(clock, limits.deadline, running.finish(limits.output_bytes));
        let outcome = outcome
            .await
            .unwrap_or(Err(Problem::TooSlow(limits.deadline)));
        if outcome.is_err() {
            running.kill();
            let _ = timeout(clock, END, running.0.wait()).await;
        }
        let (stdout, stderr, status) = outcome?;
        if status.success() {
            Ok(Output { stdout })
        } else {
            let stderr = printable(&stderr);
            Err(Problem::Exit { status, stderr })
        }
    }

    async fn prepare(&self) -> Result<Spawn, Problem> {
        match self {
            Self::Shell(line) => {
                let mut spawn = Spawn::new("/bin/sh");
                spawn.arg("-c").arg(line);
                Ok(spawn)
            }
            Self::Arguments(words) => {
                let (given, arguments) = words.split_first().ok_or(Problem::NoProgram)?;
                let path = PathBuf::from(given);
                let checked = in_turn(path, |path| Ok(check_program(path)));
                let checked = checked.await.map_err(Problem::Start)?;
                let checked = checked.map_err(Problem::Unsafe)?;
                // What was checked is what is run. Programs of many names go by the given one.
                let mut spawn = Spawn::new(checked);
                spawn.arg0(given).args(arguments);
                Ok(spawn)
            }
        }
    }
}

/// A program under way. Dropping this kills its group.
struct Running(Child);

impl Running {
    async fn finish(&mut self, limit: usize) -> Result<Finished, Problem> {
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        let mut said = Vec::with_capacity(STDERR_BYTES);
        let working = async {
            let stdout = read_whole(stdout, limit).await?;
            // Not before: until then its number, which is its group's, is nobody else's.
            let status = self.0.wait().await.map_err(Problem::Read)?;
            Ok((stdout, status))
        };
        let (stdout, status) = tokio::select! {
            // What it says before it exits is there before its exit is.
            biased;
            () = listen(stderr, &mut said) => std::future::pending().await,
            outcome = working => outcome?,
        };
        Ok((stdout, said, status))
    }

    fn kill(&self) {
        // None once it has been waited for.
        if let Some(leader) = self.0.id() {
            process::kill_group(leader);
        }
    }
}

/// Standard output, the beginning of standard error, and how it exited.
type Finished = (Zeroizing<Vec<u8>>, Vec<u8>, ExitStatus);

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn read_whole(
    stdout: Option<impl AsyncRead + Unpin>,
    limit: usize,
) -> Result<Zeroizing<Vec<u8>>, Problem> {
    // Room for all that is read: a buffer that grows leaves unwiped copies behind.
    let mut bytes = Zeroizing::new(vec![0; limit + 1]);
    let mut length = 0;
    if let Some(mut stdout) = stdout {
        while let Some(room) = bytes.get_mut(length..).filter(|room| !room.is_empty()) {
            match stdout.read(room).await.map_err(Problem::Read)? {
                0 => break,
                read => length += read,
            }
        }
    }
    if length > limit {
        return Err(Problem::TooMuch(limit));
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Keeps the beginning of what is said, hears the rest out, and then never ends.
async fn listen(stderr: Option<impl AsyncRead + Unpin>, said: &mut Vec<u8>) {
    let mut piece = [0; 1024];
    if let Some(mut stderr) = stderr {
        while let Ok(read @ 1..) = stderr.read(&mut piece).await {
            let room = STDERR_BYTES.saturating_sub(said.len());
            said.extend(piece.iter().take(read.min(room)));
        }
    }
    std::future::pending::<()>().await;
}

/// One line in which nothing can move a cursor.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let words: Vec<&str> = text
        .split(|it: char| it.is_whitespace() || it.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_is_called_shows_no_argument() {
        let words = ["/opt/bin/vault\u{1b}[2J", "--password=CANARY"];
        let command = Command::Arguments(words.map(str::to_owned).to_vec());
        assert_eq!(format!("{command:?}"), "Command(vault [2J)");
        let line = Command::Shell("PASSWORD=CANARY vault".to_owned());
        assert_eq!(format!("{line:?}"), "Command(sh)");
        assert_eq!(Command::Arguments(Vec::new()).name(), "");
    }

    #[test]
    fn what_is_told_is_one_line() {
        let said = b" no\r\n\tsuch \x1b[1mprofile\x00\xff\n\n";
        assert_eq!(printable(said), "no such [1mprofile \u{fffd}");
    }
}
