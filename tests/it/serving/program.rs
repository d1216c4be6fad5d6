//! The real program, with an environment and places of its own.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use credd::os::files;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::eventually;
use crate::support::sinks;

/// A folder with a home, a runtime directory and a config.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    /// The config names these identities, each with the container endpoint at its URI.
    pub(crate) fn new(identities: &[(&str, String)]) -> Self {
        let place = Self::bare();
        place.listen_on("127.0.0.1:0", identities);
        place
    }

    /// The config says nothing but where to listen.
    pub(crate) fn bare() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(place.home()).unwrap();
        place.listen_on("127.0.0.1:0", &[]);
        place
    }

    pub(crate) fn listen_on(&self, address: &str, identities: &[(&str, String)]) {
        let mut config = format!("[serve.http]\nlisten = [\"{address}\"]\n");
        for (name, uri) in identities {
            config += &[
                "[identity.",
                name,
                "]\nprovider = \"container\"\nuri = \"",
                uri,
                "\"\n",
            ]
            .concat();
        }
        files::write_private(&self.config(), config.as_bytes()).unwrap();
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("credd.toml")
    }

    pub(crate) fn runtime(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.runtime().join("credd.sock")
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.runtime().join("tokens/default/token")
    }

    pub(crate) fn token(&self) -> String {
        let token = files::read_text_now(&self.token_file(), 1024).unwrap();
        sinks::secret(&token);
        token.to_string()
    }

    /// `credd` with these words, and with nothing in its environment that is not said here.
    pub(crate) fn credd(&self, words: &[&str]) -> Command {
        // Whoever runs tests in the background may have signals ignored.
        self.credd_with_signals("--default-signal", words)
    }

    /// The same with an option of env(1) that says what becomes of signals.
    pub(crate) fn credd_with_signals(&self, signals: &str, words: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/env");
        command
            .args([signals, env!("CARGO_BIN_EXE_credd")])
            .args(words)
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("RUNTIME_DIRECTORY", self.runtime())
            .env("CREDD_CONFIG", self.config())
            .stdin(Stdio::null());
        sinks::trace(&mut command);
        command
    }

    /// What `credd` with these words says, and how it ends.
    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> Said {
        Said::by(&mut self.credd(words))
    }

    /// `credd exec` of a shell script, with words before the `--`.
    pub(crate) fn exec(&self, words: &[&str], script: &str) -> Command {
        let mut command = self.credd(&["exec"]);
        command.args(words).args(["--", "sh", "-c", script]);
        command
    }

    /// A daemon that answers.
    #[track_caller]
    pub(crate) fn serve(&self) -> Running {
        self.serving(&mut self.credd(&["serve"]))
    }

    /// The same for a command that is `credd serve` with more to it.
    #[track_caller]
    pub(crate) fn serving(&self, command: &mut Command) -> Running {
        let mut running = Running::start(command, &self.folder.path().join("log"));
        eventually("the daemon answers", || {
            assert!(running.try_end().is_none(), "{}", running.output());
            self.run(&["status"]).is_success().then_some(())
        });
        // Taken down, if it is there.
        if sinks::are_kept() && self.token_file().exists() {
            self.token();
        }
        running
    }

    /// Waits until every identity is served.
    #[track_caller]
    pub(crate) fn warm(&self) {
        eventually("every identity is served", || {
            self.run(&["health"]).is_success().then_some(())
        });
    }

    /// How many MFA codes are asked for.
    #[track_caller]
    pub(crate) fn challenges(&self) -> usize {
        let status = self.run(&["status", "--json"]).json();
        status["challenges"].as_array().unwrap().len()
    }

    /// Waits until an MFA code is asked for.
    #[track_caller]
    pub(crate) fn asks(&self) {
        eventually("a code is asked for", || {
            (self.challenges() > 0).then_some(())
        });
    }

    /// Leaves an MFA code once one is asked for.
    #[track_caller]
    pub(crate) fn answer(&self, code: &str) {
        self.asks();
        let (read, mut write) = std::io::pipe().unwrap();
        writeln!(write, "{code}").unwrap();
        drop(write);
        let said = Said::by(self.credd(&["mfa"]).stdin(Stdio::from(read)));
        assert!(said.is_success(), "{said:?}");
    }

    /// Where the daemon listens on TCP.
    pub(crate) fn address(&self) -> SocketAddr {
        let said = self.run(&["env"]);
        let (_, rest) = said.stdout.split_once("http://").unwrap();
        rest.split_once("/v1").unwrap().0.parse().unwrap()
    }
}

/// The end of a command, and all that it wrote.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    #[track_caller]
    pub(crate) fn by(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let status = eventually("the command ends", || child.try_wait().unwrap());
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let mut pipes = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        pipes.0.read_to_string(&mut stdout).unwrap();
        pipes.1.read_to_string(&mut stderr).unwrap();
        // What credd writes to stdout may be credentials that were asked for.
        sinks::keep("commands.log", stderr.as_bytes());
        Self {
            status,
            stdout,
            stderr,
        }
    }

    pub(crate) fn is_success(&self) -> bool {
        self.status.success()
    }

    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The data of a command that has nothing else to say.
    #[track_caller]
    pub(crate) fn data(self) -> String {
        assert!(self.is_success(), "{self:?}");
        assert_eq!(self.stderr, "", "{self:?}");
        self.stdout
    }

    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.data()).unwrap()
    }
}

/// A command under way, whose output goes to a file. Ends with the test.
pub(crate) struct Running {
    child: Child,
    file: PathBuf,
    is_daemon: bool,
}

impl Running {
    #[track_caller]
    pub(crate) fn start(command: &mut Command, file: &Path) -> Self {
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
            .unwrap();
        let child = command
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self {
            child,
            file: file.to_owned(),
            is_daemon: command.get_args().any(|word| word == "serve"),
        }
    }

    /// The same for one that is under way.
    pub(crate) fn of(child: Child, file: &Path) -> Self {
        Self {
            child,
            file: file.to_owned(),
            is_daemon: true,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it has written so far, and those before it to the same file.
    pub(crate) fn output(&self) -> String {
        files::read_text_now(&self.file, 16 * 1024 * 1024)
            .unwrap()
            .to_string()
    }

    /// Waits until it has written a line that begins with `start`, and gives the line's rest.
    #[track_caller]
    pub(crate) fn line(&mut self, start: &str) -> String {
        eventually(&format!("a line that begins with {start:?}"), || {
            let output = self.output();
            // The last line may be half written.
            let (whole, _) = output.rsplit_once('\n')?;
            let mut lines = whole.lines();
            lines
                .find_map(|line| line.strip_prefix(start))
                .map(str::to_owned)
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    pub(crate) fn try_end(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    #[track_caller]
    pub(crate) fn end(&mut self) -> ExitStatus {
        eventually("the program ends", || self.try_end())
    }

    /// Ends it as systemd does.
    #[track_caller]
    pub(crate) fn terminate(&mut self) {
        self.signal(Signal::TERM);
        let status = self.end();
        assert!(status.success(), "{status}: {}", self.output());
    }

    /// Ends it as nobody should.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.end();
    }

    /// Writes to its standard input, if that is a pipe.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let pipe = self.child.stdin.as_mut().unwrap();
        pipe.write_all(bytes).and_then(|()| pipe.flush()).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self.is_daemon && sinks::are_kept() {
            let file = format!("daemon-{}.log", self.child.id());
            sinks::keep(&file, self.output().as_bytes());
        }
    }
}

pub(crate) fn send(process: u32, signal: Signal) {
    let process = Pid::from_raw(process.cast_signed()).unwrap();
    kill_process(process, signal).unwrap();
}
