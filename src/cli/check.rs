//! `credd check`: the config file, every problem in it, and what becomes of it in a dry run.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{CheckArguments, ConfigArguments, Failed, Outcome, dry_run, output};
use crate::config::{self, Config, LoadError, Trust};
use crate::credentials::described;
use crate::environment::Environment;
use crate::identity::IdentityName;
use crate::os::process;
use crate::serve::Witness;

pub(super) fn run(arguments: &CheckArguments, environment: Environment) -> Outcome {
    // A dry run does what the config says.
    let trust = if arguments.dry_run {
        Trust::Owned
    } else {
        Trust::All
    };
    let (path, config) = read_config(&arguments.config, &environment, trust)?;
    let identities: Vec<&str> = config.identities.keys().map(IdentityName::as_str).collect();
    let origin = path.map_or("no config file".to_owned(), |path| {
        path.display().to_string()
    });
    output::line(&format!(
        "ok: {origin}: identities {}",
        identities.join(", ")
    ))?;
    warn_of_untold_callers(&config);
    dry_run::warn_of_keys_on_an_instance(&config, &environment)?;
    if arguments.dry_run {
        return dry_run::run(config, environment);
    }
    Ok(ExitCode::SUCCESS)
}

/// Says so where the rules need more than this process is told. The daemon may have other rights.
fn warn_of_untold_callers(config: &Config) {
    let witness = Witness::default();
    let outcome = witness.suffices_for(&config.allow, &config.serve.tcp_addresses());
    if let Err(untold) = outcome {
        output::note(&format!(
            "warning: where the daemon has no more rights than this command, it will not start: \
             {untold}"
        ));
    }
}

/// The config, and the file it comes from if there is one.
pub(super) fn read_config(
    arguments: &ConfigArguments,
    environment: &Environment,
    trust: Trust,
) -> Result<(Option<PathBuf>, Config), Failed> {
    let located = config::locate(arguments.config.as_deref(), environment, process::is_root());
    let mut loaded = config::load(&located, Trust::Owned);
    if let (Trust::All, Err(error @ LoadError::Unreadable { .. })) = (trust, &loaded) {
        let refusal = described(error);
        loaded = config::load(&located, Trust::All);
        if loaded.is_ok() {
            let refusal = format!("`credd serve`, run by this user, would refuse: {refusal}");
            output::note(&output::harmless(&refusal));
        }
    }
    loaded.map_err(|error| match error {
        LoadError::Problems(problems) => {
            // At the start of their lines, where editors look for places to jump to.
            output::note(&format!("{problems}\n"));
            Failed::new("the config cannot be used until these problems are mended")
        }
        LoadError::Unreadable { .. } | LoadError::Twice => Failed::new(described(&error)),
    })
}
