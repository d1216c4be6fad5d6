//! `credd check`: the config file, and every problem in it.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{ConfigArguments, Failed, Outcome, output};
use crate::config::{self, Config, LoadError};
use crate::credentials::described;
use crate::environment::Environment;
use crate::identity::IdentityName;
use crate::os::process;

pub(super) fn run(arguments: &ConfigArguments, environment: &Environment) -> Outcome {
    let (path, config) = read_config(arguments, environment)?;
    let identities: Vec<&str> = config.identities.keys().map(IdentityName::as_str).collect();
    let origin = path.map_or("no config file".to_owned(), |path| {
        path.display().to_string()
    });
    output::line(&format!(
        "ok: {origin}: identities {}",
        identities.join(", ")
    ));
    Ok(ExitCode::SUCCESS)
}

/// The config, and the file it comes from if there is one.
pub(super) fn read_config(
    arguments: &ConfigArguments,
    environment: &Environment,
) -> Result<(Option<PathBuf>, Config), Failed> {
    let located = config::locate(arguments.config.as_deref(), environment, process::is_root());
    config::load(&located).map_err(|error| match error {
        LoadError::Problems(problems) => {
            // At the start of their lines, where editors look for places to jump to.
            output::note(&format!("{problems}\n"));
            Failed::new("the config cannot be used until these problems are mended")
        }
        LoadError::Unreadable { .. } => Failed::new(described(&error)),
    })
}
