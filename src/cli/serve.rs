//! `credd serve`: the daemon.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use super::check::read_config;
use super::{Failed, LogFormat, Outcome, SYS, ServeArguments, block_on, output};
use crate::audit::{Destination, Outlets};
use crate::clock::SystemClock;
use crate::config::{self, Trust};
use crate::daemon::sandbox::{self, Needs};
use crate::daemon::signals::{self, Signal};
use crate::daemon::{ConfigFile, Daemon, Parts, runtime_directory};
use crate::environment::Environment;
use crate::journal;
use crate::os::host::is_ec2_instance;
use crate::os::{process, secret_memory};
use crate::random::SystemDraws;
use crate::serve::ReloadOrders;
use crate::systemd::Inherited;
use crate::telemetry::{self, Form, Sink};

const DEFAULT_FILTER: &str = "info";

pub(super) fn run(arguments: ServeArguments, environment: Environment) -> Outcome {
    // Before anything is opened.
    let inherited = Inherited::of(&environment);
    let filter = arguments
        .log
        .as_deref()
        .or_else(|| environment.variable("CREDD_LOG"));
    let sink = log_sink(arguments.log_format, &environment)?;
    telemetry::start(filter.unwrap_or(DEFAULT_FILTER), sink).map_err(Failed::new)?;
    let inherited = inherited.map_err(Failed::new)?;
    process::make_files_private();
    process::hide_memory();
    process::raise_descriptor_limit();
    Environment::wipe_original();
    tracing::info!(kind = %secret_memory::kind(), "memory for long-lived secrets");
    let (path, config) = read_config(&arguments.config, &environment, Trust::Owned)?;
    if let Some(path) = &path {
        tracing::info!(config = %path.display(), "config read");
    } else {
        tracing::info!("no config file: keeping one identity, `default`");
    }
    let named = arguments.config.config.as_deref();
    let config_file = ConfigFile {
        located: config::locate(named, &environment, process::is_root()),
        found: path,
    };
    let runtime_directory = runtime_directory::locate(arguments.runtime_dir, &environment)
        .ok_or_else(|| {
            Failed::new(
                "there is no runtime directory: name one with --runtime-dir, or set XDG_RUNTIME_DIR",
            )
        })?;
    runtime_directory::make(&runtime_directory, &config.serve, &inherited).map_err(Failed::new)?;
    let confinement = sandbox::enter(&Needs::of(&config, &runtime_directory));
    block_on(async {
        let clock = Arc::new(SystemClock::new());
        // Before the sockets have names: a signal must not leave those behind.
        let failed = |error| Failed::new(format!("cannot handle signals: {error}"));
        let termination = signals::termination(None).map_err(failed)?;
        let hurry = signals::second_termination().map_err(failed)?;
        let hang_up = Signal::new(signals::SIGHUP).map_err(failed)?;
        let journal_stream = environment.variable("JOURNAL_STREAM");
        let outlets = Outlets {
            by_default: Destination::by_default(journal_stream, output::notes_file()),
            ..Outlets::to(output::notes())
        };
        let daemon = Daemon::start(Parts {
            config,
            config_file: Some(config_file),
            confinement,
            outlets,
            environment: Arc::new(environment),
            runtime_directory,
            inherited,
            is_on_ec2: is_ec2_instance(Path::new(SYS)),
            clock: Arc::clone(&clock) as _,
            draws: |_| Box::new(SystemDraws),
        })
        .await
        .map_err(Failed::new)?;
        let reloads = daemon.reloads();
        tokio::select! {
            outcome = daemon.run_until(termination, hurry) => outcome.map_err(Failed::new)?,
            () = watch_jumps(&clock) => {}
            () = reload_at(hang_up, &reloads) => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Where the log goes, and how. A container may have inherited its stderr from a unit, and no
/// journald to go with it.
fn log_sink(format: LogFormat, environment: &Environment) -> Result<Sink, Failed> {
    let form = match format {
        LogFormat::Json => Form::Json,
        LogFormat::Auto | LogFormat::Text if output::may_colour(environment) => Form::Colour,
        LogFormat::Auto | LogFormat::Text | LogFormat::Journal => Form::Text,
    };
    let is_journals = || {
        let stream = environment.variable("JOURNAL_STREAM");
        journal::is_stream(stream, output::notes_file())
    };
    let to_journal = || Sink::journal(journal::SOCKET.into(), output::log());
    match format {
        LogFormat::Journal => to_journal()
            .map_err(|error| Failed::new(format!("cannot write the log to the journal: {error}"))),
        LogFormat::Auto if is_journals() => {
            to_journal().or_else(|_| Ok(Sink::stream(output::log(), form)))
        }
        LogFormat::Auto | LogFormat::Text | LogFormat::Json => {
            Ok(Sink::stream(output::log(), form))
        }
    }
}

/// As daemons do since inetd. A terminal that closes sends it, too, and does no harm.
async fn reload_at(mut hang_up: Signal, reloads: &ReloadOrders) {
    loop {
        hang_up.next().await;
        reloads.order();
    }
}

/// Never ends, also where the kernel cannot tell of jumps, which is said then.
pub(super) async fn watch_jumps(clock: &SystemClock) {
    clock.watch_jumps().await;
    std::future::pending::<()>().await;
}
