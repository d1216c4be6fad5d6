//! The log: one record for each event, with what is known of the refresh that it is a part of;
//! written as text, as JSON, or with fields to the journal.

mod layer;
mod record;
mod sink;

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use layer::LogLayer;

pub use sink::{Form, Sink, dropped};

/// A filter that cannot be read.
#[derive(Debug)]
pub struct InvalidFilter(String);

impl fmt::Display for InvalidFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "`{}` is no log filter; say a level (error, warn, info, debug, trace), or levels by \
             target such as `info,credd::refresh=debug`",
            self.0
        )
    }
}

impl std::error::Error for InvalidFilter {}

/// What is logged. One for the process, as the log is.
#[derive(Debug)]
pub struct Levels {
    handle: reload::Handle<Targets, Registry>,
    initial: String,
    current: Mutex<String>,
}

static LEVELS: OnceLock<Levels> = OnceLock::new();

/// That of the log that [`start`] has started. Nothing where credd runs inside another program,
/// which logs as it likes.
pub fn levels() -> Option<&'static Levels> {
    LEVELS.get()
}

/// Starts the log. A second call changes nothing.
pub fn start(filter: &str, sink: Sink) -> Result<(), InvalidFilter> {
    let (targets, handle) = reload::Layer::new(parse(filter)?);
    let layer = layer(sink).with_filter(targets);
    if tracing_subscriber::registry()
        .with(layer)
        .try_init()
        .is_ok()
    {
        let _ = LEVELS.set(Levels {
            handle,
            initial: filter.to_owned(),
            current: Mutex::new(filter.to_owned()),
        });
    }
    Ok(())
}

/// What writes the log, for whoever has a subscriber of their own.
pub fn layer<S: Subscriber + for<'lookup> LookupSpan<'lookup>>(sink: Sink) -> impl Layer<S> {
    LogLayer::new(sink)
}

impl Levels {
    /// The filter in force.
    pub fn current(&self) -> String {
        let current = self.current.lock();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The filter that the daemon was started with.
    pub fn initial(&self) -> &str {
        &self.initial
    }

    /// Puts `filter` in force, or the first one again.
    pub fn set(&self, filter: Option<&str>) -> Result<(), InvalidFilter> {
        let filter = filter.unwrap_or(&self.initial);
        let targets = parse(filter)?;
        // Fails only if the log is gone, with the process.
        let _ = self.handle.reload(targets);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        filter.clone_into(&mut current);
        Ok(())
    }
}

/// Bounded, and so that it fits in what the admin socket takes.
fn parse(filter: &str) -> Result<Targets, InvalidFilter> {
    const LONGEST: usize = 256;
    let is_printable = filter.len() <= LONGEST && !filter.contains(|it: char| it.is_control());
    // `Targets` takes any word for a target, and so a misspelt level for one that nothing has.
    let is_clear = |part: &str| {
        let part = part.trim();
        let is_level = !part.is_empty() && part.parse::<LevelFilter>().is_ok();
        is_level || part.contains('=') || part.starts_with("credd")
    };
    let is_clear = filter.split(',').all(is_clear);
    let targets = filter.parse().ok().filter(|_| is_printable && is_clear);
    targets.ok_or_else(|| {
        let shown = filter.chars().take(80).flat_map(char::escape_debug);
        InvalidFilter(shown.collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_levels_by_target() {
        for filter in [
            "info",
            "WARN",
            "off",
            "info,credd::refresh=debug",
            "credd=trace",
        ] {
            assert!(parse(filter).is_ok(), "{filter}");
        }
        let long = "a=info,".repeat(200);
        for filter in [
            "loud",
            "info,loud",
            "credd=loud",
            "info\n",
            "a=b=c",
            "",
            long.as_str(),
        ] {
            assert!(parse(filter).is_err(), "{filter}");
        }
        let problem = parse("a=\u{1b}[2J").unwrap_err().to_string();
        assert!(!problem.contains('\u{1b}'), "{problem}");
    }
}
