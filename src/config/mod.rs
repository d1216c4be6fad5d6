//! The config: where it is looked for, what it says, and everything that is wrong with it.

mod account;
mod allow;
mod audit;
mod command;
mod duration;
mod file;
mod findings;
mod identity;
mod lines;
mod mfa;
mod mode;
mod problem;
mod relations;
mod secret_place;
mod serve;
mod syntax;
mod table;
mod token;
mod vocabulary;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::authz::{Rule, TokenName};
use crate::credentials::Warnings;
use crate::environment::Environment;
use crate::identity::IdentityName;
use crate::os::files;
use crate::os::ownership::Unsafe;
use crate::os::users::HostAccounts;
use crate::program::Command;
use crate::providers::chain::{self, Link};

pub use file::parse;
pub use problem::{Problem, Problems};

/// The config as meant: nothing in it is left to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub serve: crate::serve::Config,
    pub challenges: Challenges,
    pub audit: crate::audit::Config,
    pub identities: BTreeMap<IdentityName, Vec<Link>>,
    /// `[[allow]]`, in its order.
    pub allow: Vec<Rule>,
    /// Every token that a rule names.
    pub tokens: BTreeMap<TokenName, TokenSettings>,
}

/// How a token is kept for those who may read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// Of its directory and file: one that the daemon is in.
    pub group: Option<u32>,
    /// Of the file, in bits.
    pub mode: u32,
    /// How often it is replaced, where that is wanted.
    pub rotate: Option<Duration>,
    /// How long the one before stays valid.
    pub overlap: Duration,
}

impl TokenSettings {
    /// Whether users besides the daemon's and root can read the token.
    pub fn lets_others_read(&self) -> bool {
        self.group.is_some() || self.mode & 0o007 != 0
    }
}

/// How people are asked for what only they have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Challenges {
    /// How long before the end of a session.
    pub warnings: Warnings,
    /// What is run at each announcement, with `CREDD_IDENTITY`, `CREDD_SERIAL`, `CREDD_EVENT` and,
    /// where a session is in hand, `CREDD_ENDS` in its environment.
    pub hook: Option<Command>,
}

/// What holds where there is no config file: one identity from the chain of every AWS SDK, on the
/// usual port.
impl Default for Config {
    fn default() -> Self {
        Self {
            serve: crate::serve::Config {
                http: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))],
                ..crate::serve::Config::default()
            },
            challenges: Challenges::default(),
            audit: crate::audit::Config::default(),
            identities: default_identities(),
            allow: Vec::new(),
            tokens: BTreeMap::new(),
        }
    }
}

const PORT: u16 = 9169;

fn default_identities() -> BTreeMap<IdentityName, Vec<Link>> {
    BTreeMap::from([(IdentityName::default(), chain::default_chain())])
}

/// Where the config is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Located {
    /// Somebody named the file, so it must be there.
    Named(PathBuf),
    /// The text itself, where there is no file: in a container.
    Given(String),
    /// Both variables are set, and each says what the config is.
    Twice,
    /// The usual places, in order. There need not be a file in any of them.
    Usual(Vec<PathBuf>),
}

impl Located {
    /// Whether the file `before` is no longer there, by what is found now: nothing, or what comes
    /// after it.
    pub fn has_lost(&self, before: &Path, found: Option<&Path>) -> bool {
        let Some(found) = found else { return true };
        let Self::Usual(places) = self else {
            return false;
        };
        let place = |path| places.iter().position(|it| it == path);
        place(before) < place(found)
    }
}

/// The variable that names the config file where the command line does not.
const VARIABLE: &str = "CREDD_CONFIG";

/// The variable that holds the config itself, for orchestrators that can hand a container variables
/// but no files.
const CONTENT: &str = "CREDD_CONFIG_CONTENT";

/// Where the system's config is; paths in one without a file start from here, too.
const SYSTEM: &str = "/etc/credd";

const FILE: &str = "credd.toml";

/// Decides where to look, without looking. `named` is the file of `--config`. Root has no config
/// of its own beside the system's: a `HOME` that sudo left in place must not change the daemon.
pub fn locate(named: Option<&Path>, environment: &Environment, is_root: bool) -> Located {
    if let Some(path) = named {
        return Located::Named(path.to_owned());
    }
    match (
        environment.variable(VARIABLE),
        environment.variable(CONTENT),
    ) {
        (Some(_), Some(_)) => Located::Twice,
        (Some(path), None) => Located::Named(path.into()),
        (None, Some(text)) => Located::Given(text.to_owned()),
        (None, None) => {
            let own = config_home(environment).filter(|_| !is_root);
            let own = own.map(|home| home.join("credd").join(FILE));
            let system = Path::new(SYSTEM).join(FILE);
            // A person's own daemon, on a host that has the system's as well, is not the system's.
            Located::Usual(own.into_iter().chain([system]).collect())
        }
    }
}

/// XDG Base Directory Specification: a relative path is invalid and is ignored.
fn config_home(environment: &Environment) -> Option<PathBuf> {
    environment
        .variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(environment.home()?.join(".config")))
}

/// Far more than anybody writes by hand, and little enough to hold twice.
const LONGEST: usize = 1024 * 1024;

/// Which files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Those that nobody but root and credd's user could have written: what the config says is done
    /// with their keys.
    Owned,
    /// All, for somebody who wants to know what is in it.
    All,
}

/// Reads the config, and says which file it comes from, or which variable: none where the usual
/// places are empty.
pub fn load(located: &Located, trust: Trust) -> Result<(Option<PathBuf>, Config), LoadError> {
    let read = match trust {
        Trust::Owned => files::read_owned_text_now,
        Trust::All => files::read_text_now,
    };
    let (places, is_named) = match located {
        Located::Named(path) => (std::slice::from_ref(path), true),
        Located::Usual(paths) => (paths.as_slice(), false),
        Located::Given(text) => {
            let config = file::parse_as(CONTENT.as_ref(), SYSTEM.as_ref(), text, &HostAccounts);
            return Ok((Some(CONTENT.into()), config.map_err(LoadError::Problems)?));
        }
        Located::Twice => return Err(LoadError::Twice),
    };
    for path in places {
        match read(path, LONGEST) {
            Ok(text) => {
                let config = parse(path, &text, &HostAccounts).map_err(LoadError::Problems)?;
                return Ok((Some(path.clone()), config));
            }
            Err(error) if !is_named && is_missing(&error) => {}
            Err(source) => {
                let path = path.clone();
                return Err(LoadError::Unreadable { path, source });
            }
        }
    }
    Ok((None, Config::default()))
}

/// `XDG_CONFIG_HOME=/dev/null` is a usual way to say that there are no files.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Why there is no config.
#[derive(Debug)]
pub enum LoadError {
    /// Going on without a file that is there would serve other identities than its writer means.
    Unreadable {
        path: PathBuf,
        source: io::Error,
    },
    Problems(Problems),
    /// Taking either would be a guess at which identities are meant.
    Twice,
}

impl fmt::Display for LoadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } => {
                let (path, remedy) = (path.display(), remedy(source));
                write!(
                    formatter,
                    "cannot read the config {path} ({remedy}, or name another file with `--config` \
                     or {VARIABLE})"
                )
            }
            Self::Problems(problems) => problems.fmt(formatter),
            Self::Twice => write!(
                formatter,
                "{VARIABLE} names a config file and {CONTENT} holds a config; unset one of them"
            ),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Problems(_) | Self::Twice => None,
        }
    }
}

fn is_unsafe(error: &io::Error) -> bool {
    let error = error.get_ref();
    error.is_some_and(<dyn std::error::Error + Send + Sync>::is::<Unsafe>)
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        _ if is_unsafe(error) => "see to it that nobody else could have written it",
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "create it",
        io::ErrorKind::PermissionDenied => "let the user that credd runs as read it",
        io::ErrorKind::InvalidData => "save it as UTF-8",
        io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory => "put a regular file there",
        io::ErrorKind::FileTooLarge => "make it smaller",
        _ => "make it readable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::described;

    fn located(named: Option<&str>, variables: &[(&str, &str)], is_root: bool) -> Located {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        locate(named.map(Path::new), &variables.collect(), is_root)
    }

    fn usual(paths: &[&str]) -> Located {
        Located::Usual(paths.iter().map(PathBuf::from).collect())
    }

    #[test]
    fn the_command_line_outranks_the_variable_and_both_the_usual_places() {
        let variables = [("CREDD_CONFIG", "/variable"), ("HOME", "/home/user")];
        let named = |path: &str| Located::Named(path.into());
        assert_eq!(located(Some("/named"), &variables, false), named("/named"));
        assert_eq!(located(None, &variables, true), named("/variable"));
        assert_eq!(
            located(None, &variables[1..], false),
            usual(&[
                "/home/user/.config/credd/credd.toml",
                "/etc/credd/credd.toml"
            ])
        );
    }

    #[test]
    fn a_variable_can_hold_the_config_and_leaves_no_doubt_which_one_counts() {
        let content = ("CREDD_CONFIG_CONTENT", "[serve.http]\nlisten = []\n");
        let variables = [
            content,
            ("CREDD_CONFIG", "/variable"),
            ("HOME", "/home/user"),
        ];
        let given = located(None, &[content], true);
        assert_eq!(given, Located::Given(content.1.to_owned()));
        assert_eq!(
            located(Some("/named"), &variables, true),
            Located::Named("/named".into())
        );
        let twice = load(&located(None, &variables, false), Trust::Owned).unwrap_err();
        assert_eq!(
            twice.to_string(),
            "CREDD_CONFIG names a config file and CREDD_CONFIG_CONTENT holds a config; unset one \
             of them"
        );
        let blank = [("CREDD_CONFIG_CONTENT", " \n"), variables[1]];
        assert_eq!(
            located(None, &blank, false),
            Located::Named("/variable".into())
        );
        let (origin, config) = load(&given, Trust::Owned).unwrap();
        assert_eq!(origin, Some("CREDD_CONFIG_CONTENT".into()));
        assert!(config.serve.http.is_empty());
    }

    #[test]
    fn problems_of_a_config_in_a_variable_are_told_with_its_name_and_its_paths_are_the_systems() {
        let given = |text: &str| load(&Located::Given(text.to_owned()), Trust::Owned);
        let error = given("\nunknown = 1").unwrap_err().to_string();
        let start = "CREDD_CONFIG_CONTENT:2:1: unknown key `unknown`\n";
        assert!(error.starts_with(start), "{error}");
        let (_, config) = given(
            "[identity.a]\nprovider = \"keys\"\n\
            access-key-id = \"AKIAIOSFODNN7EXAMPLE\"\nsecret-access-key = \"file:key\"",
        )
        .unwrap();
        assert!(
            format!("{config:?}").contains("/etc/credd/key"),
            "{config:?}"
        );
    }

    #[test]
    fn root_has_no_config_home_and_a_relative_one_is_ignored() {
        let system = "/etc/credd/credd.toml";
        let xdg = [("XDG_CONFIG_HOME", "/xdg"), ("HOME", "/home/user")];
        assert_eq!(located(None, &xdg, true), usual(&[system]));
        assert_eq!(
            located(None, &xdg, false),
            usual(&["/xdg/credd/credd.toml", system])
        );
        let relative = [("XDG_CONFIG_HOME", "xdg"), ("HOME", "/home/user")];
        assert_eq!(
            located(None, &relative, false),
            usual(&["/home/user/.config/credd/credd.toml", system])
        );
        assert_eq!(located(None, &[], false), usual(&[system]));
    }

    #[test]
    fn the_first_usual_file_is_read_and_without_any_the_default_holds() {
        let folder = tempfile::tempdir().unwrap();
        let (missing, empty) = (folder.path().join("missing"), folder.path().join("empty"));
        let unused = folder.path().join("unused");
        files::write_private(&empty, b"").unwrap();
        files::write_private(&unused, b"unknown = 1").unwrap();
        let beside_null = PathBuf::from("/dev/null/credd/credd.toml");
        let places = vec![missing.clone(), beside_null, empty.clone(), unused];
        let loaded = load(&Located::Usual(places), Trust::Owned).unwrap();
        assert_eq!(loaded, (Some(empty), Config::default()));
        let loaded = load(&Located::Usual(vec![missing]), Trust::Owned).unwrap();
        assert_eq!(loaded, (None, Config::default()));
    }

    #[test]
    fn a_file_that_is_named_or_there_must_be_readable() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let error = load(&Located::Named(missing.clone()), Trust::Owned).unwrap_err();
        assert_eq!(
            described(&error),
            format!(
                "cannot read the config {} (create it, or name another file with `--config` or \
                 CREDD_CONFIG): No such file or directory (os error 2)",
                missing.display()
            )
        );
        let error = load(
            &Located::Usual(vec![folder.path().to_owned()]),
            Trust::Owned,
        )
        .unwrap_err();
        assert!(matches!(error, LoadError::Unreadable { .. }), "{error}");
        let binary = folder.path().join("binary");
        files::write_private(&binary, b"\xff").unwrap();
        let error = load(&Located::Usual(vec![binary]), Trust::Owned).unwrap_err();
        assert!(error.to_string().contains("save it as UTF-8"), "{error}");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credd.toml");
        files::write_private(&path, b"\nunknown = 1").unwrap();
        let error = load(&Located::Named(path.clone()), Trust::Owned).unwrap_err();
        let start = format!("{}:2:1: unknown key `unknown`\n", path.display());
        assert!(error.to_string().starts_with(&start), "{error}");
    }
}
