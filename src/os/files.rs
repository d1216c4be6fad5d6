//! Reading and writing small files: bounded, regular files only, never blocking the one thread.

use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{ownership, process};

/// Reads the regular file at `path`, of at most `limit` bytes, on a blocking thread, since a
/// home directory may be on a network that hangs.
pub async fn read(path: PathBuf, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    in_turn(path, move |path| read_now(path, limit)).await
}

/// Like [`read`], for text.
pub async fn read_text(path: PathBuf, limit: usize) -> io::Result<Zeroizing<String>> {
    into_text(&read(path, limit).await?)
}

/// Like [`read_text`], for a secret: only a file of root or of this process's user is read, and only
/// if no other user can read or change it. Looked at and read by one descriptor, so that no other
/// file can take its place in between.
pub async fn read_private_text(path: PathBuf, limit: usize) -> io::Result<Zeroizing<String>> {
    let bytes = in_turn(path, move |path| read_private_now(path, limit)).await;
    into_text(&bytes?)
}

/// Like [`read_text`], at once: for start-up and for commands, where nothing else waits.
pub fn read_text_now(path: &Path, limit: usize) -> io::Result<Zeroizing<String>> {
    into_text(&read_now(path, limit)?)
}

/// Like [`read_text_now`], where what is read decides what is done: only a file that nobody but root
/// and this process's user could have put there.
pub fn read_owned_text_now(path: &Path, limit: usize) -> io::Result<Zeroizing<String>> {
    let path = std::path::absolute(path)?;
    // The usual way to say that there is no file; its owner lets everybody write to it.
    if path == Path::new("/dev/null") {
        return Ok(Zeroizing::default());
    }
    let file = ownership::open_owned(&path)?;
    into_text(&read_bounded(file, limit)?)
}

/// Like [`read_owned_text_now`], on a blocking thread.
pub async fn read_owned_text(path: PathBuf, limit: usize) -> io::Result<Zeroizing<String>> {
    in_turn(path, move |path| read_owned_text_now(path, limit)).await
}

/// Those who look at each file that is being looked at.
static TURNS: Mutex<BTreeMap<PathBuf, Weak<Semaphore>>> = Mutex::new(BTreeMap::new());

/// Looks at a file on a blocking thread, one at a time: whoever gives up a look that hangs leaves its
/// thread behind, and threads are few, so that no other is begun at that file until it comes back.
/// Dropping this begins none, or leaves the one that was begun.
pub async fn in_turn<T: Send + 'static>(
    path: PathBuf,
    look: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let turn = turns_at(&path).acquire_owned().await;
    let turn = turn.map_err(io::Error::other)?;
    let look = move || {
        let outcome = look(&path);
        drop(turn);
        outcome
    };
    let looking = tokio::task::spawn_blocking(look);
    looking.await.map_err(io::Error::other)?
}

fn turns_at(path: &Path) -> Arc<Semaphore> {
    let mut all = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|_, turns| turns.strong_count() > 0);
    let known = all.get(path).and_then(Weak::upgrade);
    known.unwrap_or_else(|| {
        let turns = Arc::new(Semaphore::new(1));
        all.insert(path.to_owned(), Arc::downgrade(&turns));
        turns
    })
}

fn into_text(bytes: &[u8]) -> io::Result<Zeroizing<String>> {
    std::str::from_utf8(bytes)
        .map(|text| Zeroizing::new(text.to_owned()))
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn read_now(path: &Path, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        // /dev/null is the usual way to say "no such file" to an SDK.
        return if is_null_device(&metadata) {
            Ok(Zeroizing::default())
        } else {
            Err(not_regular())
        };
    }
    read_bounded(file, limit)
}

fn read_private_now(path: &Path, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = open(path)?;
    judge(&file.metadata()?, 0o077, 0o600)?;
    read_bounded(file, limit)
}

/// Whether it is a regular file of root or of this process's user, with none of the permission bits
/// that are `refused`. One that has some is mended by the mode `fit`.
fn judge(metadata: &Metadata, refused: u32, fit: u32) -> io::Result<()> {
    if !metadata.is_file() {
        return Err(not_regular());
    }
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if ![process::ROOT, process::effective_uid()].contains(&owner) {
        return Err(denied(format!(
            "it belongs to uid {owner}, and must belong to root or to credd's own user; `chown` it"
        )));
    }
    if mode & refused != 0 {
        return Err(denied(format!(
            "others may read or change it (mode {mode:04o}); `chmod {fit:o}` it"
        )));
    }
    Ok(())
}

fn denied(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, problem)
}

fn open(path: &Path) -> io::Result<File> {
    // Without O_NONBLOCK the opening of a FIFO waits for its writer for ever.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

fn is_null_device(metadata: &Metadata) -> bool {
    metadata.rdev() == rustix::fs::makedev(1, 3)
}

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    /// In nanoseconds since the epoch.
    modified: i128,
    size: u64,
}

/// That of the file that `path` leads to now, if it leads to any. May block.
pub fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        modified: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
        size: metadata.len(),
    })
}

/// Reads the rest of a file, of at most `limit` bytes.
pub fn read_bounded(file: File, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all that is read: a buffer that grows leaves unwiped copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 1));
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        let problem = format!("larger than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(bytes)
}

/// Puts `contents` at `path` with mode 0600, whole or not at all: written beside it, flushed,
/// renamed over it.
pub fn write_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    put(path, 0o600, |file| file.write_all(contents))
}

/// Writes beside `path`, flushes, and renames over it. `mode` is masked by the umask.
fn put(path: &Path, mode: u32, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let beside = path.with_extension("new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)?;
    write(&mut file)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

/// Copies the running program to `path`, for all to run, whole or not at all.
pub fn write_own_program(path: &Path) -> io::Result<()> {
    const PROGRAM: u32 = 0o755;
    let mut program = File::open("/proc/self/exe")?;
    put(path, PROGRAM, |file| {
        io::copy(&mut program, file)?;
        // Whatever the umask is.
        file.set_permissions(Permissions::from_mode(PROGRAM))
    })
}

/// Opens the regular file at `path` for appending, or makes it with mode 0600. No symbolic link is
/// followed, and one that root or this process's user does not own alone, or that others can read or
/// its group can change, is refused.
pub fn append_private(path: &Path) -> io::Result<File> {
    // Without O_NONBLOCK the opening of a FIFO waits for its reader for ever.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    judge(&metadata, 0o137, 0o640)?;
    if metadata.nlink() > 1 {
        return Err(denied(
            "it has another name besides; remove that link".to_owned(),
        ));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::task::Poll;

    use super::*;

    #[test]
    fn only_regular_files_within_the_limit_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_private(&path, b"12345").unwrap();
        assert_eq!(*read_now(&path, 5).unwrap(), b"12345");
        assert_eq!(
            read_now(&path, 4).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        assert!(read_now(folder.path(), 5).is_err());
        assert!(read_now(Path::new("/dev/null"), 5).unwrap().is_empty());
        assert!(read_now(Path::new("/dev/zero"), 5).is_err());
    }

    /// Polled once, and dropped.
    async fn is_pending<T>(look: impl Future<Output = T>) -> bool {
        let mut look = Box::pin(look);
        poll_fn(|context| Poll::Ready(look.as_mut().poll(context).is_pending())).await
    }

    #[test]
    fn while_a_look_at_a_file_hangs_no_other_thread_is_begun_there() {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        let [path, other] = ["/hung", "/other"].map(PathBuf::from);
        let begun = Arc::new(AtomicUsize::new(0));
        let another = || {
            let begun = Arc::clone(&begun);
            in_turn(path.clone(), move |_| {
                begun.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
        };
        runtime.block_on(async {
            let (say_begun, has_begun) = mpsc::channel();
            let (let_go, is_let_go) = mpsc::channel::<()>();
            let hung = in_turn(path.clone(), move |_| {
                say_begun.send(()).map_err(io::Error::other)?;
                is_let_go.recv().map_err(io::Error::other)
            });
            // Given up, as are those that follow.
            assert!(is_pending(hung).await);
            has_begun.recv().unwrap();
            for _ in 0..1000 {
                assert!(is_pending(another()).await);
            }
            in_turn(other, |_| Ok(())).await.unwrap();
            assert_eq!(begun.load(Ordering::Relaxed), 0);
            let_go.send(()).unwrap();
            another().await.unwrap();
            assert_eq!(begun.load(Ordering::Relaxed), 1);
        });
    }

    #[test]
    fn a_secret_is_read_only_where_nobody_else_can_read_or_change_it() {
        use std::os::unix::fs::{chown, symlink};

        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("secret"), folder.path().join("link"));
        write_private(&path, b"12345").unwrap();
        symlink(&path, &link).unwrap();
        let set_mode = |mode| {
            let permissions = Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).unwrap();
        };
        let problem = |path: &Path| read_private_now(path, 5).unwrap_err().to_string();
        for mode in [0o600, 0o400, 0o700] {
            set_mode(mode);
            assert_eq!(*read_private_now(&link, 5).unwrap(), b"12345");
        }
        // As each of these, by itself, lets somebody else in.
        for mode in [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o644] {
            set_mode(mode);
            assert!(problem(&path).contains("chmod 600"), "{mode:o}");
            assert!(problem(&link).contains("chmod 600"), "{mode:o}");
        }
        set_mode(0o600);
        assert!(read_private_now(&path, 4).is_err());
        assert!(problem(folder.path()).contains("not a regular file"));
        assert!(problem(Path::new("/dev/null")).contains("not a regular file"));
        if process::is_root() {
            chown(&path, Some(12345), None).unwrap();
            assert!(problem(&path).contains("uid 12345"));
        }
    }

    #[test]
    fn a_fifo_without_a_writer_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
        assert_eq!(
            read_now(&path, 5).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }

    #[test]
    fn a_private_file_is_replaced_whole_and_read_by_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        write_private(&path, b"first").unwrap();
        write_private(&path, b"second").unwrap();
        assert_eq!(*read_now(&path, 10).unwrap(), b"second");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_log_is_appended_to_only_where_nobody_else_can_change_or_place_it() {
        use std::os::unix::fs::{PermissionsExt, chown, symlink};

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for text in ["one\n", "two\n"] {
            append_private(&path)
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
        }
        assert_eq!(*read_now(&path, 10).unwrap(), b"one\ntwo\n");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);

        let set_mode = |mode| {
            let permissions = Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).unwrap();
        };
        let problem = |path: &Path| append_private(path).unwrap_err().to_string();
        for mode in [0o644, 0o660, 0o602, 0o601, 0o700] {
            set_mode(mode);
            assert!(problem(&path).contains("chmod 640"), "{mode:o}");
        }
        set_mode(0o640);
        assert!(append_private(&path).is_ok());

        let (soft, hard) = (folder.path().join("soft"), folder.path().join("hard"));
        symlink(&path, &soft).unwrap();
        assert!(append_private(&soft).is_err());
        std::fs::hard_link(&path, &hard).unwrap();
        assert!(problem(&path).contains("another name"));
        std::fs::remove_file(&hard).unwrap();

        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
        assert!(append_private(&fifo).is_err());
        assert!(append_private(folder.path()).is_err());
        if process::is_root() {
            chown(&path, Some(12345), None).unwrap();
            assert!(problem(&path).contains("uid 12345"));
        }
    }
}
