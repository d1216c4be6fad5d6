//! Where the profile files are and which profile is meant, by the environment.
//!
//! The rules: <https://docs.aws.amazon.com/sdkref/latest/guide/file-location.html>.

use std::path::{Path, PathBuf};

use super::FileKind;
use crate::environment::Environment;

/// The files to read and the profile to look for in them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Locations {
    /// Absent where nothing names it and there is no home to look in.
    pub config: Option<Location>,
    pub credentials: Option<Location>,
    pub profile: String,
    /// Whether the environment names the profile: one that is named and missing is a mistake, a
    /// missing default is not.
    pub is_profile_named: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    pub path: PathBuf,
    /// Whether the environment names the file.
    pub is_named: bool,
}

/// The profile of those who name none.
pub const DEFAULT_PROFILE: &str = "default";

const PROFILE_VARIABLE: &str = "AWS_PROFILE";

impl Locations {
    pub fn of(environment: &Environment) -> Self {
        let profile = environment.variable(PROFILE_VARIABLE);
        Self {
            config: Location::of(FileKind::Config, environment),
            credentials: Location::of(FileKind::Credentials, environment),
            profile: profile.unwrap_or(DEFAULT_PROFILE).to_owned(),
            is_profile_named: profile.is_some(),
        }
    }

    /// The files, whether they are there or not.
    pub fn paths(&self) -> Vec<PathBuf> {
        let files = [&self.config, &self.credentials].into_iter().flatten();
        files.map(|location| location.path.clone()).collect()
    }
}

impl Location {
    fn of(kind: FileKind, environment: &Environment) -> Option<Self> {
        let home = environment.home();
        match environment.variable(kind.variable()) {
            Some(named) => Some(Self {
                path: expand(Path::new(named), home),
                is_named: true,
            }),
            None => Some(Self {
                path: home?.join(kind.default_path()),
                is_named: false,
            }),
        }
    }
}

/// Without a home the `~` stays, as in the SDKs: the file is then missing, and said to be.
fn expand(path: &Path, home: Option<PathBuf>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(below), Some(home)) => home.join(below),
        _ => path.to_owned(),
    }
}

impl FileKind {
    /// The environment variable that names the file.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Config => "AWS_CONFIG_FILE",
            Self::Credentials => "AWS_SHARED_CREDENTIALS_FILE",
        }
    }

    fn default_path(self) -> &'static str {
        match self {
            Self::Config => ".aws/config",
            Self::Credentials => ".aws/credentials",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locations(variables: &[(&str, &str)]) -> Locations {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Locations::of(&variables.collect())
    }

    fn config_path(file: &str, home: &str) -> PathBuf {
        let locations = locations(&[("AWS_CONFIG_FILE", file), ("HOME", home)]);
        locations.config.unwrap().path
    }

    #[test]
    fn a_tilde_is_the_home_only_as_the_first_component() {
        for (file, path) in [
            ("~/a/b", "/home/user/a/b"),
            ("~//a", "/home/user/a"),
            ("~", "/home/user"),
            ("~user/a", "~user/a"),
            ("/a/~/b", "/a/~/b"),
            ("./~/a", "./~/a"),
            ("a/b", "a/b"),
        ] {
            assert_eq!(config_path(file, "/home/user"), Path::new(path), "{file}");
        }
        assert_eq!(config_path("~/a", " "), Path::new("~/a"));
    }

    #[test]
    fn without_a_home_only_named_files_have_a_place() {
        let locations = locations(&[("AWS_SHARED_CREDENTIALS_FILE", "/keys"), ("HOME", "")]);
        assert_eq!(locations.config, None);
        let credentials = locations.credentials.unwrap();
        assert!(credentials.is_named);
        assert_eq!(credentials.path, Path::new("/keys"));
    }

    #[test]
    fn a_profile_named_default_is_still_named() {
        let unnamed = locations(&[("AWS_PROFILE", " ")]);
        assert_eq!(unnamed.profile, "default");
        assert!(!unnamed.is_profile_named);
        let named = locations(&[("AWS_PROFILE", "default")]);
        assert_eq!(named.profile, "default");
        assert!(named.is_profile_named);
    }
}
