//! What operators and their systems see of a daemon: metrics, probes, the log, and what ships to
//! look at them with.

mod log;
mod metrics;
mod probes;
mod shipped;

use std::collections::BTreeMap;
use std::process::Command;

use crate::serving::daemon::InProcess;
use crate::serving::skipped;
use crate::serving::wire::{Reply, Wire, exchange};
use crate::support::sinks;

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

#[track_caller]
fn asked(stream: &mut impl Wire, path: &str) -> Reply {
    exchange(stream, get(path)).unwrap()
}

#[track_caller]
fn text(reply: Reply) -> String {
    String::from_utf8(reply.body).unwrap()
}

/// The samples of a page, by name and labels as they stand there.
struct Samples(BTreeMap<String, String>);

impl Samples {
    #[track_caller]
    fn of(daemon: &InProcess) -> Self {
        let page = text(asked(&mut daemon.admin(), "/metrics"));
        sinks::keep("metrics.txt", page.as_bytes());
        Self::parse(&page)
    }

    #[track_caller]
    fn parse(page: &str) -> Self {
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.to_owned())
        };
        Self(lines.map(sample).collect())
    }

    #[track_caller]
    fn value(&self, sample: &str) -> &str {
        let value = self.0.get(sample).map(String::as_str);
        value.unwrap_or_else(|| panic!("no {sample} among {:#?}", self.0.keys()))
    }

    /// The samples of a metric that are not zero.
    fn of_metric(&self, name: &str) -> Vec<(&str, &str)> {
        let all = self
            .0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        all.filter(|(it, value)| it.split('{').next() == Some(name) && *value != "0")
            .collect()
    }
}

/// Prometheus's own tool, where it is installed.
fn promtool(words: &[&str]) -> Option<Command> {
    if Command::new("promtool").arg("--version").output().is_err() {
        skipped("there is no promtool (Debian's package prometheus)");
        return None;
    }
    let mut command = Command::new("promtool");
    command.args(words);
    Some(command)
}
