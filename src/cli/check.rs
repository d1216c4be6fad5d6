//! `credd check`: the config file, and every problem in it.

use std::process::ExitCode;

use super::{ConfigArguments, Failed, Outcome, output};
use crate::config;
use crate::environment::Environment;
use crate::identity::IdentityName;
use crate::os::process;

pub(super) fn run(arguments: &ConfigArguments, environment: &Environment) -> Outcome {
    let named = arguments.config.as_deref();
    let (path, config) =
        config::load(named, environment, process::is_root()).map_err(Failed::new)?;
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
