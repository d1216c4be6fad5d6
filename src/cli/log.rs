//! `credd log`: what the daemon logs, and how to change that while it runs.

use std::process::ExitCode;

use super::daemon_socket::DaemonSockets;
use super::{LogArguments, Outcome, block_on, output};
use crate::api::{self, LogOrder, LogReport};
use crate::clock::SystemClock;
use crate::environment::Environment;

pub(super) fn run(arguments: &LogArguments, environment: &Environment) -> Outcome {
    let LogArguments {
        filter,
        reset,
        report,
    } = arguments;
    let sockets = DaemonSockets::locate(&report.place, environment);
    let levels: LogReport = block_on(async {
        let clock = SystemClock::new();
        if filter.is_none() && !reset {
            return sockets.report(&clock, api::LOG).await;
        }
        let order = LogOrder {
            filter: filter.clone(),
        };
        sockets.order(&clock, api::LOG, &order).await
    })?;
    if report.json {
        output::json(&levels)?;
    } else {
        output::line(&shown(&levels))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(levels: &LogReport) -> String {
    let LogReport { filter, initial } = levels;
    if filter == initial {
        filter.clone()
    } else {
        format!("{filter} (`credd log --reset` goes back to {initial})")
    }
}
