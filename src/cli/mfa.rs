//! `credd mfa`: what waits for an MFA code, and the code.

use std::process::ExitCode;

use super::daemon_socket::DaemonSockets;
use super::status::pending;
use super::{Failed, MfaArguments, Outcome, block_on, output, terminal};
use crate::api::{self, AnswerReport, ChallengeReport, ChallengesReport, MfaAnswer};
use crate::clock::SystemClock;
use crate::environment::Environment;
use crate::printable;

/// Fails unless AWS has taken the code.
pub(super) fn run(arguments: &MfaArguments, environment: &Environment) -> Outcome {
    let sockets = DaemonSockets::locate(&arguments.report.place, environment);
    block_on(async {
        let clock = SystemClock::new();
        let is_asked = terminal::is_input() && !arguments.code_stdin;
        if arguments.list {
            let report: ChallengesReport = sockets.report(&clock, api::CHALLENGES).await?;
            if arguments.report.json {
                output::json(&report)?;
            } else {
                output::data(shown(&report).as_bytes())?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let which = arguments.identity.as_deref();
        let (identity, code) = if is_asked {
            let report: ChallengesReport = sockets.report(&clock, api::CHALLENGES).await?;
            let meant = meant(&report.challenges, which)?;
            let prompt = format!("{}\nMFA code of {}: ", line(meant), meant.serial);
            let code = terminal::ask_secretly(&prompt).await?;
            (Some(which.unwrap_or(&meant.identity).to_owned()), code)
        } else {
            (which.map(str::to_owned), terminal::first_line().await?)
        };
        let answer = MfaAnswer {
            identity,
            code: String::clone(&code),
        };
        let report: AnswerReport = sockets.order(&clock, api::MFA, &answer).await?;
        told(&report, arguments.report.json)
    })
}

fn told(report: &AnswerReport, json: bool) -> Outcome {
    let is_accepted = report.outcome == api::ACCEPTED;
    if json {
        output::json(report)?;
    } else if is_accepted {
        output::line(&report.message)?;
    } else {
        return Err(Failed::new(&report.message));
    }
    Ok(if is_accepted {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The one whose code is asked for, so that nobody types one in vain. The daemon decides in the
/// end.
fn meant<'a>(
    open: &'a [ChallengeReport],
    which: Option<&str>,
) -> Result<&'a ChallengeReport, Failed> {
    let is_meant = |it: &&ChallengeReport| which.is_none_or(|which| it.answers_to(which));
    let all: Vec<&ChallengeReport> = open.iter().filter(is_meant).collect();
    let waiting: Vec<&ChallengeReport> = all
        .iter()
        .copied()
        .filter(|it| it.pending_since.is_some())
        .collect();
    match (which, &all[..], &waiting[..]) {
        (_, [one], _) | (_, _, [one]) => Ok(one),
        (Some(which), [], _) if !open.is_empty() => {
            let which = printable::line(which, 256);
            let known = names(open.iter());
            let problem = format!("no identity or device `{which}` uses MFA codes, but {known}");
            Err(Failed::new(problem))
        }
        (_, [], _) => Err(Failed::new("no identity of this daemon uses MFA codes")),
        (_, all, waiting) => {
            let some = if waiting.is_empty() { all } else { waiting };
            let names = names(some.iter().copied());
            Err(Failed::new(format!(
                "say whose code it is, by identity or device: {names}"
            )))
        }
    }
}

fn names<'a>(challenges: impl Iterator<Item = &'a ChallengeReport>) -> String {
    let names = challenges.map(|it| format!("{} ({})", it.identity, it.serial));
    names.collect::<Vec<_>>().join(", ")
}

fn shown(report: &ChallengesReport) -> String {
    if report.challenges.is_empty() {
        return "no identity of this daemon uses MFA codes\n".to_owned();
    }
    let lines = report.challenges.iter().map(|challenge| {
        let last = challenge.last.as_ref();
        let last = last.map(|last| format!("\n  last code, {}: {}", last.at, last.answer.message));
        format!("{}{}\n", line(challenge), last.unwrap_or_default())
    });
    lines.collect()
}

fn line(challenge: &ChallengeReport) -> String {
    match (&challenge.pending_since, &challenge.ends) {
        (Some(_), _) => pending(challenge),
        (None, Some(ends)) => format!(
            "{}: no MFA code is needed before {ends}",
            challenge.identity
        ),
        (None, None) => format!("{}: no MFA code is needed", challenge.identity),
    }
}
