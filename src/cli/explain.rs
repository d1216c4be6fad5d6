//! `credd explain`: why an identity has the credentials that it has, and why a program does not
//! use credd.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::client::{Client, Effect, Finding, TokenFile, findings};
use super::daemon_socket::{DaemonSockets, parse};
use super::status::duration;
use super::{ExplainArguments, Failed, Outcome, block_on, output};
use crate::api::{self, EndpointReport, ExplainReport, Explanation, WhichIdentity};
use crate::aws::profile_file::{self, Location, Locations};
use crate::clock::{Clock, SystemClock};
use crate::credentials::described;
use crate::environment::Environment;
use crate::identity::IdentityName;
use crate::os::{files, process};

pub(super) fn run(arguments: &ExplainArguments, environment: &Environment) -> Outcome {
    process::hide_memory();
    let sockets = DaemonSockets::locate(&arguments.report.place, environment);
    let report = block_on(async {
        let clock = SystemClock::new();
        let client = match subject(arguments) {
            Some(subject) => Some(look(subject, &sockets, &clock).await?),
            None => None,
        };
        let identity = arguments.identity.as_ref();
        let identities = if client.is_some() && identity.is_none() {
            Vec::new()
        } else {
            explain(identity, &sockets, &clock).await?.identities
        };
        Ok(Report { client, identities })
    })?;
    if arguments.report.json {
        output::json(&report)?;
    } else {
        output::data(report.text().as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn explain(
    identity: Option<&IdentityName>,
    sockets: &DaemonSockets,
    clock: &dyn Clock,
) -> Result<ExplainReport, Failed> {
    let which = WhichIdentity {
        identity: identity.map(ToString::to_string),
    };
    sockets.order(clock, api::EXPLAIN, &which).await
}

/// What `credd explain --json` prints.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<ClientReport>,
    identities: Vec<Explanation>,
}

/// Whether one program uses credd.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ClientReport {
    /// `process 4242`
    name: String,
    uses_credd: bool,
    findings: Vec<Finding>,
}

/// Whose environment is looked at.
enum Subject<'a> {
    Process(u32),
    File(&'a Path),
}

fn subject(arguments: &ExplainArguments) -> Option<Subject<'_>> {
    let process = arguments.pid.map(Subject::Process);
    process.or_else(|| arguments.environment.as_deref().map(Subject::File))
}

/// Of an environment: what Linux gives to one at most with the usual stack of 8 MiB (execve(2),
/// "Limits on size of arguments and environment").
const ENVIRONMENT_BYTES: usize = 2 * 1024 * 1024;

const TOKEN_BYTES: usize = 64 * 1024;

async fn look(
    subject: Subject<'_>,
    sockets: &DaemonSockets,
    clock: &dyn Clock,
) -> Result<ClientReport, Failed> {
    let endpoint: EndpointReport = parse(&sockets.ask(clock, api::ENDPOINT).await?)?;
    let environment = subject.environment().await?;
    let mut locations = Locations::of(&environment);
    let named = [&mut locations.config, &mut locations.credentials];
    for Location { path, .. } in named.into_iter().flatten() {
        *path = subject.sees(path);
    }
    let profiles = profile_file::load(&locations).await;
    let token_file = match TokenFile::path(&environment) {
        Some(path) => match files::read_text(subject.sees(&path), TOKEN_BYTES).await {
            Ok(text) => TokenFile::of(&text),
            Err(error) => TokenFile::Unreadable(format!("{}: {error}", path.display())),
        },
        None => TokenFile::Empty,
    };
    let findings = findings(&Client {
        environment: &environment,
        profiles: &profiles.map_err(|error| described(&error)),
        token_file,
        url: endpoint.url.as_deref(),
    });
    let keeps_away = |it: &Finding| matches!(it.effect, Effect::Outranks | Effect::Fault);
    Ok(ClientReport {
        name: subject.name(),
        uses_credd: !findings.iter().any(keeps_away),
        findings,
    })
}

impl Subject<'_> {
    fn name(&self) -> String {
        match self {
            Self::Process(pid) => format!("process {pid}"),
            Self::File(path) => path.display().to_string(),
        }
    }

    async fn environment(&self) -> Result<Environment, Failed> {
        let path = match self {
            Self::Process(pid) => PathBuf::from(format!("/proc/{pid}/environ")),
            Self::File(path) => path.to_path_buf(),
        };
        match files::read(path, ENVIRONMENT_BYTES).await {
            Ok(bytes) => Ok(read_environment(&bytes)),
            Err(error) => Err(Failed::new(self.unreadable(&error))),
        }
    }

    fn unreadable(&self, error: &std::io::Error) -> String {
        match (self, error.kind()) {
            (Self::Process(pid), ErrorKind::NotFound) => format!("there is no process {pid}"),
            (Self::Process(pid), ErrorKind::PermissionDenied) => format!(
                "the environment of process {pid} is its user's own: run this as that user, or as \
                 root"
            ),
            (Self::Process(pid), _) => {
                format!("cannot read the environment of process {pid}: {error}")
            }
            (Self::File(path), _) => format!("cannot read {}: {error}", path.display()),
        }
    }

    /// Where this process finds what the program calls `path`: it may be in a container.
    fn sees(&self, path: &Path) -> PathBuf {
        match self {
            Self::File(_) => path.to_owned(),
            Self::Process(pid) => match path.strip_prefix("/") {
                Ok(below) => PathBuf::from(format!("/proc/{pid}/root")).join(below),
                Err(_) => PathBuf::from(format!("/proc/{pid}/cwd")).join(path),
            },
        }
    }
}

/// Reads what `/proc/PID/environ` or a file with lines of `NAME=VALUE` holds. What is not UTF-8 is
/// passed over, as it is in the environment of credd itself.
fn read_environment(bytes: &[u8]) -> Environment {
    let is_of_proc = bytes.contains(&0);
    let end = if is_of_proc { 0 } else { b'\n' };
    let entries = bytes.split(|byte| *byte == end);
    let entries = entries.filter_map(|entry| std::str::from_utf8(entry).ok());
    let pairs = entries.filter_map(|entry| {
        if is_of_proc {
            return entry.split_once('=');
        }
        let line = entry.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
        Some((name.trim(), unquoted(value.trim())))
    });
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn unquoted(value: &str) -> &str {
    let mut inner = ['"', '\''].into_iter().filter_map(|quote| {
        let inner = value.strip_prefix(quote)?;
        inner.strip_suffix(quote)
    });
    inner.next().unwrap_or(value)
}

impl Report {
    fn text(&self) -> String {
        let client = self.client.iter().map(ClientReport::text);
        let identities = self.identities.iter().map(identity);
        let parts: Vec<String> = client.chain(identities).collect();
        // Names of files and what upstream said may hold anything.
        output::harmless(&parts.join("\n"))
    }
}

impl ClientReport {
    fn text(&self) -> String {
        let name = &self.name;
        let named = |effect: Effect| -> Vec<&Finding> {
            let findings = self.findings.iter();
            findings.filter(|it| it.effect == effect).collect()
        };
        let outranking = named(Effect::Outranks);
        let conclusion = if let Some(first) = outranking.first() {
            let first = match first.variables.as_slice() {
                [] => first.meaning.clone(),
                variables => format!("{}: {}", variables.join(", "), first.meaning),
            };
            format!("{name} does not come as far as credd\n  {first}")
        } else if let Some(fault) = named(Effect::Fault).first() {
            let variables = fault.variables.join(", ");
            format!(
                "{name} gets nothing from credd\n  {variables}: {}",
                fault.meaning
            )
        } else {
            format!("{name} uses credd")
        };
        let variables: Vec<&str> = outranking
            .iter()
            .flat_map(|it| it.variables.iter().copied())
            .collect();
        let remedy = if outranking.is_empty() {
            String::new()
        } else if variables.is_empty() {
            "  → start it with `credd exec`\n".to_owned()
        } else {
            let variables = variables.join(" ");
            format!("  → unset {variables} where it is started, or start it with `credd exec`\n")
        };
        let rows: Vec<[String; 3]> = self
            .findings
            .iter()
            .map(|it| {
                let effect = it.effect.as_str().to_owned();
                let variables = if it.variables.is_empty() {
                    "profile files".to_owned()
                } else {
                    it.variables.join(", ")
                };
                [variables, effect, it.meaning.clone()]
            })
            .collect();
        format!("{conclusion}\n{remedy}\n{}", aligned(&rows))
    }
}

fn identity(explained: &Explanation) -> String {
    let Explanation {
        name,
        conclusion,
        remedy,
        warning,
        links,
        status,
    } = explained;
    let mut lines = vec![format!("{name}: {conclusion}")];
    let advice = remedy.iter().chain(warning);
    lines.extend(advice.map(|advice| format!("  → {advice}")));
    let state = &status.state;
    lines.push(match (status.is_served, status.source.as_deref()) {
        (true, Some(source)) => {
            let left = status.seconds_left.map(duration);
            let left = left.map_or(String::new(), |left| format!(", {left} left"));
            format!("  served now: {source}, {state}{left}")
        }
        (false, Some(source)) if status.is_source_only => {
            format!("  not served, since it is what others are derived from: {source}")
        }
        _ => format!("  not served now: {state}"),
    });
    lines.extend(status.failure.as_ref().map(|failure| {
        let (class, message) = (&failure.class, &failure.message);
        format!("  last failure: {class}: {message}")
    }));
    let rows: Vec<[String; 3]> = links
        .iter()
        .map(|link| {
            let finding = match &link.shadowed_by {
                Some(by) => format!("{} (by {by})", link.finding),
                None => link.finding.clone(),
            };
            [link.name.clone(), link.outcome.clone(), finding]
        })
        .collect();
    lines.extend([String::new(), aligned(&rows)]);
    lines.join("\n")
}

/// Rows of cells, each column as wide as its widest one.
fn aligned(rows: &[[String; 3]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let (first, second) = (width(0), width(1));
    let lines = rows.iter().map(|[name, outcome, text]| {
        let line = [
            &*format!("  {name:first$}  {outcome:second$}  {text}"),
            "\n",
        ];
        line.concat()
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environments_are_read_from_proc_and_from_files() {
        let of_proc = read_environment(b"A=1\0B=x=y\nz\0\xff=1\0C\0D= \0");
        assert_eq!(of_proc.variable("A"), Some("1"));
        assert_eq!(of_proc.variable("B"), Some("x=y\nz"));
        assert_eq!(of_proc.variables().count(), 3);
        let text = b"# A=0\n A = '1'\nexport B=\"x y\"\r\n\nC=\nD='1\nE\n";
        let of_file = read_environment(text);
        assert_eq!(of_file.variable("A"), Some("1"));
        assert_eq!(of_file.variable("B"), Some("x y"));
        assert_eq!(of_file.variable("C"), None);
        assert_eq!(of_file.variable("D"), Some("'1"));
        assert_eq!(of_file.variables().count(), 4);
    }
}
