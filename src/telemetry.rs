//! The log: lines on stderr, for people or as JSON, where systemd and container engines pick them
//! up.

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// A filter that cannot be read.
#[derive(Debug)]
pub struct InvalidFilter(String);

impl std::fmt::Display for InvalidFilter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "`{}` is no log filter; say a level (error, warn, info, debug, trace), or levels by \
             target such as `info,credd::refresh=debug`",
            self.0
        )
    }
}

impl std::error::Error for InvalidFilter {}

/// Starts the log. A second call changes nothing.
pub fn start(filter: &str, format: Format) -> Result<(), InvalidFilter> {
    let targets: Targets = filter
        .parse()
        .map_err(|_| InvalidFilter(filter.to_owned()))?;
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let layer = match format {
        Format::Text => layer.with_target(false).boxed(),
        Format::Json => layer.json().flatten_event(true).boxed(),
    };
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(targets))
        .try_init();
    Ok(())
}
