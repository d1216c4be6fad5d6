//! `credd exec`: runs a program with credd as its source of credentials.
//!
//! The program's token lives as long as the program: the daemon keeps it valid while this process
//! holds a connection open, and this process does so while the program runs.

use std::future::poll_fn;
use std::path::PathBuf;
use std::process::ExitCode;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, Request};
use rustix::process::{Pid, Signal as Number, kill_process};
use tokio::process::{Child, Command};

use super::daemon_socket::{DaemonSockets, refusal, request};
use super::sdk_environment::{FILES, FULL_URI, OUTRANKING, TOKEN, TOKEN_FILE};
use super::{ExecArguments, Failed, Outcome, block_on, output};
use crate::api::{self, LeaseReport, LeaseRequest};
use crate::aws::profile_file::{self, Locations};
use crate::clock::{Clock, SystemClock};
use crate::daemon::signals::Signal;
use crate::environment::Environment;
use crate::http::unix::{self, Held};
use crate::os::process;

/// Exit codes of a shell (POSIX 1003.1, 2.8.2): a program that cannot be run, one that is not
/// there, and one that a signal ended.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;
const BY_SIGNAL: i32 = 128;

/// Between attempts to lease the token again from a daemon that restarts.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) fn run(arguments: &ExecArguments, environment: &Environment) -> Outcome {
    let sockets = DaemonSockets::locate(&arguments.place, environment);
    block_on(async {
        let clock = SystemClock::new();
        let identity = arguments.identity.as_ref().map(ToString::to_string);
        let mut lease = Lease::take(&clock, &sockets, identity).await?;
        // Before the program starts, so that no signal falls between.
        let mut signals = Signals::new()
            .map_err(|error| Failed::new(format!("cannot handle signals: {error}")))?;
        let child = command(arguments, &lease.report, environment).await.spawn();
        let mut child = child.map_err(|error| {
            let program = arguments.command.first().map(|it| it.display().to_string());
            let code = match error.kind() {
                std::io::ErrorKind::NotFound => NOT_FOUND,
                _ => CANNOT_RUN,
            };
            let message = format!("cannot run `{}`: {error}", program.unwrap_or_default());
            Failed {
                code,
                ..Failed::new(message)
            }
        })?;
        loop {
            tokio::select! {
                status = child.wait() => {
                    return status.map(exit_code).map_err(|error| {
                        Failed::new(format!("cannot wait for the program: {error}"))
                    });
                }
                signal = signals.next() => forward(&child, signal),
                () = lease.keep(&clock) => {}
            }
        }
    })
}

/// A token, and the connection that keeps it valid.
struct Lease {
    socket: PathBuf,
    report: LeaseReport,
    held: Option<Held>,
}

impl Lease {
    async fn take(
        clock: &dyn Clock,
        sockets: &DaemonSockets,
        identity: Option<String>,
    ) -> Result<Self, Failed> {
        let first = LeaseRequest {
            identity,
            token: None,
        };
        let (socket, held) = sockets.hold(clock, || asking_for(&first)).await?;
        let (report, held) = leased(held)?;
        Ok(Self {
            socket,
            report,
            held: Some(held),
        })
    }

    /// Waits for the connection to end, and makes a new one for the same token: so a restart of
    /// the daemon goes unnoticed by the program. Returns only to be called again.
    async fn keep(&mut self, clock: &dyn Clock) {
        if let Some(held) = &mut self.held {
            held.ended().await;
            self.held = None;
        }
        let again = LeaseRequest {
            identity: Some(self.report.identity.clone()),
            token: Some(self.report.token.clone()),
        };
        let answer = unix::hold(clock, &self.socket, asking_for(&again)).await;
        match answer.map_err(Failed::new).and_then(leased) {
            Ok((report, held)) => {
                if report.url != self.report.url {
                    output::error(&format!(
                        "the daemon's endpoint has moved to {}, and the running program does not \
                         know; restart it",
                        report.url
                    ));
                }
                self.held = Some(held);
            }
            Err(_) => clock.deadline(PAUSE).await,
        }
    }
}

fn asking_for(lease: &LeaseRequest) -> Request<Bytes> {
    // Texts, which make JSON whatever they are.
    let body = serde_json::to_vec(lease).unwrap_or_default();
    request(Method::POST, api::LEASE, body.into())
}

fn leased(held: Held) -> Result<(LeaseReport, Held), Failed> {
    if !held.status.is_success() {
        return Err(Failed::refused(refusal(&held.line, held.status)));
    }
    let report = serde_json::from_slice(&held.line).map_err(|_| {
        Failed::new("the daemon's answer makes no sense to this `credd`; are both of one version?")
    })?;
    Ok((report, held))
}

/// The program in an environment where credd is what its SDK finds first.
async fn command(
    arguments: &ExecArguments,
    lease: &LeaseReport,
    environment: &Environment,
) -> Command {
    let mut words = arguments.command.iter();
    let mut command = Command::new(words.next().cloned().unwrap_or_default());
    command.args(words);
    for name in OUTRANKING.iter().chain([&TOKEN_FILE]) {
        command.env_remove(name);
    }
    command.env(FULL_URI, &lease.url).env(TOKEN, &lease.token);
    if !arguments.keep_profiles {
        // A default profile with keys would outrank the endpoint; its region is still meant.
        if let Some(region) = region(environment).await {
            command
                .env("AWS_REGION", &region)
                .env("AWS_DEFAULT_REGION", &region);
        }
        for name in FILES {
            command.env(name, "/dev/null");
        }
    }
    for name in ["NO_PROXY", "no_proxy"] {
        if let Some(exceptions) = beyond_proxies(environment, name) {
            command.env(name, exceptions);
        }
    }
    command
}

/// The region of the profile in use, where no variable names one.
async fn region(environment: &Environment) -> Option<String> {
    if ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .iter()
        .any(|it| environment.variable(it).is_some())
    {
        return None;
    }
    let locations = Locations::of(environment);
    let profiles = profile_file::load(&locations).await.ok()?;
    profiles
        .profile(&locations.profile)?
        .property("region")
        .map(str::to_owned)
}

/// Some SDKs send even loopback requests to a proxy unless told otherwise.
fn beyond_proxies(environment: &Environment, name: &str) -> Option<String> {
    const PROXIES: [&str; 6] = [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ];
    const HERE: &str = "127.0.0.1";
    PROXIES
        .iter()
        .any(|proxy| environment.variable(proxy).is_some())
        .then(|| match environment.variable(name) {
            Some(exceptions) => format!("{exceptions},{HERE}"),
            None => HERE.to_owned(),
        })
}

/// The signals that this process passes on.
struct Signals(Vec<(Signal, Number)>);

impl Signals {
    fn new() -> std::io::Result<Self> {
        [
            Number::INT,
            Number::QUIT,
            Number::TERM,
            Number::HUP,
            Number::USR1,
            Number::USR2,
        ]
        .into_iter()
        // One that is ignored here is ignored by the program too, as in a shell.
        .filter(|number| !process::ignores(number.as_raw()))
        .map(|number| Ok((Signal::new(number.as_raw())?, number)))
        .collect::<std::io::Result<_>>()
        .map(Self)
    }

    /// The next one to pass on.
    async fn next(&mut self) -> Number {
        loop {
            let arrival = poll_fn(|context| {
                for (signal, number) in &mut self.0 {
                    if signal.poll_next(context).is_ready() {
                        return Poll::Ready(*number);
                    }
                }
                Poll::Pending
            });
            let number = arrival.await;
            // A terminal sends these to its whole foreground group, the program included: passing
            // them on would deliver them twice.
            let is_by_terminal = [Number::INT, Number::QUIT].contains(&number);
            if !(is_by_terminal && is_in_foreground()) {
                return number;
            }
        }
    }
}

/// Whether a terminal takes this process to be what it shows. Standard input may be anything then.
fn is_in_foreground() -> bool {
    std::fs::File::open("/dev/tty")
        .and_then(|terminal| Ok(rustix::termios::tcgetpgrp(terminal)?))
        .is_ok_and(|group| group == rustix::process::getpgrp())
}

fn forward(child: &Child, signal: Number) {
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        // It may have ended meanwhile.
        let _ = kill_process(pid, signal);
    }
}

fn exit_code(status: std::process::ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;

    let code = status.code().or_else(|| Some(BY_SIGNAL + status.signal()?));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
