//! `credd refresh` and `credd forget`: what a daemon is told to do with its identities.

use std::process::ExitCode;

use super::daemon_socket::DaemonSockets;
use super::status::Form;
use super::{
    Failed, ForgetArguments, Outcome, RefreshArguments, ReportArguments, block_on, status,
};
use crate::api::{self, StatusReport, WhichIdentity};
use crate::clock::SystemClock;
use crate::environment::Environment;
use crate::identity::IdentityName;

/// Fails if an identity could not be refreshed.
pub(super) fn refresh(arguments: &RefreshArguments, environment: &Environment) -> Outcome {
    let identity = arguments.identity.as_ref();
    let report = order(api::REFRESH, identity, &arguments.report, environment)?;
    let has_failed = report.identities.iter().any(|it| it.failure.is_some());
    Ok(if has_failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

pub(super) fn forget(arguments: &ForgetArguments, environment: &Environment) -> Outcome {
    let identity = Some(&arguments.identity);
    order(api::FORGET, identity, &arguments.report, environment)?;
    Ok(ExitCode::SUCCESS)
}

fn order(
    path: &str,
    identity: Option<&IdentityName>,
    arguments: &ReportArguments,
    environment: &Environment,
) -> Result<StatusReport, Failed> {
    let sockets = DaemonSockets::locate(&arguments.place, environment);
    let which = WhichIdentity {
        identity: identity.map(ToString::to_string),
    };
    let report: StatusReport =
        block_on(async { sockets.order(&SystemClock::new(), path, &which).await })?;
    status::show(&report, Form::of(arguments.json, environment))?;
    Ok(report)
}
