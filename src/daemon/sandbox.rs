//! What the daemon gives up before it serves: as much as its config allows.

use std::fmt;
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

/// What the process can still do, however its config changes.
#[derive(Debug, Default)]
pub struct Confinement {
    /// Absent where it may write wherever its user may.
    writable: Option<Vec<PathBuf>>,
}

/// A config that needs what was given up.
#[derive(Debug)]
pub enum GivenUp {
    Writing(PathBuf),
    Programs,
}

impl fmt::Display for GivenUp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Writing(folder) => write!(
                formatter,
                "credd has given up the right to write below {}, which the config now needs",
                folder.display()
            ),
            Self::Programs => formatter.write_str(
                "credd has given up the right to write anywhere, and the programs that the config \
                 now has it run would not have it either",
            ),
        }?;
        formatter.write_str("; restart credd, which does so by the config that it finds then")
    }
}

impl std::error::Error for GivenUp {}

impl Confinement {
    /// Whether a config with these needs can be used.
    pub(super) fn allows(&self, needs: &Needs) -> Result<(), GivenUp> {
        let Some(writable) = &self.writable else {
            return Ok(());
        };
        if needs.runs_programs {
            return Err(GivenUp::Programs);
        }
        let is_given_up = |folder: &&PathBuf| !writable.iter().any(|it| folder.starts_with(it));
        match needs.writable.iter().find(is_given_up) {
            Some(folder) => Err(GivenUp::Writing(folder.clone())),
            None => Ok(()),
        }
    }
}

/// Gives up the rest, for good, and says so. To be called while there is one thread, since each
/// gives up its own. What fails is warned of and does no harm.
pub fn enter(needs: &Needs) -> Confinement {
    let no_new_privileges = sandbox::renounce_privileges();
    let landlock = if needs.runs_programs {
        Outcome::LeftOut("the config has programs run")
    } else {
        sandbox::confine_writing(&needs.writable)
    };
    let confinement = Confinement {
        writable: matches!(landlock, Outcome::Active).then(|| needs.writable.clone()),
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
    confinement
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
            "[identity.a]\nprovider = \"profile\"\nrun-programs = true".to_owned(),
            "[mfa]\nhook = [\"/bin/tell\"]".to_owned(),
            format!("{code}mfa-code = {{ command = [\"/bin/code\"] }}"),
        ] {
            assert!(needs(&config).runs_programs, "{config}");
        }
        assert!(!needs(code).runs_programs);
    }
}
