//! Whether a file is what root or credd's own user put there, and nobody else could change.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;

use super::process;

/// A file whose word credd does not take, since others may have written it. Says what to do.
#[derive(Debug)]
pub struct Unsafe {
    path: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    IsRelative,
    CannotBeRead(io::Error),
    TooManyLinks,
    IsNoFile,
    CannotBeRun,
    BelongsTo(u32),
    IsWritable(u32),
    IsWritableFolder(u32),
    IsGroupsFolder(u32, u32),
}

impl fmt::Display for Unsafe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.why {
            Why::IsRelative => write!(formatter, "`{path}` is no absolute path"),
            Why::CannotBeRead(error) => write!(formatter, "{path}: {error}"),
            Why::TooManyLinks => write!(formatter, "{path} leads through too many links"),
            Why::IsNoFile => write!(formatter, "{path} is no regular file"),
            Why::CannotBeRun => write!(formatter, "{path} is not executable; `chmod u+x` it"),
            Why::BelongsTo(uid) => write!(
                formatter,
                "{path} belongs to uid {uid}, and must belong to root or to credd's own user; \
                 `chown` it"
            ),
            Why::IsWritable(mode) => write!(
                formatter,
                "{path} may be changed by others (mode {mode:04o}); `chmod go-w` it"
            ),
            Why::IsGroupsFolder(mode, group) => write!(
                formatter,
                "members of group {group} may replace what is in {path} (mode {mode:04o}); \
                 `chmod g-w` it"
            ),
            Why::IsWritableFolder(mode) => write!(
                formatter,
                "anybody may replace what is in {path} (mode {mode:04o}); `chmod o-w` it"
            ),
        }
    }
}

impl std::error::Error for Unsafe {}

impl From<Unsafe> for io::Error {
    fn from(problem: Unsafe) -> Self {
        let kind = match problem.why {
            Why::CannotBeRead(error) => return error,
            Why::IsRelative | Why::IsNoFile => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::PermissionDenied,
        };
        Self::new(kind, problem)
    }
}

/// Whether `path`, absolute, is a regular file of root or credd's user that its owner alone can
/// write, and no link or folder on the way there could be changed by a stranger. Blocks.
///
/// A folder that a group may write to is let pass, since Debian's `/usr/local` is one.
pub fn check_owned(path: &Path) -> Result<(), Unsafe> {
    look_at(path).map(|_| ())
}

/// The same for a program: where it really is.
pub fn check_program(path: &Path) -> Result<PathBuf, Unsafe> {
    let (path, metadata) = look_at(path)?;
    if metadata.mode() & 0o111 == 0 {
        let why = Why::CannotBeRun;
        return Err(Unsafe { path, why });
    }
    Ok(path)
}

/// Whether nobody but root and credd's user could put another folder in the place of the one at
/// `path`. Blocks.
pub fn check_folder(path: &Path) -> Result<(), Unsafe> {
    let at = |error| Unsafe {
        path: path.to_owned(),
        why: Why::CannotBeRead(error),
    };
    walk(&std::path::absolute(path).map_err(at)?, Groups::Root).map(drop)
}

/// Opens the regular file at `path`, absolute, which root or credd's user owns, and which nobody
/// else could change, nor put another in its place: no folder on the way there may be written to
/// by a group other than root's, either. What was looked at is what is open. Blocks.
pub fn open_owned(path: &Path) -> Result<File, Unsafe> {
    let end = walk(path, Groups::Root)?;
    let Some(name) = &end.name else {
        let why = Why::IsNoFile;
        return Err(Unsafe {
            path: end.path,
            why,
        });
    };
    // Without NONBLOCK the opening of a FIFO waits for its writer for ever.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = open_at(Some(&end.folder), name, flags);
    let file = file.map_err(|error| Unsafe {
        path: end.path.clone(),
        why: Why::CannotBeRead(error),
    })?;
    // Another may stand there by now, so that this one is judged by itself.
    let metadata = judge_step(&file, &end.path, Groups::Root)?;
    judge_file(&metadata, &end.path, Groups::Root)?;
    Ok(file)
}

/// Whose groups may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Groups {
    /// Root's alone.
    Root,
    /// Any, to folders.
    All,
}

impl Groups {
    fn may_write(self, metadata: &Metadata) -> bool {
        metadata.mode() & 0o020 == 0 || metadata.gid() == 0 || self == Self::All
    }
}

fn look_at(path: &Path) -> Result<(PathBuf, Metadata), Unsafe> {
    let End { path, metadata, .. } = walk(path, Groups::All)?;
    judge_file(&metadata, &path, Groups::All)?;
    Ok((path, metadata))
}

fn judge_file(metadata: &Metadata, path: &Path, groups: Groups) -> Result<(), Unsafe> {
    let mode = metadata.mode() & 0o7777;
    let is_open_to_a_group = match groups {
        Groups::Root => !groups.may_write(metadata),
        Groups::All => mode & 0o020 != 0,
    };
    let why = if !metadata.is_file() {
        Why::IsNoFile
    } else if is_open_to_a_group || mode & 0o002 != 0 {
        Why::IsWritable(mode)
    } else {
        return Ok(());
    };
    let path = path.to_owned();
    Err(Unsafe { path, why })
}

/// As many as the kernel follows (`path_resolution(7)`).
const LINKS: usize = 40;

/// Where a path leads.
struct End {
    /// What it stands in.
    folder: File,
    /// None for a folder that was reached by `..`, and for the root.
    name: Option<OsString>,
    path: PathBuf,
    metadata: Metadata,
}

/// Goes the way of the kernel, link by link, and looks at each step: a link that a stranger could
/// bend leads to safe files as easily as to others. Each step is one from the descriptor that was
/// looked at, so that nothing can be put in between.
fn walk(path: &Path, groups: Groups) -> Result<End, Unsafe> {
    let at = |path: &Path, why| Unsafe {
        path: path.to_owned(),
        why,
    };
    if !path.is_absolute() {
        return Err(at(path, Why::IsRelative));
    }
    let step = |folder: Option<&File>, name: &OsStr, path: &Path| {
        let file = open_at(folder, name, OFlags::PATH | OFlags::NOFOLLOW);
        let file = file.map_err(|error| at(path, Why::CannotBeRead(error)))?;
        let metadata = judge_step(&file, path, groups)?;
        Ok((file, metadata))
    };
    let root = || step(None, OsStr::new("/"), Path::new("/"));
    let (mut here, mut metadata) = root()?;
    let mut way = PathBuf::from("/");
    let mut ahead = names(path);
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        let next = if name == ".." {
            way.parent().unwrap_or(&way).to_owned()
        } else {
            way.join(&name)
        };
        let (file, found) = step(Some(&here), &name, &next)?;
        if found.is_symlink() {
            links += 1;
            if links > LINKS {
                return Err(at(path, Why::TooManyLinks));
            }
            let leads = rustix::fs::readlinkat(&file, c"", Vec::new());
            let leads = leads.map_err(|error| at(&next, Why::CannotBeRead(error.into())))?;
            let leads = PathBuf::from(OsString::from_vec(leads.into_bytes()));
            if leads.is_absolute() {
                (here, metadata) = root()?;
                way = PathBuf::from("/");
            }
            let mut names = names(&leads);
            names.append(&mut ahead);
            ahead = names;
        } else if ahead.is_empty() {
            return Ok(End {
                folder: here,
                name: (name != "..").then_some(name),
                path: next,
                metadata: found,
            });
        } else {
            (here, metadata, way) = (file, found, next);
        }
    }
    Ok(End {
        folder: here,
        name: None,
        path: way,
        metadata,
    })
}

fn open_at(folder: Option<&File>, name: &OsStr, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::CLOEXEC;
    let mode = rustix::fs::Mode::empty();
    let opened = match folder {
        Some(folder) => rustix::fs::openat(folder, name, flags, mode)?,
        None => rustix::fs::open(name, flags, mode)?,
    };
    Ok(File::from(opened))
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

fn judge_step(file: &File, path: &Path, groups: Groups) -> Result<Metadata, Unsafe> {
    let why = match file.metadata() {
        Err(error) => Why::CannotBeRead(error),
        Ok(metadata) => {
            let mode = metadata.mode() & 0o7777;
            let is_kept = !metadata.is_dir() || mode & 0o1000 != 0;
            if ![0, process::effective_uid()].contains(&metadata.uid()) {
                Why::BelongsTo(metadata.uid())
            } else if !is_kept && mode & 0o002 != 0 {
                Why::IsWritableFolder(mode)
            } else if !is_kept && !groups.may_write(&metadata) {
                Why::IsGroupsFolder(mode, metadata.gid())
            } else {
                return Ok(metadata);
            }
        }
    };
    Err(Unsafe {
        path: path.to_owned(),
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, create_dir, set_permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::super::files::write_private;

    fn set_mode(path: &Path, mode: u32) {
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn problem(path: &Path) -> String {
        check_program(path).unwrap_err().to_string()
    }

    /// A program in a folder of its own.
    fn program(folder: &Path) -> PathBuf {
        let bin = folder.join("bin");
        create_dir(&bin).unwrap();
        set_mode(&bin, 0o755);
        let path = bin.join("program");
        write_private(&path, b"#!/bin/sh\n").unwrap();
        set_mode(&path, 0o755);
        path
    }

    #[test]
    fn a_program_that_only_its_owner_can_change_is_found_behind_its_links() {
        let folder = tempfile::tempdir().unwrap();
        let path = program(folder.path());
        let real = path.canonicalize().unwrap();
        assert_eq!(check_program(&path).unwrap(), real);
        let (link, relative) = (folder.path().join("link"), folder.path().join("relative"));
        symlink(&path, &link).unwrap();
        symlink("bin/../link", &relative).unwrap();
        assert_eq!(check_program(&relative).unwrap(), real);
        let way_round = folder.path().join("bin/./../bin/program");
        assert_eq!(check_program(&way_round).unwrap(), real);
        // What shells are, on most hosts, is a link or two away.
        assert!(check_program(Path::new("/bin/sh")).is_ok());
    }

    #[test]
    fn a_file_that_others_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = program(folder.path());
        for mode in [0o775, 0o757, 0o722] {
            set_mode(&path, mode);
            assert!(problem(&path).contains("chmod go-w"), "{mode:o}");
            assert!(check_owned(&path).is_err());
        }
        set_mode(&path, 0o600);
        assert!(problem(&path).contains("not executable"));
        assert!(check_owned(&path).is_ok());
    }

    #[test]
    fn a_folder_where_anybody_may_replace_files_is_refused_unless_it_is_sticky() {
        let folder = tempfile::tempdir().unwrap();
        let path = program(folder.path());
        let bin = path.parent().unwrap();
        set_mode(bin, 0o1777);
        assert!(check_program(&path).is_ok());
        set_mode(bin, 0o777);
        assert!(problem(&path).contains("anybody may replace"));
        // Higher up, and where only a link stands, it is no better.
        set_mode(bin, 0o755);
        set_mode(folder.path(), 0o707);
        assert!(problem(&path).contains("anybody may replace"));
        let other = tempfile::tempdir().unwrap();
        let link = other.path().join("link");
        symlink("/bin/sh", &link).unwrap();
        assert!(check_program(&link).is_ok());
        set_mode(other.path(), 0o777);
        assert!(problem(&link).contains("anybody may replace"));
    }

    #[test]
    fn what_belongs_to_another_user_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = program(folder.path());
        if process::is_root() {
            chown(&path, Some(12345), None).unwrap();
            assert!(problem(&path).contains("uid 12345"));
            chown(&path, Some(0), None).unwrap();
            chown(path.parent().unwrap(), Some(12345), None).unwrap();
            assert!(problem(&path).contains("uid 12345"));
        }
    }

    fn refusal(path: &Path) -> String {
        open_owned(path).unwrap_err().to_string()
    }

    #[test]
    fn what_decides_is_opened_only_where_root_alone_could_have_changed_it_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = program(folder.path());
        let (bin, link) = (path.parent().unwrap(), folder.path().join("link"));
        symlink("bin/program", &link).unwrap();
        set_mode(&path, 0o644);
        assert!(open_owned(&link).unwrap().metadata().unwrap().is_file());
        set_mode(&path, 0o646);
        assert!(refusal(&link).contains("chmod go-w"));
        set_mode(&path, 0o600);
        set_mode(bin, 0o757);
        assert!(refusal(&link).contains("anybody may replace"));
        set_mode(bin, 0o1777);
        assert!(open_owned(&link).is_ok());
        assert!(refusal(bin).contains("no regular file"));
        assert!(refusal(&bin.join("..")).contains("no regular file"));
        if process::is_root() {
            let set_group = |path: &Path, group| chown(path, None, Some(group)).unwrap();
            for (mode, path, word) in [(0o775, bin, "group 12345"), (0o664, &path, "go-w")] {
                set_mode(path, mode);
                assert!(open_owned(&link).is_ok());
                set_group(path, 12345);
                assert!(refusal(&link).contains(word), "{}", refusal(&link));
                set_group(path, 0);
            }
            std::os::unix::fs::lchown(&link, Some(12345), None).unwrap();
            assert!(refusal(&link).contains("uid 12345"));
        }
    }

    #[test]
    fn what_is_no_file_at_an_absolute_path_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let circle = folder.path().join("circle");
        symlink("circle", &circle).unwrap();
        for (path, why) in [
            (Path::new("sh"), "no absolute path"),
            (Path::new("./sh"), "no absolute path"),
            (Path::new(""), "no absolute path"),
            (Path::new("/"), "no regular file"),
            (folder.path(), "no regular file"),
            (Path::new("/dev/null"), "no regular file"),
            (&folder.path().join("missing"), "No such file"),
            (&circle, "too many links"),
            (Path::new("/bin/sh/sh"), "Not a directory"),
        ] {
            assert!(problem(path).contains(why), "{}", problem(path));
        }
    }
}
