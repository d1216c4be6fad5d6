//! Unix sockets that never admit more than they are meant to, not even for a moment.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::UnixListener;

use crate::os::process;

/// Whose a socket is, and who may connect, which needs to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Those of the daemon if absent.
    pub owner: Option<u32>,
    pub group: Option<u32>,
    /// Permission bits.
    pub mode: u32,
}

impl Access {
    /// The daemon's user alone, and root.
    pub const PRIVATE: Self = Self {
        owner: None,
        group: None,
        mode: 0o600,
    };
}

/// Connections that the kernel keeps until they are taken.
pub(super) const BACKLOG: u16 = 1024;

/// Binds a socket at `path`, in a directory that nobody else may write to. The caller holds the
/// lock that says that no other instance serves there, so a socket that is there is a leftover.
pub(super) fn bind(path: &Path, access: Access) -> io::Result<UnixListener> {
    remove_leftover(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Linux binds the name with the socket's own mode, as far as the umask lets it.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    give(path, process::effective_uid(), access)?;
    rustix::net::listen(&socket, BACKLOG.into())?;
    UnixListener::from_std(std::os::unix::net::UnixListener::from(socket))
}

/// The name that a socket is bound to is not what its descriptor stands for. What is changed is what
/// was looked at: a socket of `owner`, to whom we have given it, that has no other name.
fn give(path: &Path, owner: u32, access: Access) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let name = rustix::fs::open(path, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&name)?;
    let is_ours = found.st_uid == owner && found.st_nlink == 1;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket || !is_ours {
        return Err(io::Error::other("somebody has put something else there"));
    }
    if access.owner.is_some() || access.group.is_some() {
        let (owner, group) = (
            access.owner.map(Uid::from_raw),
            access.group.map(Gid::from_raw),
        );
        rustix::fs::chownat(&name, "", owner, group, AtFlags::EMPTY_PATH)?;
    }
    let by_descriptor = format!("/proc/self/fd/{}", name.as_raw_fd());
    std::fs::set_permissions(by_descriptor, std::fs::Permissions::from_mode(access.mode))
}

/// Gives a socket that is bound already to those who may connect from now on.
pub(super) fn give_again(path: &Path, before: Access, access: Access) -> io::Result<()> {
    let own = process::effective_uid();
    let all_said = Access {
        owner: access.owner.or(before.owner.map(|_| own)),
        group: access
            .group
            .or(before.group.map(|_| process::effective_gid())),
        ..access
    };
    give(path, before.owner.unwrap_or(own), all_said)
}

/// A config that names some other file by mistake must not cost that file.
fn remove_leftover(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::other(
            "there is something that is no socket; move it away",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[tokio::test]
    async fn a_socket_has_the_mode_that_it_is_to_have_whatever_the_umask() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o600, 0o660, 0o666, 0o622] {
            let path = folder.path().join(format!("{mode:o}"));
            let _listener = bind(
                &path,
                Access {
                    mode,
                    ..Access::PRIVATE
                },
            )
            .unwrap();
            let found = std::fs::symlink_metadata(&path).unwrap();
            assert!(found.file_type().is_socket());
            assert_eq!(found.mode() & 0o7777, mode);
        }
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone_and_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        crate::os::files::write_private(&file, b"precious").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let nowhere = folder.path().join("nowhere");
        std::os::unix::fs::symlink(folder.path().join("missing"), &nowhere).unwrap();
        for path in [&file, &link, &nowhere, &folder.path().to_owned()] {
            let error = bind(path, Access::PRIVATE).unwrap_err();
            assert!(error.to_string().contains("no socket"), "{error}");
        }
        let kept = crate::os::files::read_text_now(&file, 100).unwrap();
        assert_eq!(*kept, "precious");
    }

    /// What a racer may have put under the name between the binding and this.
    #[test]
    fn what_stands_in_the_place_of_the_socket_is_not_given_away() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let (file, link) = (place("file"), place("link"));
        crate::os::files::write_private(&file, b"precious").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let (socket, other_name) = (place("socket"), place("other name"));
        let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::hard_link(&socket, &other_name).unwrap();
        let open_to_all = Access {
            mode: 0o666,
            ..Access::PRIVATE
        };
        for path in [&file, &link, &socket] {
            let error = give(path, process::effective_uid(), open_to_all).unwrap_err();
            assert!(error.to_string().contains("something else"), "{error}");
        }
        for path in [&file, &socket] {
            assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o777, 0o600);
        }
        std::fs::remove_file(&other_name).unwrap();
        give(&socket, process::effective_uid(), open_to_all).unwrap();
        assert_eq!(std::fs::metadata(&socket).unwrap().mode() & 0o777, 0o666);
    }

    #[tokio::test]
    async fn a_leftover_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(bind(&path, Access::PRIVATE).unwrap());
        assert!(path.exists());
        let _listener = bind(&path, Access::PRIVATE).unwrap();
        std::os::unix::net::UnixStream::connect(&path).unwrap();
    }
}
