//! What the daemon gives up before it serves: as much as its config allows.

use std::path::{Path, PathBuf};

use crate::audit::Destination;
use crate::config::Config;
use crate::os::sandbox::{self, Outcome};
use crate::providers::chain::Link;

/// What a config needs beyond reading files and asking over the network.
#[derive(Debug, PartialEq, Eq)]
pub struct Needs {
    /// Folders below which files are made and changed.
    writable: Vec<PathBuf>,
    /// Programs inherit what the daemon has given up, and may have to write anywhere.
    runs_programs: bool,
}

impl Needs {
    pub fn of(config: &Config, runtime_directory: &Path) -> Self {
        let audit = match &config.audit.to {
            Some(Destination::File(path)) => path.parent(),
            _ => None,
        };
        let folders = std::iter::once(runtime_directory)
            .chain(config.serve.sockets().filter_map(Path::parent))
            .chain(audit);
        let links = config.identities.values().flatten();
        Self {
            writable: folders.map(Path::to_owned).collect(),
            runs_programs: config.challenges.hook.is_some()
                || links.into_iter().any(Link::runs_programs),
        }
    }
}

/// Gives up the rest, for good, and says so. To be called while there is one thread, since each
/// gives up its own. What fails is warned of and does no harm.
pub fn enter(needs: &Needs) {
    let no_new_privileges = sandbox::renounce_privileges();
    let landlock = if needs.runs_programs {
        Outcome::LeftOut("the config has programs run")
    } else {
        sandbox::confine_writing(&needs.writable)
    };
    let system_calls = sandbox::filter_system_calls();
    tracing::info!(%no_new_privileges, seccomp = %system_calls, %landlock, "sandbox");
    for (what, outcome) in [
        ("no_new_privs", no_new_privileges),
        ("seccomp", system_calls),
        ("landlock", landlock),
    ] {
        if let Outcome::Failed(error) = outcome {
            tracing::warn!(%error, "cannot use {what}: credd runs without");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(config: &str) -> Needs {
        let config = crate::config::parse(
            Path::new("/etc/credd/credd.toml"),
            config,
            &crate::os::users::HostAccounts,
        )
        .unwrap();
        Needs::of(&config, Path::new("/run/credd"))
    }

    #[test]
    fn the_runtime_directory_and_those_of_sockets_and_the_audit_file_are_written_to() {
        let config = "[serve.unix]\npath = \"/srv/app/credd.sock\"\n\
            [serve.unix.default]\npath = \"/srv/own/credd.sock\"\n\
            [audit]\nto = \"file:/var/log/credd/audit\"";
        let writable = ["/run/credd", "/srv/app", "/srv/own", "/var/log/credd"];
        let writable = writable.map(PathBuf::from);
        assert_eq!(needs(config).writable, writable);
        assert!(!needs(config).runs_programs);
        assert_eq!(needs("").writable, ["/run/credd"].map(PathBuf::from));
    }

    #[test]
    fn every_way_to_have_a_program_run_is_seen() {
        let code = "[identity.ops]\nprovider = \"profile\"\nprofile = \"ops\"\n\
            [identity.mfa]\nprovider = \"session-token\"\nfrom = \"ops\"\nmfa-serial = \"GAHT12345678\"\n";
        for config in [
            "[identity.a]\nprovider = \"process\"\ncommand = [\"/bin/vault\"]".to_owned(),
            "[mfa]\nhook = [\"/bin/tell\"]".to_owned(),
            format!("{code}mfa-code = {{ command = [\"/bin/code\"] }}"),
        ] {
            assert!(needs(&config).runs_programs, "{config}");
        }
        assert!(!needs(code).runs_programs);
    }
}
