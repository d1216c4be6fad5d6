//! `credd status`: how each identity is doing.

use std::process::ExitCode;
use std::time::Duration;

use super::daemon_socket::DaemonSockets;
use super::screen::{PLAIN, Screen};
use super::{Failed, Outcome, StatusArguments, block_on, output};
use crate::api::{self, ChallengeReport, IdentityStatus, StatusReport};
use crate::clock::{Clock, SystemClock};
use crate::daemon::signals;
use crate::environment::Environment;

/// Between two looks of `--watch`.
const EACH: Duration = Duration::from_secs(1);

pub(super) fn run(arguments: &StatusArguments, environment: &Environment) -> Outcome {
    let sockets = DaemonSockets::locate(&arguments.place, environment);
    block_on(async {
        let clock = SystemClock::new();
        let form = Form::of(arguments.json, environment);
        if !arguments.watch {
            let report = sockets.report(&clock, api::STATUS).await?;
            show(&report, form)?;
            return Ok(ExitCode::SUCCESS);
        }
        let termination = signals::termination(Some(signals::SIGHUP))
            .map_err(|error| Failed::new(format!("cannot handle signals: {error}")))?;
        tokio::select! {
            ended = watch(&sockets, &clock, form) => return ended,
            () = termination => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// How a report is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    is_json: bool,
    has_colours: bool,
}

impl Form {
    pub(super) fn of(is_json: bool, environment: &Environment) -> Self {
        Self {
            is_json,
            has_colours: output::is_terminal() && output::are_colours_welcome(environment),
        }
    }
}

async fn watch(sockets: &DaemonSockets, clock: &SystemClock, form: Form) -> Outcome {
    let screen = Screen::new();
    let mut last = String::new();
    loop {
        match sockets.report(clock, api::STATUS).await {
            Ok(report) if form.is_json => output::json(&report)?,
            Ok(report) => {
                last = table(&report, form.has_colours);
                screen.draw(&format!("{}\n\n{last}", heading(&report)))?;
            }
            // A daemon that restarts is worth waiting for.
            Err(failed) if form.is_json => output::error(&failed.message),
            Err(failed) => {
                let last = if last.is_empty() {
                    String::new()
                } else {
                    format!("\nWhat it said last:\n\n{last}")
                };
                screen.draw(&format!("{}\n{last}", failed.message))?;
            }
        }
        clock.deadline(EACH).await;
    }
}

/// Who says what follows, and when.
fn heading(report: &StatusReport) -> String {
    let StatusReport {
        version, pid, now, ..
    } = report;
    format!("credd {version}, process {pid}, at {now}")
}

pub(super) fn show(report: &StatusReport, form: Form) -> Result<(), Failed> {
    if form.is_json {
        output::json(report)
    } else {
        output::data(table(report, form.has_colours).as_bytes())
    }
}

fn table(report: &StatusReport, has_colours: bool) -> String {
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
    if has_colours {
        text = coloured(&text, &rows);
    }
    text.extend(report.identities.iter().filter_map(failure));
    let pending = report.challenges.iter().map(pending);
    text.extend(pending.map(|line| format!("\n{line}\n")));
    text
}

/// The same with the state of each identity in a colour of its own: what a glance is for.
fn coloured(table: &str, rows: &[[String; 6]]) -> String {
    let names = rows.iter().map(|[name, ..]| name.chars().count());
    let at = names.max().unwrap_or(0) + 2;
    let lines = table.lines().zip(rows).map(|(line, [_, state, ..])| {
        let start = line.char_indices().nth(at).map_or(line.len(), |it| it.0);
        match (colour(state), line.split_at_checked(start)) {
            (Some(colour), Some((before, after))) if after.starts_with(state.as_str()) => {
                let rest = after.get(state.len()..).unwrap_or_default();
                format!("{before}{colour}{state}{PLAIN}{rest}\n")
            }
            _ => format!("{line}\n"),
        }
    });
    lines.collect()
}

/// Green where all is well, yellow where it may soon not be, red where nobody is served.
fn colour(state: &str) -> Option<&'static str> {
    match state {
        "fresh" => Some("\x1b[32m"),
        "late" | "stale" => Some("\x1b[33m"),
        "expired" | "failed" => Some("\x1b[31m"),
        _ => None,
    }
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
    fn states_are_coloured_and_nothing_else_moves() {
        let row =
            |name: &str, state: &str| [name, state, "failed", "-", "-", "-"].map(str::to_owned);
        let rows = [
            row("IDENTITY", "STATE"),
            row("failed", "fresh"),
            row("a", "failed"),
        ];
        let plain = columns(&rows);
        let coloured = coloured(&plain, &rows);
        let lines: Vec<&str> = coloured.lines().collect();
        assert_eq!(lines[0], plain.lines().next().unwrap());
        assert!(
            lines[1].starts_with("failed    \x1b[32mfresh\x1b[0m   failed"),
            "{coloured:?}"
        );
        assert!(
            lines[2].starts_with("a         \x1b[31mfailed\x1b[0m  failed"),
            "{coloured:?}"
        );
    }

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
