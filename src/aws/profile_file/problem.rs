//! What can be wrong with a profile file. No text here ever holds a property: it may be a key.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::FileKind;

/// Why there are no profiles at all.
#[derive(Debug)]
pub enum ProfileFileError {
    /// A file is against the format, which every SDK takes as the end of the matter.
    Malformed {
        path: PathBuf,
        line: usize,
        problem: Syntax,
    },
    /// A file is there and cannot be read. Most SDKs go on as if it were empty, but a daemon that
    /// did would hand out another identity's credentials, or none, without anybody looking on.
    Unreadable {
        path: PathBuf,
        kind: FileKind,
        source: io::Error,
    },
}

/// What is wrong with a line, in the words that users know from the SDKs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    NoSection,
    UnclosedHeader,
    NoEquals,
    NoName,
    StrayContinuation,
    NoEqualsNested,
    NoNameNested,
}

/// Something that is passed over, and that its writer most likely did not mean so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub path: Arc<Path>,
    /// Absent where the whole file is meant.
    pub line: Option<usize>,
    pub oddity: Oddity,
}

/// The reason of a [`Warning`]. Names of sections are given, so that whoever misses a profile can
/// be told where it got lost; names of properties are not, since a key pasted on a line of its own
/// looks like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oddity {
    /// `[name]` in the config file.
    NoSectionType {
        name: String,
    },
    /// `[profile name]` or the like in the credentials file.
    SectionTypeInCredentials {
        name: String,
    },
    /// `[something name]` in the config file.
    UnknownSectionType {
        name: String,
    },
    InvalidSectionName {
        name: String,
    },
    /// `[default]` beside `[profile default]`.
    ReplacedDefault,
    InvalidPropertyName,
    /// An indented `#` or `;`, which some SDKs take as a comment and some as a part of the value.
    CommentInValue,
    /// A file that the environment names and that is not there.
    Missing {
        kind: FileKind,
    },
}

impl fmt::Display for ProfileFileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed {
                path,
                line,
                problem,
            } => {
                let path = path.display();
                write!(formatter, "error parsing {path} on line {line}: {problem}")
            }
            Self::Unreadable { path, kind, source } => {
                let (path, remedy) = (path.display(), remedy(source));
                let variable = kind.variable();
                write!(
                    formatter,
                    "error reading {path} ({remedy}, or name another file in {variable})"
                )
            }
        }
    }
}

impl std::error::Error for ProfileFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Malformed { .. } => None,
            Self::Unreadable { source, .. } => Some(source),
        }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "let the user that this process runs as read it",
        io::ErrorKind::InvalidData => "save it as UTF-8",
        io::ErrorKind::InvalidInput => "put a regular file there",
        io::ErrorKind::FileTooLarge => "make it smaller",
        _ => "make it readable",
    }
}

impl fmt::Display for Syntax {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoSection => "Expected a profile definition",
            Self::UnclosedHeader => "Profile definition must end with ']'",
            Self::NoEquals => "Expected an '=' sign defining a property",
            Self::NoName => "Property did not have a name",
            Self::StrayContinuation => "Expected a property definition, found continuation",
            Self::NoEqualsNested => "Expected an '=' sign defining a sub-property",
            Self::NoNameNested => "Sub-property did not have a name",
        })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(formatter)?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        write!(formatter, ": {}", self.oddity)
    }
}

impl fmt::Display for Oddity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `{:?}` escapes what a terminal would act on.
        match self {
            Self::NoSectionType { name } => write!(
                formatter,
                "section {name:?} is ignored: in the config file it needs a type, as in `[profile \
                 NAME]`"
            ),
            Self::SectionTypeInCredentials { name } => write!(
                formatter,
                "section {name:?} is ignored: in the credentials file the name of a profile \
                 stands alone, as in `[NAME]`"
            ),
            Self::UnknownSectionType { name } => write!(
                formatter,
                "section {name:?} is ignored: its type is not `profile`, `sso-session` or \
                 `services`"
            ),
            Self::InvalidSectionName { name } => write!(
                formatter,
                "section {name:?} is ignored: a name is letters, digits and `_-/.%@:+`, without \
                 quotes"
            ),
            Self::ReplacedDefault => {
                formatter.write_str("section `[default]` is ignored: `[profile default]` is used")
            }
            Self::InvalidPropertyName => {
                formatter.write_str("property is ignored: a name is letters, digits and `_-/.%@:+`")
            }
            Self::CommentInValue => formatter.write_str(
                "property holds a line that looks like a comment: a comment starts in the first \
                 column",
            ),
            Self::Missing { kind } => write!(
                formatter,
                "file does not exist, though {} names it",
                kind.variable()
            ),
        }
    }
}
