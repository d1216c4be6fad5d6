//! Whether a file is what root or credd's own user put there, and nobody else could change.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::os::process;

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
            Why::IsWritableFolder(mode) => write!(
                formatter,
                "anybody may replace what is in {path} (mode {mode:04o}); `chmod o-w` it"
            ),
        }
    }
}

impl std::error::Error for Unsafe {}

/// Whether `path`, absolute, is a regular file of root or credd's user that its owner alone can
/// write, and no link or folder on the way there could be changed by a stranger. Blocks.
///
/// A folder that a group may write to is let pass, since Debian's `/usr/local` is one.
pub fn check_owned(path: &Path) -> Result<(), Unsafe> {
    look_at(path).map(|_| ())
}

/// The same for a program: where it really is.
pub(super) fn check_program(path: &Path) -> Result<PathBuf, Unsafe> {
    let (path, metadata) = look_at(path)?;
    if metadata.mode() & 0o111 == 0 {
        let why = Why::CannotBeRun;
        return Err(Unsafe { path, why });
    }
    Ok(path)
}

fn look_at(path: &Path) -> Result<(PathBuf, Metadata), Unsafe> {
    let (path, metadata) = walk(path)?;
    let mode = metadata.mode() & 0o7777;
    let why = if !metadata.is_file() {
        Why::IsNoFile
    } else if mode & 0o022 != 0 {
        Why::IsWritable(mode)
    } else {
        return Ok((path, metadata));
    };
    Err(Unsafe { path, why })
}

/// As many as the kernel follows (`path_resolution(7)`).
const LINKS: usize = 40;

/// Goes the way of the kernel, link by link, and looks at each step: a link that a stranger could
/// bend leads to safe files as easily as to others.
fn walk(path: &Path) -> Result<(PathBuf, Metadata), Unsafe> {
    let at = |path: &Path, why| Unsafe {
        path: path.to_owned(),
        why,
    };
    if !path.is_absolute() {
        return Err(at(path, Why::IsRelative));
    }
    let mut here = PathBuf::from("/");
    let mut metadata = step(&here)?;
    let mut ahead = names(path);
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            here.pop();
            metadata = step(&here)?;
            continue;
        }
        let next = here.join(name);
        let found = step(&next)?;
        if !found.is_symlink() {
            (here, metadata) = (next, found);
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(at(path, Why::TooManyLinks));
        }
        let leads = next.read_link();
        let leads = leads.map_err(|error| at(&next, Why::CannotBeRead(error)))?;
        if leads.is_absolute() {
            here = PathBuf::from("/");
        }
        let mut names = names(&leads);
        names.append(&mut ahead);
        ahead = names;
        metadata = step(&here)?;
    }
    Ok((here, metadata))
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

fn step(path: &Path) -> Result<Metadata, Unsafe> {
    let metadata = path.symlink_metadata();
    let why = match metadata {
        Err(error) => Why::CannotBeRead(error),
        Ok(metadata) => {
            let mode = metadata.mode() & 0o7777;
            let is_open = metadata.is_dir() && mode & 0o002 != 0 && mode & 0o1000 == 0;
            if ![0, process::effective_uid()].contains(&metadata.uid()) {
                Why::BelongsTo(metadata.uid())
            } else if is_open {
                Why::IsWritableFolder(mode)
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

    use crate::os::files::write_private;

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
