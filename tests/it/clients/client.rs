//! The SDKs, unchanged, each in a program that fetches once for each line on its standard input
//! and answers with the access key id, some with the region after it, or with `error: …`.

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;

/// For one fetch with all its retries, or for the start of an interpreter, on a machine that has
/// much else to do.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sdk {
    Boto3,
    Cli,
    JavaScript,
    Rust,
    /// As old as Debian's, which knows instance metadata and no token files.
    Go,
}

impl Sdk {
    pub(super) const ALL: [Self; 4] = [Self::Boto3, Self::Cli, Self::JavaScript, Self::Rust];

    /// Whether `tools` has it.
    pub(super) fn is_there(self, tools: &Path) -> bool {
        self != Self::Go || tools.join("credd-go-client").exists()
    }

    fn command(self, tools: &Path) -> Command {
        let (program, argument) = match self {
            Self::Go => (tools.join("credd-go-client"), None),
            Self::Boto3 => (tools.join("venv/bin/python"), Some("boto.py")),
            Self::Cli => ("bash".into(), Some("cli.sh")),
            Self::JavaScript => ("node".into(), Some("javascript/fetch.mjs")),
            Self::Rust => (tools.join("credd-rust-client"), None),
        };
        let mut command = Command::new(program);
        command.args(argument.map(|file| tools.join(file)));
        command
    }
}

/// How a client finds credd and shows that it may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`
    TokenFile,
    /// `AWS_CONTAINER_AUTHORIZATION_TOKEN`
    TokenVariable,
    /// `credential_process = credd get IDENTITY`
    Process,
    /// Nothing: the client finds instance metadata by itself.
    Metadata,
    /// `AWS_EC2_METADATA_SERVICE_ENDPOINT`
    MetadataAt(SocketAddr),
    /// As the ECS agent tells a task: `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`, and no token.
    RelativeUri,
    /// As the EKS Pod Identity webhook tells a pod.
    PodIdentity,
}

impl Way {
    fn variables(self, door: &Door, home: &Path) -> io::Result<Vec<(&'static str, String)>> {
        let Door {
            address,
            token_file,
            token,
            runtime_directory,
            identity,
        } = door;
        let full_uri = format!("http://{address}/v1/credentials/{identity}");
        let full_uri = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", full_uri);
        let text = |path: &Path| path.display().to_string();
        Ok(match self {
            Self::TokenFile => {
                let file = text(token_file);
                vec![full_uri, ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file)]
            }
            Self::TokenVariable => {
                let token = token.clone();
                vec![full_uri, ("AWS_CONTAINER_AUTHORIZATION_TOKEN", token)]
            }
            Self::Metadata => Vec::new(),
            Self::MetadataAt(address) => {
                let endpoint = format!("http://{address}");
                vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)]
            }
            Self::RelativeUri => {
                let path = format!("/v1/credentials/{identity}");
                vec![("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", path)]
            }
            Self::PodIdentity => vec![
                (
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                    "http://169.254.170.23/v1/credentials".to_owned(),
                ),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", text(token_file)),
            ],
            Self::Process => {
                let (credd, directory) = (env!("CARGO_BIN_EXE_credd"), text(runtime_directory));
                let config = home.join("config");
                let process = format!("{credd} get {identity} --runtime-dir {directory}");
                std::fs::write(
                    &config,
                    format!("[default]\ncredential_process = {process}\n"),
                )?;
                vec![("AWS_CONFIG_FILE", text(&config))]
            }
        })
    }
}

/// The `aws` of the tools before any other.
fn search_path(tools: &Path) -> Result<OsString, Box<dyn Error>> {
    let mut path = OsString::from(tools.join("venv/bin"));
    path.push(":");
    path.push(std::env::var_os("PATH").ok_or("no PATH")?);
    Ok(path)
}

/// What a client is told of a daemon.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    pub(super) token_file: PathBuf,
    pub(super) token: String,
    pub(super) runtime_directory: PathBuf,
    pub(super) identity: &'static str,
}

/// A client's process, which lives through all its fetches.
pub(super) struct Client {
    child: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
    _home: TempDir,
}

impl Client {
    /// Starts it in an environment in which nothing but credd has credentials, with `sts` to call.
    pub(super) fn start(
        sdk: Sdk,
        way: Way,
        tools: &Path,
        door: &Door,
        sts: SocketAddr,
    ) -> Result<Self, Box<dyn Error>> {
        let home = TempDir::new()?;
        let mut command = sdk.command(tools);
        command
            .env_clear()
            .envs(way.variables(door, home.path())?)
            .env("PATH", search_path(tools)?)
            .env("HOME", home.path())
            .env("AWS_ENDPOINT_URL_STS", format!("http://{sts}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let is_metadata = matches!(way, Way::Metadata | Way::MetadataAt(_));
        if !is_metadata {
            command.env("AWS_EC2_METADATA_DISABLED", "true");
        }
        // Where instance metadata tells it, it is told by nobody else. The CLI does not ask there.
        if !is_metadata || sdk == Sdk::Cli {
            command
                .env("AWS_REGION", "us-east-1")
                .env("AWS_DEFAULT_REGION", "us-east-1");
        }
        match sdk {
            Sdk::Boto3 if is_metadata => _ = command.arg("anew"),
            Sdk::Rust if way == Way::Metadata => _ = command.arg("region"),
            _ => {}
        }
        let mut child = command
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", command.get_program().display()))?;
        let requests = child.stdin.take().ok_or("no stdin")?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            requests,
            answers,
            _home: home,
        })
    }

    /// The access key id that a fetch gives.
    pub(super) fn fetch(&mut self) -> Result<String, Box<dyn Error>> {
        self.begin_fetch()?;
        self.end_fetch()
    }

    pub(super) fn begin_fetch(&mut self) -> Result<(), Box<dyn Error>> {
        Ok(writeln!(self.requests)?)
    }

    pub(super) fn end_fetch(&mut self) -> Result<String, Box<dyn Error>> {
        let answer = self
            .answers
            .recv_timeout(PATIENCE)
            .map_err(|error| format!("no answer: {error}"))?;
        match answer.strip_prefix("error: ") {
            Some(error) => Err(error.into()),
            None => Ok(answer),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
