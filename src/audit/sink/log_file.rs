//! A file that lines are appended to, and that others may rotate.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Line, Torn};
use crate::os::{files, ownership, process};

pub(in super::super) struct LogFile {
    path: PathBuf,
    file: File,
    torn: Torn,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if process::is_root() {
            ownership::check_folder(path.parent().unwrap_or(path))?;
        }
        Ok(Self {
            path: path.to_owned(),
            file: files::append_private(path)?,
            torn: Torn::default(),
        })
    }

    pub(super) fn write(&mut self, lines: &mut VecDeque<Line>) -> io::Result<()> {
        if self.is_moved_away()? {
            *self = Self::open(&self.path)?;
        }
        self.torn.write(&mut self.file, lines)
    }

    /// Whether the path means another file by now, or none.
    fn is_moved_away(&self) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        let there = std::fs::symlink_metadata(&self.path);
        Ok(!there.is_ok_and(|it| (it.dev(), it.ino()) == (ours.dev(), ours.ino())))
    }
}
