//! Where a config says that a secret is kept, since it never holds one itself.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::os::files;
use crate::secret::Secret;

/// A place that is read anew each time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretPlace {
    /// `credential:NAME`: what systemd hands to the service by that name (systemd.exec(5),
    /// `LoadCredential=` and `LoadCredentialEncrypted=`).
    Credential(String),
    /// `file:PATH`: a file that only root or credd's user can read.
    File(PathBuf),
}

/// More than any secret of AWS has: a session token is about 1 KiB, and has no defined limit.
const SECRET_BYTES: usize = 64 * 1024;

const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// A text that names no place. It is not shown: it may be the secret itself.
#[derive(Debug, PartialEq, Eq)]
pub struct NoPlace;

impl fmt::Display for NoPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(
            "a secret is named by where it is kept: `credential:NAME` for one that systemd loads, \
             or `file:PATH`; it is never written here",
        )
    }
}

impl std::error::Error for NoPlace {}

impl SecretPlace {
    /// Reads `credential:NAME` or `file:PATH`. A name is one that systemd takes: ASCII, and a file
    /// name.
    pub fn parse(text: &str) -> Result<Self, NoPlace> {
        let place = match text.split_once(':') {
            Some(("credential", name)) if is_name(name) => Self::Credential(name.to_owned()),
            Some(("file", path)) if is_path(path) => Self::File(path.into()),
            _ => return Err(NoPlace),
        };
        Ok(place)
    }

    /// The same place, with a relative path taken to start from `folder`.
    #[must_use]
    pub fn beneath(self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(folder.join(path)),
            credential @ Self::Credential(_) => credential,
        }
    }

    /// The secret that is there now, without the newline that editors and `echo` leave at its end.
    pub async fn read(&self, environment: &Environment) -> Result<Secret, SecretPlaceError> {
        let fail = |problem| SecretPlaceError {
            place: self.clone(),
            problem,
        };
        let text = match self {
            // The folder is the service's alone; the files' modes vary with how systemd made it so.
            Self::Credential(name) => {
                let folder = environment.variable(DIRECTORY);
                let folder = folder.ok_or_else(|| fail(Problem::NoDirectory))?;
                files::read_text(Path::new(folder).join(name), SECRET_BYTES).await
            }
            Self::File(path) => files::read_private_text(path.clone(), SECRET_BYTES).await,
        };
        let text = text.map_err(|error| fail(Problem::Io(error)))?;
        let line = text.strip_suffix("\r\n");
        let text = line.or_else(|| text.strip_suffix('\n')).unwrap_or(&text);
        if text.is_empty() {
            return Err(fail(Problem::Empty));
        }
        Ok(Secret::from(text.to_owned()))
    }
}

/// As it is written in a config.
impl fmt::Display for SecretPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(name) => write!(formatter, "credential:{name}"),
            Self::File(path) => write!(formatter, "file:{}", path.display()),
        }
    }
}

/// Fit to be a credential's name (systemd.exec(5)), and no way out of the folder.
fn is_name(name: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
    name.bytes().all(is_fit) && !["", ".", ".."].contains(&name)
}

fn is_path(path: &str) -> bool {
    !path.is_empty() && !path.contains(char::is_control)
}

/// A secret that could not be had. Shows its place, and what to do.
#[derive(Debug)]
pub struct SecretPlaceError {
    place: SecretPlace,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    NoDirectory,
    Io(io::Error),
    Empty,
}

impl SecretPlaceError {
    /// Whether it may be the moment in which somebody replaces the file.
    pub fn may_pass(&self) -> bool {
        match &self.problem {
            Problem::Empty => true,
            Problem::NoDirectory => false,
            Problem::Io(error) => !matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::InvalidData
                    | io::ErrorKind::FileTooLarge
            ),
        }
    }
}

impl fmt::Display for SecretPlaceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        match &self.problem {
            Problem::NoDirectory => write!(
                formatter,
                "cannot read {place}: {DIRECTORY} is not set; give credd's unit a LoadCredential= \
                 of that name, or keep the secret in a file"
            ),
            Problem::Io(error) => write!(formatter, "cannot read {place}: {error}"),
            Problem::Empty => write!(formatter, "there is nothing in {place}"),
        }
    }
}

impl std::error::Error for SecretPlaceError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_kinds_of_places_are_read_and_shown_as_written() {
        for text in ["credential:ops-key", "file:/etc/credd/key", "file:keys/ops"] {
            assert_eq!(SecretPlace::parse(text).unwrap().to_string(), text);
        }
        let relative = SecretPlace::parse("file:keys/ops").unwrap();
        let joined = relative.beneath(Path::new("/etc/credd"));
        assert_eq!(joined, SecretPlace::File("/etc/credd/keys/ops".into()));
        let absolute = SecretPlace::File("/run/key".into());
        assert_eq!(absolute.clone().beneath(Path::new("/etc")), absolute);
    }

    #[test]
    fn what_names_no_place_is_refused_and_not_shown() {
        for text in [
            "",
            "CANARY",
            "credential:",
            "credential:a/b",
            "credential:..",
            "credential:.",
            "credential:a b",
            "credential:é",
            "credential:a\n",
            "file:",
            "file:a\nb",
            "File:/a",
            "env:CANARY",
        ] {
            let problem = SecretPlace::parse(text).expect_err(text);
            assert!(!format!("{problem}{problem:?}").contains(CANARY), "{text}");
        }
    }

    const CANARY: &str = "CANARY";
}
