//! `credd install`: puts this program where other containers run it, from an image without `cp`.

use std::path::Path;
use std::process::ExitCode;

use super::{Failed, InstallArguments, Outcome};
use crate::os::files;

/// What it is called in a directory.
const NAME: &str = "credd";

pub(super) fn run(arguments: &InstallArguments) -> Outcome {
    let path = target(&arguments.path);
    files::write_own_program(&path).map_err(|error| {
        let path = path.display();
        Failed::new(format!("cannot copy this program to {path}: {error}"))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn target(path: &Path) -> std::path::PathBuf {
    if path.is_dir() {
        path.join(NAME)
    } else {
        path.to_owned()
    }
}
