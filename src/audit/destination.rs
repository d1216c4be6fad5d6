//! Where the audit log goes.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::journal;

/// The `[audit]` table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// To the journal if that is where stderr goes, and else to stderr, if absent. There is no way
    /// to switch it off.
    pub to: Option<Destination>,
}

/// One place for all lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// With a field for each key, by journald's own protocol.
    Journal,
    /// An absolute path.
    File(PathBuf),
    Stderr,
}

/// A text that names no such place.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidDestination;

impl fmt::Display for InvalidDestination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(
            "the audit log goes to \"journal\", to \"stderr\", or to a file: \
             \"file:/var/log/credd/audit.log\", by its absolute path",
        )
    }
}

impl std::error::Error for InvalidDestination {}

impl Destination {
    /// Reads `journal`, `stderr` or `file:/absolute/path`.
    pub fn parse(text: &str) -> Result<Self, InvalidDestination> {
        match text {
            "journal" => Ok(Self::Journal),
            "stderr" => Ok(Self::Stderr),
            _ => {
                let path = text.strip_prefix("file:").map(Path::new);
                let path = path.filter(|path| path.is_absolute() && path.file_name().is_some());
                let path = path.ok_or(InvalidDestination)?;
                Ok(Self::File(path.to_owned()))
            }
        }
    }

    /// Where lines go that nobody has said anything about: to the journal if stderr, the file of
    /// that device and inode, is connected to it as `JOURNAL_STREAM` says (systemd.exec(5)).
    pub fn by_default(journal_stream: Option<&str>, stderr: Option<(u64, u64)>) -> Self {
        if journal::is_stream(journal_stream, stderr) {
            Self::Journal
        } else {
            Self::Stderr
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal => formatter.write_str("the journal"),
            Self::File(path) => path.display().fmt(formatter),
            Self::Stderr => formatter.write_str("stderr"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_the_journal_stderr_or_an_absolute_path() {
        let file = |path: &str| Ok(Destination::File(path.into()));
        assert_eq!(Destination::parse("journal"), Ok(Destination::Journal));
        assert_eq!(Destination::parse("stderr"), Ok(Destination::Stderr));
        assert_eq!(Destination::parse("file:/var/log/a"), file("/var/log/a"));
        for text in [
            "",
            "off",
            "none",
            "Journal",
            "file:",
            "file:/",
            "file:a",
            "file:/var/..",
            "/var/log/a",
        ] {
            assert_eq!(Destination::parse(text), Err(InvalidDestination), "{text}");
        }
    }

    #[test]
    fn the_journal_is_meant_only_where_stderr_goes_there() {
        let stderr = Some((9, 12345));
        let by_default = |stream| Destination::by_default(stream, stderr);
        assert_eq!(by_default(Some("9:12345")), Destination::Journal);
        assert_eq!(by_default(Some("9:1")), Destination::Stderr);
        assert_eq!(by_default(None), Destination::Stderr);
    }
}
