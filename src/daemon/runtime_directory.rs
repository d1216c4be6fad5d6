//! The directory that holds sockets and token files, and the lock that keeps a second instance
//! out of it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};

use super::folder::{Access, Folder};
use super::unusable::Unusable;
use crate::authz::TokenName;
use crate::environment::Environment;
use crate::os::process;
use crate::serve;
use crate::systemd::Inherited;

/// Where a daemon of this user keeps its sockets: the directory named, else systemd's
/// `$RUNTIME_DIRECTORY`, else `/run/credd` for root and `$XDG_RUNTIME_DIR/credd` for others.
pub fn locate(named: Option<PathBuf>, environment: &Environment) -> Option<PathBuf> {
    // systemd separates several by colons; the unit of credd names one.
    let by_systemd = || environment.variable("RUNTIME_DIRECTORY")?.split(':').next();
    named
        .or_else(|| by_systemd().map(PathBuf::from))
        .or_else(|| {
            if process::is_root() {
                Some(SYSTEM.into())
            } else {
                environment
                    .variable("XDG_RUNTIME_DIR")
                    .map(|parent| Path::new(parent).join("credd"))
            }
        })
}

/// The system's daemon.
pub const SYSTEM: &str = "/run/credd";

pub fn public_socket(directory: &Path) -> PathBuf {
    directory.join("credd.sock")
}

pub fn admin_socket(directory: &Path) -> PathBuf {
    directory.join("admin/credd.sock")
}

/// That of the token `default`.
pub fn token_file(directory: &Path) -> PathBuf {
    token_file_of(directory, &TokenName::default())
}

/// Each token has a directory of its own, so that a bind mount of it sees a new file.
pub fn token_file_of(directory: &Path, token: &TokenName) -> PathBuf {
    directory.join("tokens").join(token.as_str()).join("token")
}

/// What is left of MFA codes for the next run: salted hashes.
pub fn used_codes(directory: &Path) -> PathBuf {
    directory.join("used-codes")
}

/// Makes the directory where it is missing, and those of sockets that are not there yet, for whoever
/// needs them before they are claimed.
pub fn make(
    directory: &Path,
    sockets: &serve::Config,
    inherited: &Inherited,
) -> Result<(), Unusable> {
    Folder::open(directory)?;
    let to_make = sockets.sockets();
    let to_make = to_make.filter(|socket| !inherited.has_socket_at(socket));
    for folder in to_make.filter_map(Path::parent) {
        Folder::of_socket(folder)?;
    }
    Ok(())
}

/// A directory that is this daemon's own for as long as it runs.
#[derive(Debug)]
pub struct RuntimeDirectory {
    path: PathBuf,
    folder: Folder,
    admin: Folder,
    tokens: Folder,
    _lock: Lock,
}

/// The kernel's word that no other instance runs, for as long as the descriptor is open.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held open")] File);

impl RuntimeDirectory {
    /// Makes the directory where needed and locks it. Nothing of another instance is touched
    /// before the lock is held.
    pub fn claim(path: PathBuf) -> Result<Self, Unusable> {
        let folder = Folder::open(&path)?;
        let lock = Lock::take(&path.join("lock"), &path)?;
        Ok(Self {
            admin: folder.below("admin")?,
            tokens: folder.below("tokens")?,
            folder,
            path,
            _lock: lock,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of tokens, one directory each.
    pub(super) fn tokens(&self) -> &Folder {
        &self.tokens
    }

    /// Lets those through who have something to seek here, and nobody else.
    pub(super) fn let_in(&self, passage: Passage) -> Result<(), Unusable> {
        let through = |is_open| Access::private(if is_open { 0o711 } else { 0o700 });
        self.tokens.let_in(through(passage.to_tokens))?;
        self.folder
            .let_in(through(passage.to_tokens || passage.to_sockets))
    }

    /// Lets that group through to the admin socket.
    pub(super) fn let_in_admins(&self, group: Option<u32>) -> Result<(), Unusable> {
        let mode = if group.is_some() { 0o750 } else { 0o700 };
        self.admin.let_in(Access { group, mode })
    }
}

/// Who besides the owner has something to seek in the runtime directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Passage {
    /// Other users whom a rule may admit on a socket there, or the group of the admin socket.
    pub(super) to_sockets: bool,
    /// Readers of tokens.
    pub(super) to_tokens: bool,
}

impl Passage {
    /// For those who have something to seek by either.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            to_sockets: self.to_sockets || other.to_sockets,
            to_tokens: self.to_tokens || other.to_tokens,
        }
    }
}

impl Lock {
    /// Takes the lock of a socket that lies outside the runtime directory.
    pub fn of_socket(socket: &Path) -> Result<Self, Unusable> {
        let mut name = socket.as_os_str().to_owned();
        name.push(".lock");
        Self::take(Path::new(&name), socket)
    }

    /// Takes the lock at `path`, which stands for `guarded`.
    fn take(path: &Path, guarded: &Path) -> Result<Self, Unusable> {
        let failed = |attempt| Unusable::io(attempt, path);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            // A link that somebody else has put there would have its target emptied.
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
            .map_err(failed("open"))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let _ = file.take(20).read_to_string(&mut pid);
                let pid = pid.trim().to_owned();
                return Err(Unusable::Taken {
                    path: guarded.to_owned(),
                    pid,
                });
            }
            Err(error) => return Err(failed("lock")(error.into())),
        }
        file.set_len(0).map_err(failed("write"))?;
        writeln!(file, "{}", std::process::id()).map_err(failed("write"))?;
        Ok(Self(file))
    }
}
