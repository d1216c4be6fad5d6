//! The `credd` program, run as an operator runs it.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::client::Door;
use crate::support::sinks;

/// From start to a socket, and from SIGTERM to the end, on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(20);

/// What a daemon is told, beside where it listens.
#[derive(Default)]
pub(super) struct Told {
    /// Of its config file.
    pub(super) config: String,
    /// Besides its port on loopback.
    pub(super) listen: Vec<SocketAddr>,
    pub(super) variables: Vec<(&'static str, String)>,
    /// By their paths in its home directory: `.aws/config`.
    pub(super) files: Vec<(&'static str, String)>,
}

pub(super) struct Daemon {
    folder: TempDir,
    told: Told,
    child: Child,
    log: Log,
    address: SocketAddr,
    token_file: PathBuf,
}

type Log = Arc<Mutex<Vec<String>>>;

impl Daemon {
    /// Starts one on a free port, with nothing but instance metadata to get credentials from.
    pub(super) fn start(upstream: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let endpoint = format!("http://{upstream}");
        Self::start_with(Told {
            variables: vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)],
            ..Told::default()
        })
    }

    /// Starts one on a free port, with nothing but what it is told of to get credentials from:
    /// `AWS_ENDPOINT_URL_STS` and `AWS_EC2_METADATA_DISABLED`, say.
    pub(super) fn start_with(told: Told) -> Result<Self, Box<dyn Error>> {
        let folder = TempDir::new()?;
        let home = folder.path().join("home");
        std::fs::create_dir(&home)?;
        for (path, text) in &told.files {
            let path = home.join(path);
            std::fs::create_dir_all(path.parent().ok_or("no folder")?)?;
            std::fs::write(path, text)?;
        }
        let log = Log::default();
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let child = spawn(folder.path(), &told, free, &log)?;
        let mut daemon = Self {
            folder,
            told,
            child,
            log,
            address: free,
            token_file: PathBuf::new(),
        };
        daemon.find()?;
        Ok(daemon)
    }

    pub(super) fn door(&self) -> Result<Door, Box<dyn Error>> {
        let token = std::fs::read_to_string(&self.token_file)?;
        sinks::secret(&token);
        Ok(Door {
            address: self.address,
            token_file: self.token_file.clone(),
            token,
            runtime_directory: runtime_directory(self.folder.path()),
            identity: "default",
        })
    }

    /// What a command says that is pointed at this daemon, with `input` in a pipe, and in the
    /// daemon's environment.
    pub(super) fn credd(&self, words: &[&str], input: &str) -> Result<String, Box<dyn Error>> {
        let (read, mut write) = io::pipe()?;
        write.write_all(input.as_bytes())?;
        drop(write);
        let output = program(self.folder.path())
            .args(words)
            .arg("--runtime-dir")
            .arg(runtime_directory(self.folder.path()))
            .envs(
                self.told
                    .variables
                    .iter()
                    .map(|(name, value)| (name, value)),
            )
            .stdin(Stdio::from(read))
            .output()?;
        if output.status.success() {
            Ok(String::from_utf8(output.stdout)?)
        } else {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(self.with_log(&format!("credd {words:?}: {}: {error}", output.status)))
        }
    }

    /// Stops it as systemd does, and starts it again at the same places.
    pub(super) fn restart(&mut self) -> Result<(), Box<dyn Error>> {
        let status = self.terminate()?;
        if !status.success() {
            return Err(self.with_log(&format!("credd stopped with {status}")));
        }
        self.child = spawn(self.folder.path(), &self.told, self.address, &self.log)?;
        let before = (self.address, self.token_file.clone());
        self.find()?;
        if before != (self.address, self.token_file.clone()) {
            return Err(self.with_log("credd is elsewhere after a restart"));
        }
        Ok(())
    }

    pub(super) fn with_log(&self, problem: &str) -> Box<dyn Error> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{problem}; its log:\n{}", log.join("\n")).into()
    }

    /// Waits for the socket, and asks it where the rest is.
    fn find(&mut self) -> Result<(), Box<dyn Error>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.with_log(&format!("credd ended with {status}")));
            }
            let output = program(self.folder.path())
                .args(["env", "--runtime-dir"])
                .arg(runtime_directory(self.folder.path()))
                .output()?;
            if output.status.success() {
                return self.read(&String::from_utf8(output.stdout)?);
            }
            if Instant::now() > deadline {
                let error = String::from_utf8_lossy(&output.stderr).into_owned();
                return Err(self.with_log(&format!("credd is not to be found: {error}")));
            }
            std::thread::sleep(POLL);
        }
    }

    fn read(&mut self, exports: &str) -> Result<(), Box<dyn Error>> {
        let value = |name: &str| {
            let start = format!("export {name}=");
            let value = exports.lines().find_map(|line| line.strip_prefix(&start));
            value.ok_or_else(|| self.with_log(&format!("credd exports no {name}: {exports}")))
        };
        let url = value("AWS_CONTAINER_CREDENTIALS_FULL_URI")?;
        let token_file = value("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")?.into();
        let address = url
            .strip_prefix("http://")
            .and_then(|url| url.strip_suffix("/v1/credentials"))
            .ok_or_else(|| self.with_log(&format!("credd exports {url}")))?;
        (self.address, self.token_file) = (address.parse()?, token_file);
        Ok(())
    }

    /// Stands still, as when the machine is busy. Connections are taken by the kernel.
    pub(super) fn freeze(&self) -> Result<(), Box<dyn Error>> {
        self.signal(Signal::STOP)
    }

    pub(super) fn thaw(&self) -> Result<(), Box<dyn Error>> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), Box<dyn Error>> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).ok_or("no process id")?;
        Ok(kill_process(pid, signal)?)
    }

    fn terminate(&mut self) -> Result<ExitStatus, Box<dyn Error>> {
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(POLL);
        }
        Err(self.with_log("credd does not stop"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// credd with no more of an environment than it needs to do nothing of its own accord.
fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_credd"));
    command
        .env_clear()
        .env("HOME", folder.join("home"))
        .stdin(Stdio::null());
    command
}

fn spawn(
    folder: &Path,
    told: &Told,
    listen: SocketAddr,
    log: &Log,
) -> Result<Child, Box<dyn Error>> {
    let config = folder.join("credd.toml");
    let mut listen = vec![listen.to_string()];
    listen.extend(told.listen.iter().map(SocketAddr::to_string));
    let text = format!("{}\n[serve.http]\nlisten = {listen:?}\n", told.config);
    std::fs::write(&config, text)?;
    let mut program = program(folder);
    program.arg("serve");
    sinks::trace(&mut program);
    let mut child = program
        .arg("--config")
        .arg(&config)
        .arg("--runtime-dir")
        .arg(runtime_directory(folder))
        .envs(told.variables.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = child.stderr.take().ok_or("no stderr")?;
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            sinks::keep("clients.log", format!("{line}\n").as_bytes());
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push(line);
        }
    });
    Ok(child)
}

fn runtime_directory(folder: &Path) -> PathBuf {
    folder.join("run")
}
