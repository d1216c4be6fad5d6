//! `credd get`: credentials as a `credential_process` prints them.

use std::process::ExitCode;

use super::daemon_socket::{DaemonSockets, daemon_path};
use super::{Failed, GetArguments, Outcome, block_on, output};
use crate::api;
use crate::aws::formats;
use crate::clock::SystemClock;
use crate::environment::Environment;
use crate::os::process;

pub(super) fn run(arguments: &GetArguments, environment: &Environment) -> Outcome {
    process::hide_memory();
    let sockets = DaemonSockets::locate(&arguments.place, environment);
    let path = daemon_path(api::CREDENTIALS, arguments.identity.as_ref());
    let response = block_on(async { sockets.ask(&SystemClock::new(), &path).await })?;
    let process_output = formats::process(&response.body)
        .ok_or_else(|| Failed::new("the daemon's answer holds no credentials"))?;
    output::data(&process_output)?;
    output::line("")?;
    Ok(ExitCode::SUCCESS)
}
