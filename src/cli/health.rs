//! `credd health`: for `HEALTHCHECK` in an image without a shell.

use std::process::ExitCode;

use super::daemon_socket::DaemonSockets;
use super::{Outcome, Place, block_on, output};
use crate::api::{self, StatusReport};
use crate::clock::SystemClock;
use crate::environment::Environment;

pub(super) fn run(place: &Place, environment: &Environment) -> Outcome {
    let sockets = DaemonSockets::locate(place, environment);
    let report: StatusReport =
        block_on(async { sockets.report(&SystemClock::new(), api::HEALTH).await })?;
    let unserved: Vec<String> = report
        .identities
        .iter()
        .filter(|identity| !identity.is_served && !identity.is_source_only)
        .map(|identity| format!("{} is {}", identity.name, identity.state))
        .collect();
    if unserved.is_empty() {
        output::line("healthy: every identity has credentials")?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&format!("unhealthy: {}", unserved.join(", ")))?;
    Ok(ExitCode::FAILURE)
}
