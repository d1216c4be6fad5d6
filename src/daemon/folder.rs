//! A directory that is held open, so that what is done in it is done in this one, whatever takes
//! its name meanwhile; and so that no link is followed in it.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::unusable::Unusable;
use crate::clock::Timestamp;
use crate::os::{files, ownership, process};

/// Who besides the owner may do what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    /// That of the daemon if absent.
    pub(super) group: Option<u32>,
    /// Permission bits.
    pub(super) mode: u32,
}

impl Access {
    /// The owner alone, by these bits.
    pub(super) fn private(mode: u32) -> Self {
        Self { group: None, mode }
    }
}

#[derive(Debug)]
pub(super) struct Folder {
    descriptor: OwnedFd,
    path: PathBuf,
}

/// A regular file in a folder, as it was read.
pub(super) struct Found {
    pub(super) text: Zeroizing<String>,
    pub(super) access: Access,
    /// Whether it is the daemon's own.
    pub(super) is_ours: bool,
    pub(super) modified: Timestamp,
}

const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Who may own a directory that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Daemon,
    DaemonOrRoot,
}

impl Folder {
    /// Opens the directory at `path`, which must be the daemon's own, and which nobody else may
    /// write to. It is made where it is missing, and those above it.
    pub(super) fn open(path: &Path) -> Result<Self, Unusable> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        match made {
            // A link that leads nowhere is told below.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Unusable::io("make", path)(error));
            }
            _ => {}
        }
        let folder = Self::at(CWD, path, path.to_owned(), Owner::Daemon)?;
        check_way(path)?;
        Ok(folder)
    }

    /// Opens the directory that somebody else's clients find a socket in: the daemon's or root's.
    /// It is made where it is missing, for all to pass through.
    pub(super) fn of_socket(path: &Path) -> Result<Self, Unusable> {
        match DirBuilder::new().mode(0o711).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Unusable::io("make", path)(error))
            }
            made => {
                let folder = Self::at(CWD, path, path.to_owned(), Owner::DaemonOrRoot)?;
                check_way(path)?;
                if made.is_ok() {
                    folder.let_in(Access::private(0o711))?;
                }
                Ok(folder)
            }
        }
    }

    /// Opens the directory `name` in this one, as [`Folder::open`] does.
    pub(super) fn below(&self, name: &str) -> Result<Self, Unusable> {
        let path = self.path.join(name);
        match rustix::fs::mkdirat(&self.descriptor, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(Unusable::io("make", &path)(error.into())),
        }
        Self::at(&self.descriptor, Path::new(name), path, Owner::Daemon)
    }

    fn at(
        within: impl std::os::fd::AsFd,
        name: &Path,
        path: PathBuf,
        owner: Owner,
    ) -> Result<Self, Unusable> {
        let not_own = |why| Unusable::NotPrivate {
            path: path.clone(),
            why,
        };
        let opened = rustix::fs::openat(within, name, DIRECTORY | OFlags::RDONLY, Mode::empty());
        let descriptor = match opened {
            Ok(descriptor) => descriptor,
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(not_own("is no directory")),
            Err(error) => return Err(Unusable::io("open", &path)(error.into())),
        };
        let found = rustix::fs::fstat(&descriptor);
        let found = found.map_err(|error| Unusable::io("look at", &path)(error.into()))?;
        let is_roots = owner == Owner::DaemonOrRoot && found.st_uid == process::ROOT;
        if found.st_uid != process::effective_uid() && !is_roots {
            return Err(not_own("belongs to another user"));
        }
        if found.st_mode & 0o022 != 0 {
            return Err(not_own("can be written to by other users"));
        }
        Ok(Self { descriptor, path })
    }

    /// Lets others in, and all those out who were let in before.
    pub(super) fn let_in(&self, access: Access) -> Result<(), Unusable> {
        give(&self.descriptor, access).map_err(|error| access.refused("open", &self.path, error))
    }

    /// What is in the file `name`, of at most `limit` bytes. Nothing if it is none that can be
    /// read: a link, for one.
    pub(super) fn read(&self, name: &str, limit: usize) -> Option<Found> {
        // Without O_NONBLOCK the opening of a FIFO waits for its writer for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.descriptor, name, flags, Mode::empty()).ok()?;
        let found = rustix::fs::fstat(&file).ok()?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return None;
        }
        let bytes = files::read_bounded(File::from(file), limit).ok()?;
        let text = std::str::from_utf8(&bytes).ok()?;
        Some(Found {
            text: Zeroizing::new(text.to_owned()),
            access: access_of(&found),
            is_ours: found.st_uid == process::effective_uid(),
            modified: modified(&found),
        })
    }

    /// Puts `contents` into the file `name`, whole or not at all, as of `now`.
    pub(super) fn write(
        &self,
        name: &str,
        contents: &[u8],
        access: Access,
        now: Timestamp,
    ) -> Result<(), Unusable> {
        let beside = format!("{name}.new");
        self.remove(&beside)?;
        let path = self.path.join(name);
        let written = || {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mode = Mode::RUSR | Mode::WUSR;
            let mut file = File::from(rustix::fs::openat(&self.descriptor, &beside, flags, mode)?);
            give(&file, access)?;
            file.write_all(contents)?;
            rustix::fs::futimens(&file, &times(now))?;
            file.sync_all()?;
            rustix::fs::renameat(&self.descriptor, &beside, &self.descriptor, name)?;
            Ok(())
        };
        written().map_err(|error| {
            let _ = self.remove(&beside);
            access.refused("write", &path, error)
        })
    }

    /// Removes the file `name`, if there is one.
    pub(super) fn remove(&self, name: &str) -> Result<(), Unusable> {
        match rustix::fs::unlinkat(&self.descriptor, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Unusable::io("remove", &self.path.join(name))(error.into())),
        }
    }

    /// Removes the directory `name`, which must be empty.
    pub(super) fn remove_folder(&self, name: &str) -> Result<(), Unusable> {
        let removed = rustix::fs::unlinkat(&self.descriptor, name, AtFlags::REMOVEDIR);
        removed.map_err(|error| Unusable::io("remove", &self.path.join(name))(error.into()))
    }

    /// The names of the directories in it.
    pub(super) fn folders(&self) -> Result<Vec<OsString>, Unusable> {
        let failed = |error: Errno| Unusable::io("read", &self.path)(error.into());
        let entries = rustix::fs::Dir::read_from(&self.descriptor).map_err(failed)?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            let found = rustix::fs::statat(&self.descriptor, &name, AtFlags::SYMLINK_NOFOLLOW);
            let is_folder =
                found.is_ok_and(|it| FileType::from_raw_mode(it.st_mode) == FileType::Directory);
            if is_folder && name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }
}

/// What a stranger could put in the place of a directory would be changed as credd's own. For root
/// that could be anything on the host. For others it is their own files only, and the volumes that
/// containers share are open to all, so that they are warned.
fn check_way(path: &Path) -> Result<(), Unusable> {
    match ownership::check_folder(path) {
        Err(problem) if process::is_root() => Err(Unusable::Way(problem)),
        Err(problem) => {
            tracing::warn!(%problem, "others may put their own in the place of a directory");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Gives what is open to the group, and its bits after that: nobody gets in by those meant for
/// another group.
fn give(it: impl std::os::fd::AsFd, access: Access) -> io::Result<()> {
    let found = access_of(&rustix::fs::fstat(&it)?);
    let is_its_group = access.group.is_none_or(|group| found.group == Some(group));
    if is_its_group && found.mode == access.mode {
        return Ok(());
    }
    if !is_its_group {
        rustix::fs::fchmod(&it, Mode::from_raw_mode(access.mode & 0o700))?;
        rustix::fs::fchown(&it, None, access.group.map(Gid::from_raw))?;
    }
    Ok(rustix::fs::fchmod(&it, Mode::from_raw_mode(access.mode))?)
}

impl Access {
    /// The error of giving that to a group or of writing it.
    fn refused(self, attempt: &'static str, path: &Path, cause: io::Error) -> Unusable {
        match self.group {
            Some(group) if cause.kind() == io::ErrorKind::PermissionDenied => Unusable::Group {
                path: path.to_owned(),
                group,
            },
            _ => Unusable::io(attempt, path)(cause),
        }
    }
}

fn access_of(found: &Stat) -> Access {
    Access {
        group: Some(found.st_gid),
        mode: found.st_mode & 0o7777,
    }
}

fn modified(found: &Stat) -> Timestamp {
    let millis = i64::try_from(found.st_mtime_nsec).unwrap_or_default() / 1_000_000;
    Timestamp::from_unix_millis(found.st_mtime.saturating_mul(1000).saturating_add(millis))
}

fn times(now: Timestamp) -> Timestamps {
    let millis = now.unix_millis();
    let now = Timespec {
        tv_sec: millis.div_euclid(1000),
        tv_nsec: millis.rem_euclid(1000) * 1_000_000,
    };
    Timestamps {
        last_access: now,
        last_modification: now,
    }
}
