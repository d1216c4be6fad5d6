//! The directory that holds sockets and token files, and the lock that keeps a second instance
//! out of it.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};

use crate::authz::{Tokens, new_token};
use crate::environment::Environment;
use crate::os::files;
use crate::os::process;
use crate::secret::Secret;

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

/// Each token has a directory of its own, so that a bind mount of it sees a new file.
pub fn token_file(directory: &Path) -> PathBuf {
    directory.join("tokens/default/token")
}

/// What is left of MFA codes for the next run: salted hashes.
pub fn used_codes(directory: &Path) -> PathBuf {
    directory.join("used-codes")
}

/// A directory that is this daemon's own for as long as it runs.
#[derive(Debug)]
pub struct RuntimeDirectory {
    path: PathBuf,
    _lock: Lock,
}

/// The kernel's word that no other instance runs, for as long as the descriptor is open.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held open")] File);

/// Why the directory cannot be used.
#[derive(Debug)]
pub enum Unusable {
    /// Another daemon serves from it.
    Taken { path: PathBuf, pid: String },
    /// Others could put their own files in place of ours.
    NotPrivate { path: PathBuf, why: &'static str },
    Io {
        attempt: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
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
                "the runtime directory {} {why}; make it credd's own (owner and mode 0700), or \
                 name another with --runtime-dir",
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

impl RuntimeDirectory {
    /// Makes the directory where needed and locks it. Nothing of another instance is touched
    /// before the lock is held.
    pub fn claim(path: PathBuf) -> Result<Self, Unusable> {
        for part in [
            path.clone(),
            path.join("admin"),
            path.join("tokens"),
            path.join("tokens/default"),
        ] {
            make_private(&part)?;
        }
        let lock = Lock::take(&path.join("lock"), &path)?;
        Ok(Self { path, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The token that opens every identity. One from an earlier run stays valid, since clients
    /// hold it in their environment.
    pub fn default_token(&self) -> Result<Secret, Unusable> {
        let path = token_file(&self.path);
        let failed = |attempt| {
            let path = path.clone();
            move |cause| Unusable::Io {
                attempt,
                path,
                cause,
            }
        };
        if let Some(token) = earlier_token(&path) {
            return Ok(token);
        }
        let token = new_token();
        // No newline: the Rust, C and Go SDKs and botocore refuse a token that ends in one.
        files::write_private(&path, token.expose().as_bytes()).map_err(failed("write"))?;
        Ok(token)
    }
}

/// Makes the directory where it is missing, and sees to it that only its owner can write there.
pub fn make_private(path: &Path) -> Result<(), Unusable> {
    let failed = |attempt| {
        move |cause| Unusable::Io {
            attempt,
            path: path.to_owned(),
            cause,
        }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed("make"))?;
    let metadata = std::fs::symlink_metadata(path).map_err(failed("look at"))?;
    let why = if !metadata.is_dir() {
        "is no directory"
    } else if metadata.uid() != process::effective_uid() {
        "belongs to another user"
    } else if metadata.mode() & 0o022 != 0 {
        "can be written to by other users"
    } else {
        return Ok(());
    };
    Err(Unusable::NotPrivate {
        path: path.to_owned(),
        why,
    })
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
        let failed = |attempt| {
            move |cause| Unusable::Io {
                attempt,
                path: path.to_owned(),
                cause,
            }
        };
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

/// A token file that nobody else could have written or read.
fn earlier_token(path: &Path) -> Option<Secret> {
    const LONGEST: usize = 128;
    let metadata = std::fs::symlink_metadata(path).ok()?;
    let is_ours = metadata.is_file()
        && metadata.uid() == process::effective_uid()
        && metadata.mode() & 0o777 & !0o700 == 0;
    let text = files::read_text_now(path, LONGEST)
        .ok()
        .filter(|_| is_ours)?;
    Tokens::is_well_formed(&text).then(|| Secret::from(text.to_string()))
}
