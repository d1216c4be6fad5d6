//! Why a place in the file system cannot be used.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::os::ownership::Unsafe;

/// Why a directory, or a file in it, cannot be used.
#[derive(Debug)]
pub enum Unusable {
    /// Another daemon serves from it.
    Taken { path: PathBuf, pid: String },
    /// Others could put their own files in place of ours.
    NotPrivate { path: PathBuf, why: &'static str },
    /// The same, further up.
    Way(Unsafe),
    /// The daemon may not give it to a group.
    Group { path: PathBuf, group: u32 },
    Io {
        attempt: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
}

impl Unusable {
    /// What makes an error of the system one of an attempt on `path`.
    pub(super) fn io(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io {
            attempt,
            path,
            cause,
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken { path, pid } => write!(
                formatter,
                "another credd (process {pid}) already serves from {}; stop it, or give this one \
                 another place (--runtime-dir, and [serve.unix] in its config)",
                path.display()
            ),
            Self::NotPrivate { path, why } => write!(
                formatter,
                "the directory {} {why}, so that what is in it may not be credd's; make it credd's \
                 own (owner and mode 0700), or name another, which credd then makes (--runtime-dir, \
                 or the path of the socket)",
                path.display()
            ),
            Self::Way(problem) => write!(
                formatter,
                "{problem}; or name another place (--runtime-dir, or the path of the socket)"
            ),
            Self::Group { path, group } => write!(
                formatter,
                "credd may not give {} to group {group}; run credd as a member of that group \
                 (in its unit: SupplementaryGroups= and SystemCallFilter=@chown, as in \
                 systemd/drop-ins/groups.conf)",
                path.display()
            ),
            Self::Io {
                attempt,
                path,
                cause,
            } => {
                write!(formatter, "cannot {attempt} {}: {cause}", path.display())
            }
        }
    }
}

impl std::error::Error for Unusable {}
