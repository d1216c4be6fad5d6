//! The shared AWS config and credentials files: their profiles, `sso-session` and `services`
//! sections, read as the SDKs read them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::os::files;

mod location;
mod parse;
mod problem;
mod section;

pub use location::{DEFAULT_PROFILE, Location, Locations};
pub use problem::{Oddity, ProfileFileError, Syntax, Warning};
pub use section::Section;

use parse::RawSection;
use section::Header;

/// The two files, which differ in how they write the name of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    Config,
    Credentials,
}

/// Keys with which a profile names another source of credentials than keys of its own.
pub const OTHER_SOURCES: [&str; 7] = [
    "role_arn",
    "credential_source",
    "web_identity_token_file",
    "sso_session",
    "sso_start_url",
    "login_session",
    "credential_process",
];

/// What one file says, or both together.
#[derive(Debug, Default)]
pub struct Profiles {
    by_name: BTreeMap<String, Section>,
    sso_sessions: BTreeMap<String, Section>,
    services: BTreeMap<String, Section>,
    warnings: Vec<Warning>,
}

impl Profiles {
    pub fn profile(&self, name: &str) -> Option<&Section> {
        self.by_name.get(name)
    }

    /// The section `[sso-session name]`.
    pub fn sso_session(&self, name: &str) -> Option<&Section> {
        self.sso_sessions.get(name)
    }

    /// The section `[services name]`.
    pub fn services(&self, name: &str) -> Option<&Section> {
        self.services.get(name)
    }

    pub fn profile_names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    pub fn sso_session_names(&self) -> impl Iterator<Item = &str> {
        self.sso_sessions.keys().map(String::as_str)
    }

    pub fn services_names(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }

    /// What was passed over, in the order of the files.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// These profiles with those of `other` laid over them, property by property: so the
    /// credentials file over the config file.
    #[must_use]
    pub fn overridden_by(mut self, other: Self) -> Self {
        lay_over(&mut self.by_name, other.by_name);
        lay_over(&mut self.sso_sessions, other.sso_sessions);
        lay_over(&mut self.services, other.services);
        self.warnings.extend(other.warnings);
        self
    }

    fn section_mut(&mut self, header: Header<'_>) -> &mut Section {
        let (sections, name) = match header {
            Header::BareDefault => (&mut self.by_name, DEFAULT_PROFILE),
            Header::Profile(name) => (&mut self.by_name, name),
            Header::SsoSession(name) => (&mut self.sso_sessions, name),
            Header::Services(name) => (&mut self.services, name),
        };
        sections.entry(name.to_owned()).or_default()
    }
}

fn lay_over(below: &mut BTreeMap<String, Section>, above: BTreeMap<String, Section>) {
    for (name, section) in above {
        below.entry(name).or_default().merge(section);
    }
}

/// Reads both files. One that is missing is as good as empty; one that is there and cannot be read
/// is an error.
pub async fn load(locations: &Locations) -> Result<Profiles, ProfileFileError> {
    let config = load_file(FileKind::Config, locations.config.as_ref()).await?;
    let credentials = load_file(FileKind::Credentials, locations.credentials.as_ref()).await?;
    Ok(config.overridden_by(credentials))
}

/// Organizations generate config files with thousands of profiles, which come to some hundred
/// kilobytes. Whatever is larger than this is not a profile file.
const LARGEST_FILE: usize = 1024 * 1024;

async fn load_file(
    kind: FileKind,
    location: Option<&Location>,
) -> Result<Profiles, ProfileFileError> {
    let Some(location) = location else {
        return Ok(Profiles::default());
    };
    match files::read_text(location.path.clone(), LARGEST_FILE).await {
        Ok(text) => parse(kind, &location.path, &text),
        Err(error) if is_missing(&error) => Ok(missing(kind, location)),
        Err(source) => Err(ProfileFileError::Unreadable {
            path: location.path.clone(),
            kind,
            source,
        }),
    }
}

fn is_missing(error: &io::Error) -> bool {
    // Not a directory: below a home of /dev/null, as service users have it, there is no file.
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn missing(kind: FileKind, location: &Location) -> Profiles {
    let warning = location.is_named.then(|| Warning {
        path: location.path.as_path().into(),
        line: None,
        oddity: Oddity::Missing { kind },
    });
    Profiles {
        warnings: warning.into_iter().collect(),
        ..Profiles::default()
    }
}

/// Reads the text of one file. `path` serves for what is said about it only.
pub fn parse(kind: FileKind, path: &Path, text: &str) -> Result<Profiles, ProfileFileError> {
    let sections = parse::sections(text).map_err(|misread| ProfileFileError::Malformed {
        path: path.to_owned(),
        line: misread.line,
        problem: misread.problem,
    })?;
    Ok(collect(kind, path, &sections))
}

fn collect(kind: FileKind, path: &Path, sections: &[RawSection<'_>]) -> Profiles {
    let mut profiles = Profiles::default();
    let mut warnings = Vec::new();
    let path: Arc<Path> = path.into();
    let mut warn = |line, oddity| {
        warnings.push(Warning {
            path: Arc::clone(&path),
            line: Some(line),
            oddity,
        });
    };
    // Replaced, not merged, wherever the two stand: so the test cases that the SDKs share.
    let is_default_replaced = kind == FileKind::Config
        && sections
            .iter()
            .any(|raw| Header::of(kind, raw.header) == Ok(Header::Profile(DEFAULT_PROFILE)));
    for raw in sections {
        let header = match Header::of(kind, raw.header) {
            Ok(Header::BareDefault) if is_default_replaced => {
                warn(raw.line, Oddity::ReplacedDefault);
                continue;
            }
            Ok(header) => header,
            Err(oddity) => {
                warn(raw.line, oddity);
                continue;
            }
        };
        let section = profiles.section_mut(header);
        for property in &raw.properties {
            if let Some(oddity) = section.insert(property) {
                warn(property.line, oddity);
            }
        }
    }
    profiles.warnings = warnings;
    profiles
}

#[cfg(test)]
mod tests;
