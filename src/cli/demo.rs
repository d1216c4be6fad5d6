//! `credd demo`: the daemon against a pretend AWS inside the process.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::watch;

use super::pretend_aws::{LIFETIME, PretendAws};
use super::serve::watch_jumps;
use super::{Failed, Outcome, block_on, output};
use crate::audit::Outlets;
use crate::authz::ListenerName;
use crate::clock::{SharedClock, SystemClock};
use crate::config::{self, Config};
use crate::daemon::sandbox::Confinement;
use crate::daemon::{Daemon, Parts, runtime_directory, signals};
use crate::environment::Environment;
use crate::identity;
use crate::os::process;
use crate::os::users::HostAccounts;
use crate::random::SystemDraws;
use crate::serve::{self, Connections, Limits, Listener, Witness};
use crate::systemd::Inherited;
use crate::telemetry::{self, Form, Sink};

pub(super) fn run(environment: &Environment) -> Outcome {
    let form = if output::may_colour(environment) {
        Form::Colour
    } else {
        Form::Text
    };
    let sink = Sink::stream(output::notes(), form);
    telemetry::start("info", sink).map_err(Failed::new)?;
    process::make_files_private();
    process::hide_memory();
    let directory = TemporaryDirectory::new(environment);
    block_on(async {
        let clock = Arc::new(SystemClock::new());
        let shared: SharedClock = Arc::clone(&clock) as _;
        // Before the sockets have names: a signal must not leave those behind.
        let termination = signals::termination(Some(signals::SIGHUP))
            .map_err(|error| Failed::new(format!("cannot handle signals: {error}")))?;
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let pretend = Listener::tcp(any_port).await.map_err(Failed::new)?;
        let endpoint = pretend
            .tcp_address()
            .map(|address| format!("http://{address}"));
        let daemon = Daemon::start(Parts {
            config: configured(&endpoint.unwrap_or_default())?,
            // Nothing of the person's own environment may leak into a demonstration.
            environment: Arc::new(pretended()),
            outlets: Outlets::to(output::notes()),
            config_file: None,
            confinement: Confinement::default(),
            runtime_directory: directory.0.clone(),
            inherited: Inherited::default(),
            is_on_ec2: false,
            clock: Arc::clone(&shared),
            draws: |_| Box::new(SystemDraws),
        })
        .await
        .map_err(Failed::new)?;
        introduce(
            &directory.0,
            daemon
                .site()
                .terms
                .load()
                .url
                .as_deref()
                .unwrap_or_default(),
        )?;
        let (stopping, stopped) = watch::channel(false);
        let connections = Arc::new(Connections::new(
            Arc::clone(&shared),
            Limits::default(),
            Witness::default(),
        ));
        let aws = Arc::new(PretendAws::new(shared));
        let stop = async {
            termination.await;
            let _ = stopping.send(true);
        };
        let pretending = async {
            serve::serve(
                Arc::new(pretend),
                ListenerName::imds(),
                aws,
                connections,
                stopped,
            )
            .await;
            // The daemon's end is the demo's.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = daemon.run(stop) => outcome.map_err(Failed::new)?,
            () = pretending => {}
            () = watch_jumps(&clock) => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// What a person would write, with the pretend AWS in the place of AWS.
fn configured(aws: &str) -> Result<Config, Failed> {
    let text = format!(
        r#"
[serve.http]
listen = ["127.0.0.1:0"]

[identity.default]
provider = "imds"
endpoint = "{aws}"

[identity.ops]
provider = "environment"

[identity.{SESSION}]
provider = "session-token"
from = "ops"
mfa-serial = "arn:aws:iam::000000000000:mfa/demo"
endpoint = "{aws}"

[identity.{ROLE}]
provider = "assume-role"
from = "{SESSION}"
role-arn = "arn:aws:iam::000000000000:role/{ROLE}"
endpoint = "{aws}"
"#
    );
    config::parse(Path::new("demo.toml"), &text, &HostAccounts).map_err(Failed::new)
}

const SESSION: &str = "ops-mfa";
const ROLE: &str = "billing";

/// A user's keys, which only the pretend AWS takes.
fn pretended() -> Environment {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "AKIADEMO0000DEMO0000"),
        ("AWS_SECRET_ACCESS_KEY", "demo/not/a/real/secret"),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    variables.map(owned).into_iter().collect()
}

fn introduce(directory: &Path, url: &str) -> Result<(), Failed> {
    let credd = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("credd"));
    let credd = credd.display();
    let place = format!("--runtime-dir {}", directory.display());
    let token = runtime_directory::token_file(directory);
    let token = token.display();
    let name = identity::DEFAULT;
    let seconds = LIFETIME.as_secs();
    output::line(&format!(
        "credd keeps `{name}`, an instance role whose credentials live for {seconds} s in this \
         pretend AWS, and `{ROLE}`, a role behind a session that takes an MFA code.
Try, in another terminal:

  {credd} status --watch {place}
  {credd} get {place}
  {credd} exec {place} -- env | grep AWS_
  {credd} exec {place} -- aws configure list
  {credd} exec {place} -- python3 -c 'import boto3; print(boto3.Session().get_credentials().access_key)'
  echo 123456 | {credd} mfa {SESSION} {place}
  {credd} get {ROLE} {place}
  {credd} explain {place}
  curl -s -H \"Authorization: $(cat {token})\" {url}/v1/credentials

Refreshes are shown as they happen, and who gets what; any six digits are a good MFA code, once. End with Ctrl-C.
"
    ))
}

/// A runtime directory that goes with the demo.
struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    fn new(environment: &Environment) -> Self {
        let parent = environment
            .variable("XDG_RUNTIME_DIR")
            .map_or_else(std::env::temp_dir, PathBuf::from);
        Self(parent.join(format!("credd-demo-{}", std::process::id())))
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
