//! `credd reload`: has the daemon read its config anew, and says what has come of it.

use std::fmt::Write;
use std::process::ExitCode;

use super::daemon_socket::DaemonSockets;
use super::{Failed, Outcome, ReportArguments, block_on, output};
use crate::api::{self, ReloadReport};
use crate::clock::SystemClock;
use crate::environment::Environment;

/// Fails if the config before stays in force.
pub(super) fn run(arguments: &ReportArguments, environment: &Environment) -> Outcome {
    let sockets = DaemonSockets::locate(&arguments.place, environment);
    let report: ReloadReport =
        block_on(async { sockets.order(&SystemClock::new(), api::RELOAD, &()).await })?;
    if arguments.json {
        output::json(&report)?;
    } else if report.applied {
        output::data(shown(&report).as_bytes())?;
    }
    let Some(problem) = &report.problem else {
        return Ok(ExitCode::SUCCESS);
    };
    // At the start of their lines, where editors look for places to jump to.
    output::note(&format!("{problem}\n"));
    Err(Failed::new(
        "nothing has changed: the config before stays in force",
    ))
}

fn shown(report: &ReloadReport) -> String {
    let ReloadReport {
        identities,
        listeners,
        tokens,
        ..
    } = report;
    let mut text = "reloaded\n".to_owned();
    let lists = [
        ("identities started", &identities.started),
        ("identities restarted", &identities.restarted),
        ("identities kept", &identities.kept),
        ("identities ended", &identities.ended),
        ("listeners opened", &listeners.opened),
        ("listeners closed", &listeners.closed),
        ("tokens added", &tokens.added),
        ("tokens changed", &tokens.changed),
        ("tokens removed", &tokens.removed),
        ("settings changed", &report.settings),
    ];
    for (what, names) in lists {
        if !names.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{what}: {}", names.join(", "));
        }
    }
    for unresolved in &report.unresolved {
        let (name, why) = (&unresolved.identity, &unresolved.why);
        let _ = writeln!(text, "not served yet: {name}: {}", output::harmless(why));
    }
    text
}
