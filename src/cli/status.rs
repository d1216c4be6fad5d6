//! `credd status`: how each identity is doing.

use std::process::ExitCode;
use std::time::Duration;

use super::daemon_socket::DaemonSockets;
use super::{Failed, Outcome, StatusArguments, block_on, output};
use crate::api::{self, ChallengeReport, IdentityStatus, StatusReport};
use crate::clock::{Clock, SystemClock};
use crate::daemon::signals;
use crate::environment::Environment;

/// Between two looks of `--watch`.
const EACH: Duration = Duration::from_secs(1);

/// Clears a terminal and goes to its corner (ECMA-48: CUP, ED).
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) fn run(arguments: &StatusArguments, environment: &Environment) -> Outcome {
    let sockets = DaemonSockets::locate(&arguments.place, environment);
    block_on(async {
        let clock = SystemClock::new();
        if !arguments.watch {
            output::data(look(&sockets, &clock, arguments.json).await?.as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        let termination = signals::termination(Some(signals::SIGHUP))
            .map_err(|error| Failed::new(format!("cannot handle signals: {error}")))?;
        let clear = if output::is_terminal() { CLEAR } else { "" };
        let watching = async {
            loop {
                match look(&sockets, &clock, arguments.json).await {
                    Ok(shown) => output::data(format!("{clear}{shown}").as_bytes())?,
                    // A daemon that restarts is worth waiting for.
                    Err(failed) => output::error(&failed.message),
                }
                clock.deadline(EACH).await;
            }
        };
        tokio::select! {
            ended = watching => return ended,
            () = termination => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn look(sockets: &DaemonSockets, clock: &dyn Clock, json: bool) -> Result<String, Failed> {
    shown(&sockets.report(clock, api::STATUS).await?, json)
}

pub(super) fn shown(report: &StatusReport, json: bool) -> Result<String, Failed> {
    if json {
        let json = serde_json::to_string(report).map_err(Failed::new)?;
        return Ok(format!("{json}\n"));
    }
    Ok(table(report))
}

fn table(report: &StatusReport) -> String {
    let heading = [
        "IDENTITY",
        "STATE",
        "SOURCE",
        "KEY",
        "EXPIRES IN",
        "NEXT REFRESH",
    ];
    let rows: Vec<[String; 6]> = std::iter::once(heading.map(str::to_owned))
        .chain(report.identities.iter().map(row))
        .collect();
    let mut text = columns(&rows);
    text.extend(report.identities.iter().filter_map(failure));
    let pending = report.challenges.iter().map(pending);
    text.extend(pending.map(|line| format!("\n{line}\n")));
    text
}

/// The rows, with their cells below each other.
pub(super) fn columns<const COUNT: usize>(rows: &[[String; COUNT]]) -> String {
    let widths: Vec<usize> = (0..COUNT)
        .map(|column| {
            let width =
                |row: &[String; COUNT]| row.get(column).map_or(0, |cell| cell.chars().count());
            rows.iter().map(width).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// What a person is asked.
pub(super) fn pending(challenge: &ChallengeReport) -> String {
    let identity = &challenge.identity;
    let when = match challenge.seconds_left {
        Some(0) | None => "now: nothing is served without".to_owned(),
        Some(seconds) => format!("within {}", duration(seconds)),
    };
    format!("{identity}: an MFA code is needed {when} (run `credd mfa {identity}`)")
}

fn failure(identity: &IdentityStatus) -> Option<String> {
    let failure = identity.failure.as_ref()?;
    Some(format!(
        "\n{}: {} ({} in a row since {})\n  {}\n",
        identity.name, failure.class, failure.count, failure.since, failure.message
    ))
}

fn row(identity: &IdentityStatus) -> [String; 6] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let expires_in = match (&identity.key, identity.seconds_left) {
        (Some(_), None) if identity.is_source_only => Some("never".to_owned()),
        (Some(_), None) => Some("expiry unknown".to_owned()),
        (_, seconds) => seconds.map(duration),
    };
    [
        identity.name.clone(),
        identity.state.clone(),
        or_dash(identity.source.clone()),
        or_dash(identity.key.as_ref().map(|key| format!("…{key}"))),
        or_dash(expires_in),
        or_dash(identity.next_refresh_seconds.map(duration)),
    ]
}

/// `5h 59m`, `12m 30s`, `45s`.
pub(super) fn duration(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m {rest:02}s"),
        _ => format!("{hours}h {minutes:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        assert_eq!(duration(45), "45s");
        assert_eq!(duration(750), "12m 30s");
        assert_eq!(duration(21_540), "5h 59m");
    }

    #[test]
    fn a_person_is_told_what_is_needed_by_when() {
        let told = |seconds_left| {
            pending(&ChallengeReport {
                identity: "ops-mfa".to_owned(),
                shared_by: Vec::new(),
                serial: "arn:aws:iam::123456789012:mfa/ops".to_owned(),
                pending_since: None,
                ends: None,
                seconds_left,
                is_being_tried: false,
                last: None,
            })
        };
        assert_eq!(
            told(Some(2520)),
            "ops-mfa: an MFA code is needed within 42m 00s (run `credd mfa ops-mfa`)"
        );
        let now = "ops-mfa: an MFA code is needed now: nothing is served without (run `credd mfa \
                   ops-mfa`)";
        assert_eq!(
            (told(None), told(Some(0))),
            (now.to_owned(), now.to_owned())
        );
    }
}
