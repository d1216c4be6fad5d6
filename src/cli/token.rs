//! `credd token`: which tokens there are, new ones in their place, and an end to those that are
//! lost.

use std::process::ExitCode;

use super::daemon_socket::DaemonSockets;
use super::status::{columns, duration};
use super::{Outcome, TokenArguments, TokenCommand, block_on, output};
use crate::api::{self, TokenReport, TokensReport, WhichToken};
use crate::clock::SystemClock;
use crate::environment::Environment;

pub(super) fn run(arguments: &TokenArguments, environment: &Environment) -> Outcome {
    let (order, report) = match &arguments.command {
        None => (None, &arguments.report),
        Some(TokenCommand::Rotate(which)) => (Some((api::ROTATE_TOKEN, which)), &which.report),
        Some(TokenCommand::Revoke(which)) => (Some((api::REVOKE_TOKEN, which)), &which.report),
    };
    let sockets = DaemonSockets::locate(&report.place, environment);
    let tokens: TokensReport = block_on(async {
        let clock = SystemClock::new();
        match order {
            None => sockets.report(&clock, api::TOKENS).await,
            Some((path, which)) => {
                let token = which.token.to_string();
                sockets.order(&clock, path, &WhichToken { token }).await
            }
        }
    })?;
    if report.json {
        output::json(&tokens)?;
    } else {
        output::data(table(&tokens).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(report: &TokensReport) -> String {
    let heading = ["TOKEN", "AGE", "NEXT ROTATION", "GROUP", "MODE", "FILE"];
    let rows: Vec<[String; 6]> = std::iter::once(heading.map(str::to_owned))
        .chain(report.tokens.iter().map(row))
        .collect();
    let mut text = columns(&rows);
    text.extend(report.tokens.iter().filter_map(previous));
    text
}

fn previous(token: &TokenReport) -> Option<String> {
    let (name, until) = (&token.name, token.previous_valid_until.as_ref()?);
    Some(format!("\n{name}: the one before is valid until {until}\n"))
}

fn row(token: &TokenReport) -> [String; 6] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        token.name.clone(),
        duration(token.age_seconds),
        or_dash(token.next_rotation_seconds.map(duration)),
        or_dash(token.group.map(|group| group.to_string())),
        token.mode.clone(),
        token.file.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_shown_in_columns() {
        let token = TokenReport {
            name: "worker".to_owned(),
            file: "/run/credd/tokens/worker/token".to_owned(),
            group: Some(1001),
            mode: "0640".to_owned(),
            made: "2026-11-22T09:30:00Z".to_owned(),
            age_seconds: 90,
            next_rotation: Some("2026-11-23T09:30:00Z".to_owned()),
            next_rotation_seconds: Some(86_310),
            previous_valid_until: Some("2026-11-22T09:40:00Z".to_owned()),
        };
        let shown = table(&TokensReport {
            tokens: vec![token],
        });
        assert_eq!(
            shown,
            "TOKEN   AGE     NEXT ROTATION  GROUP  MODE  FILE\n\
             worker  1m 30s  23h 58m        1001   0640  /run/credd/tokens/worker/token\n\
             \nworker: the one before is valid until 2026-11-22T09:40:00Z\n"
        );
    }
}
