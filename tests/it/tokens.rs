//! Tokens in files: guessed at, replaced, taken back, and read by those alone who may.

mod directories;
mod endpoint;
mod files;
mod guessing;
mod life;
mod sockets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use credd::authz::{Conditions, Opening, Opens, Rule, RuleName, TokenName};
use credd::clock::{Clock, SharedClock};
use credd::config::{Config, TokenSettings};
use credd::environment::Environment;
use credd::identity::IdentityName;
use credd::os::files as small_files;
use credd::providers::chain::Link;
use credd::providers::container;
use serde_json::Value;
use tempfile::TempDir;

use crate::serving::clock::HandClock;
use crate::serving::daemon::{self, InProcess, wait_for_lock};
use crate::serving::program::Said;
use crate::serving::upstream::{self, Upstream};
use crate::serving::wire::{Reply, Wire, exchange};
use crate::support::sinks;

/// As long as a daemon that has just begun waits for leases.
const LEASES_RETURN: Duration = Duration::from_secs(2);

const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

/// A place for daemons one after the other, with one identity and a clock that is wound by hand.
struct Ground {
    directory: Arc<TempDir>,
    clock: Arc<HandClock>,
    upstream: Upstream,
    config: Config,
}

impl Ground {
    fn new() -> Self {
        let clock = Arc::new(HandClock::new());
        let expiry = clock.now().plus(Duration::from_hours(10_000));
        let upstream = Upstream::answering(upstream::credentials(expiry));
        let link = Link::Container(container::Config {
            uri: Some(upstream.uri("/")),
            ..container::Config::default()
        });
        let identities = BTreeMap::from([(IdentityName::default(), vec![link])]);
        Self {
            directory: Arc::new(tempfile::tempdir().unwrap()),
            config: daemon::config(identities, "127.0.0.1:0"),
            clock,
            upstream,
        }
    }

    /// With the token `worker` for the identity `default`.
    fn with_worker(settings: TokenSettings) -> Self {
        let mut ground = Self::new();
        ground.config.allow = vec![rule(Conditions {
            token: Some(name("worker")),
            ..Conditions::default()
        })];
        ground.config.tokens = BTreeMap::from([(name("worker"), settings)]);
        ground
    }

    fn serve(&self) -> InProcess {
        let clock = Arc::clone(&self.clock) as SharedClock;
        let environment = Environment::default();
        let directory = Arc::clone(&self.directory);
        let daemon = InProcess::within(directory, clock, self.config.clone(), environment).warm();
        // Until then an unknown token may be one of `credd exec` that is yet to be leased again.
        self.clock.wind(LEASES_RETURN);
        daemon
    }

    /// Why no daemon starts here.
    #[track_caller]
    fn refusal(&self) -> String {
        wait_for_lock(self.directory.path());
        let parts = credd::daemon::Parts {
            config: self.config.clone(),
            environment: Arc::default(),
            outlets: credd::audit::Outlets::to(std::io::sink()),
            runtime_directory: self.directory.path().to_owned(),
            config_file: None,
            confinement: credd::daemon::sandbox::Confinement::default(),
            inherited: credd::systemd::Inherited::default(),
            is_on_ec2: false,
            clock: Arc::clone(&self.clock) as SharedClock,
            draws: |_| Box::new(credd::random::SystemDraws),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let started = runtime.block_on(credd::daemon::Daemon::start(parts));
        started.err().unwrap().to_string()
    }

    fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    fn token(&self, token: &str) -> String {
        let token = text(&self.path("tokens").join(token).join("token"));
        sinks::secret(&token);
        token
    }
}

fn text(path: &Path) -> String {
    small_files::read_text_now(path, 4096).unwrap().to_string()
}

fn name(text: &str) -> TokenName {
    TokenName::parse(text).unwrap()
}

/// Opens the identity `default`.
fn rule(caller: Conditions) -> Rule {
    Rule {
        name: RuleName::of_config(1),
        caller,
        opens: Opens::Only(vec![Opening::of(IdentityName::default())]),
    }
}

const PRIVATE: TokenSettings = TokenSettings {
    group: None,
    mode: 0o600,
    rotate: None,
    overlap: Duration::from_mins(10),
};

fn request(token: &str) -> String {
    format!("GET /v1/credentials HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n")
}

/// What a token gets on a connection of its own.
#[track_caller]
fn status(daemon: &InProcess, token: &str) -> u16 {
    asked(&mut daemon.tcp(), token).status
}

#[track_caller]
fn asked(stream: &mut impl Wire, token: &str) -> Reply {
    exchange(stream, request(token)).unwrap()
}

/// What an operator is told.
#[track_caller]
fn order(daemon: &InProcess, path: &str, token: &str) -> Reply {
    let body = format!(r#"{{"token":"{token}"}}"#);
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}");
    exchange(&mut daemon.admin(), format!("{head}\r\n\r\n{body}")).unwrap()
}

#[track_caller]
fn rotate(daemon: &InProcess, token: &str) {
    assert_eq!(order(daemon, "/v1/tokens/rotate", token).status, 200);
}

#[track_caller]
fn revoke(daemon: &InProcess, token: &str) {
    assert_eq!(order(daemon, "/v1/tokens/revoke", token).status, 200);
}

/// What operators see of a token.
#[track_caller]
fn seen(daemon: &InProcess, token: &str) -> Value {
    let request = "GET /v1/tokens HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let reply = exchange(&mut daemon.admin(), request).unwrap();
    assert_eq!(reply.status, 200);
    let report = reply.json();
    let tokens = report["tokens"].as_array().unwrap();
    let mut tokens = tokens.iter().filter(|it| it["name"] == token);
    tokens.next().unwrap().clone()
}

/// A user and groups that are nobody's here.
const STRANGER: u32 = 54_321;
const GROUP: u32 = 54_322;
const OTHER_GROUP: u32 = 54_323;

/// `command` as somebody else, in one group.
fn as_stranger(group: u32, command: &[&str]) -> Said {
    let (user, group) = (STRANGER.to_string(), group.to_string());
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid", &user, "--regid", &group, "--clear-groups", "--"]);
    Said::by(setpriv.args(command))
}

/// Sends a request to a socket as somebody else, and prints what is answered.
const ASK: &str = r"
import os, socket, sys
# What is imported later may be out of the other user's reach.
request = sys.argv[4].encode().decode('unicode_escape').encode()
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[1]))
client = socket.socket(socket.AF_UNIX)
client.settimeout(20)
client.connect(sys.argv[3])
client.sendall(request)
print(client.recv(65536).decode())
";

fn asked_by_stranger(group: u32, socket: &Path, request: &str) -> Said {
    let mut python = Command::new("python3");
    python.args(["-c", ASK, &STRANGER.to_string(), &group.to_string()]);
    Said::by(python.arg(socket).arg(request))
}

/// Whether this test can be somebody else, and can give files away.
fn can_be_another() -> bool {
    let may = credd::os::process::is_root();
    let has = |program: &str| {
        let said = Command::new(program).arg("--version").output();
        said.is_ok_and(|said| said.status.success())
    };
    if !(may && has("setpriv") && has("python3")) {
        crate::serving::skipped("needs root, setpriv and python3");
        return false;
    }
    true
}
