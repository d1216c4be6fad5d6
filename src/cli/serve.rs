//! `credd serve`: the daemon.

use std::process::ExitCode;
use std::sync::Arc;

use super::check::read_config;
use super::{Failed, Outcome, ServeArguments, block_on};
use crate::clock::SystemClock;
use crate::daemon::{Daemon, Parts, runtime_directory, signals};
use crate::environment::Environment;
use crate::os::process;
use crate::random::SystemDraws;
use crate::telemetry;

const DEFAULT_FILTER: &str = "info";

pub(super) fn run(arguments: ServeArguments, environment: Environment) -> Outcome {
    let filter = arguments
        .log
        .as_deref()
        .or_else(|| environment.variable("CREDD_LOG"));
    telemetry::start(
        filter.unwrap_or(DEFAULT_FILTER),
        arguments.log_format.into(),
    )
    .map_err(Failed::new)?;
    process::hide_memory();
    process::raise_descriptor_limit();
    let (path, config) = read_config(&arguments.config, &environment)?;
    if let Some(path) = path {
        tracing::info!(config = %path.display(), "config read");
    } else {
        tracing::info!("no config file: keeping one identity, `default`");
    }
    let runtime_directory = runtime_directory::locate(arguments.runtime_dir, &environment)
        .ok_or_else(|| {
            Failed::new(
                "there is no runtime directory: name one with --runtime-dir, or set XDG_RUNTIME_DIR",
            )
        })?;
    block_on(async {
        let clock = Arc::new(SystemClock::new());
        // Before the sockets have names: a signal must not leave those behind.
        let termination = signals::termination()
            .map_err(|error| Failed::new(format!("cannot handle signals: {error}")))?;
        let daemon = Daemon::start(Parts {
            config,
            environment: Arc::new(environment),
            runtime_directory,
            clock: Arc::clone(&clock) as _,
            draws: |_| Box::new(SystemDraws),
        })
        .await
        .map_err(Failed::new)?;
        tokio::select! {
            () = daemon.run(termination) => {}
            // Ends only where the kernel cannot tell of jumps, and has said so then.
            () = watch_jumps(&clock) => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// For as long as the daemon runs.
pub(super) async fn watch_jumps(clock: &SystemClock) {
    clock.watch_jumps().await;
    std::future::pending::<()>().await;
}
