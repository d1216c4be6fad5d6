//! `credd health`: for `HEALTHCHECK` in an image without a shell.

use std::process::ExitCode;

use hyper::StatusCode;

use super::daemon_socket::{DaemonSockets, refusal};
use super::{Failed, HealthArguments, Outcome, block_on, output};
use crate::api;
use crate::clock::SystemClock;
use crate::environment::Environment;

pub(super) fn run(arguments: &HealthArguments, environment: &Environment) -> Outcome {
    let HealthArguments { identity, place } = arguments;
    let sockets = DaemonSockets::locate(place, environment);
    let path = match identity {
        Some(identity) => format!("{}/{identity}", api::READY),
        None => api::READY.to_owned(),
    };
    let response = block_on(async { sockets.probe(&SystemClock::new(), &path).await })?;
    if response.status.is_success() {
        output::line(&match identity {
            Some(identity) => format!("healthy: {identity} has credentials"),
            None => "healthy: every identity has credentials".to_owned(),
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let body = String::from_utf8_lossy(&response.body);
    let unready: Vec<&str> = body
        .lines()
        .filter_map(|it| it.strip_prefix("[-]"))
        .collect();
    if response.status != StatusCode::SERVICE_UNAVAILABLE || unready.is_empty() {
        return Err(Failed::refused(refusal(&response.body, response.status)));
    }
    output::line(&format!("unhealthy: {}", unready.join(", ")))?;
    Ok(ExitCode::FAILURE)
}
