//! The other end of a Unix socket, by the kernel's word.

use std::ffi::c_int;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::io::{Errno, retry_on_intr};

use super::cgroup::{self, Membership};
use super::process;
use super::socket_option;

/// Who had connected, as it was at that moment (`SO_PEERCRED`, unix(7)).
#[derive(Debug)]
pub struct UnixPeer {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups (`SO_PEERGROUPS`); none on kernels older than Linux 4.13.
    pub groups: Vec<u32>,
    pub process: PeerProcess,
}

/// A process that cannot be taken for another one that gets its number later.
#[derive(Debug)]
pub struct PeerProcess {
    /// `None` for one in a PID namespace that is not this process's, nor below it.
    pub pid: Option<i32>,
    handle: Handle,
}

#[derive(Debug)]
enum Handle {
    /// A pidfd (`SO_PEERPIDFD`).
    Held(OwnedFd),
    /// The process had ended before it was asked for.
    Gone,
    /// Older kernels than Linux 6.5 have no such thing.
    Unknown,
}

/// Asks the kernel about a connected Unix socket.
pub fn of_unix(socket: &impl AsFd) -> io::Result<UnixPeer> {
    // rustix takes the pid for one that is never 0, which those of foreign namespaces are.
    let mut credentials = [0; 3]; // struct ucred
    socket_option::read(socket, libc::SO_PEERCRED, &mut credentials)?;
    let [pid, uid, gid] = credentials;
    Ok(UnixPeer {
        uid,
        gid,
        groups: groups(socket)?,
        process: PeerProcess {
            pid: Some(pid.cast_signed()).filter(|pid| *pid > 0),
            handle: handle(socket)?,
        },
    })
}

/// Whether this kernel tells which process is at the other end of a socket, in a way that outlasts
/// the reuse of its number.
pub fn are_processes_known() -> bool {
    let pair = std::os::unix::net::UnixStream::pair();
    let handle = pair.and_then(|(end, _other)| handle(&end));
    matches!(handle, Ok(Handle::Held(_)))
}

fn groups(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    const USUAL: usize = 32;
    const MOST: usize = 65536; // NGROUPS_MAX, limits.h
    for room in [USUAL, MOST] {
        let mut groups = vec![0; room];
        match socket_option::read(socket, libc::SO_PEERGROUPS, &mut groups) {
            Ok(count) => {
                groups.truncate(count);
                return Ok(groups);
            }
            Err(Errno::RANGE) => {}
            Err(Errno::NOPROTOOPT) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Vec::new())
}

fn handle(socket: &impl AsFd) -> io::Result<Handle> {
    let mut descriptor = [0];
    match socket_option::read(socket, libc::SO_PEERPIDFD, &mut descriptor) {
        Ok(1) => Ok(Handle::Held(owned(descriptor[0].cast_signed()))),
        Ok(_) | Err(Errno::NOPROTOOPT) => Ok(Handle::Unknown),
        // Of a process that has been reaped: the one until Linux 6.15, the other since.
        Err(Errno::INVAL | Errno::SRCH) => Ok(Handle::Gone),
        Err(error) => Err(error.into()),
    }
}

#[expect(unsafe_code, reason = "a descriptor from the kernel has no owner yet")]
fn owned(descriptor: c_int) -> OwnedFd {
    // SAFETY: the kernel has just opened this descriptor for us, and it is handed on nowhere else.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

impl PeerProcess {
    /// Whether it is still there, as far as the kernel can tell.
    pub fn is_alive(&self) -> bool {
        match &self.handle {
            Handle::Held(pidfd) => runs(pidfd),
            Handle::Gone => false,
            Handle::Unknown => true,
        }
    }

    /// The file that it runs; for a script, that of the interpreter. A path that a rule may name
    /// (`is_named`) must lead to that very file from here, since in a mount namespace of its own a
    /// process may have anything under that name. True only if [`Self::is_alive`] afterwards.
    pub fn executable(&self, is_named: impl FnOnce(&Path) -> bool) -> Option<PathBuf> {
        let link = self.file("exe")?;
        let path = fs::read_link(&link).ok()?;
        // What has been replaced or removed is no longer what is meant (proc_pid_exe(5)).
        if path.as_os_str().as_bytes().ends_with(b" (deleted)") {
            return None;
        }
        // No other path is walked: it may lead to where somebody makes this process wait.
        let may_match = !is_named(&path) || is_same_file(&link, &path);
        may_match.then_some(path)
    }

    /// True only if [`Self::is_alive`] afterwards.
    pub fn membership(&self) -> Option<Membership> {
        read_cgroup(&self.file("cgroup")?).ok()
    }

    /// In `/proc`, of a process that can be told from a later one of that number.
    fn file(&self, name: &str) -> Option<PathBuf> {
        let Handle::Held(_) = self.handle else {
            return None;
        };
        let pid = self.pid?;
        Some(format!("/proc/{pid}/{name}").into())
    }
}

/// A pidfd becomes readable when its process ends (`pidfd_open(2)`).
fn runs(pidfd: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
    let at_once = Timespec::default();
    // A signal to this process, such as the one that ends it, says nothing about the other.
    let ready = retry_on_intr(|| rustix::event::poll(&mut polled, Some(&at_once)));
    matches!(ready, Ok(0))
}

/// Whether both lead to one file, by what is known of them without asking a network.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let look = |path| {
        let status =
            rustix::fs::statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::INO).ok()?;
        Some((status.stx_dev_major, status.stx_dev_minor, status.stx_ino))
    };
    look(one).is_some_and(|file| look(other) == Some(file))
}

fn read_cgroup(path: &Path) -> io::Result<Membership> {
    // A dozen hierarchies, each with a path of the greatest length, would not do: none has been
    // seen with more than a few hundred bytes.
    const LONGEST: u64 = 16 * 1024;
    let mut text = String::with_capacity(1024);
    File::open(path)?.take(LONGEST).read_to_string(&mut text)?;
    // The last line may be cut.
    let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
    Ok(cgroup::parse(whole))
}

/// Whether the executables of everybody's processes can be looked at from here, or else of this
/// process's own user only.
pub fn see_executables(of_everybody: bool) -> io::Result<()> {
    // The capability is what it takes (ptrace(2)); a container's first process may do without.
    let suffices_to_see_own = !of_everybody || process::may_trace();
    let whose = if suffices_to_see_own { OWN } else { FIRST };
    fs::read_link(format!("{whose}/exe")).map(drop)
}

/// The same for control groups.
pub fn see_cgroups(of_everybody: bool) -> io::Result<()> {
    let whose = if of_everybody { FIRST } else { OWN };
    read_cgroup(Path::new(&format!("{whose}/cgroup"))).map(drop)
}

const OWN: &str = "/proc/self";

/// That process is root's, or of one who sees all of a container.
const FIRST: &str = "/proc/1";

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    #[expect(
        unsafe_code,
        reason = "only a thread's own signals come just when it asks"
    )]
    fn a_signal_is_not_taken_for_the_end_of_the_other_process() {
        let (end, _other) = UnixStream::pair().unwrap();
        let peer = of_unix(&end).unwrap().process;
        let _kept = signal_hook::flag::register(libc::SIGUSR2, Arc::new(AtomicBool::new(false)));
        // SAFETY: it has no conditions.
        let asking = unsafe { libc::pthread_self() };
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    // SAFETY: the thread that asks lives until this one has ended.
                    unsafe { libc::pthread_kill(asking, libc::SIGUSR2) };
                }
            });
            let has_ended = (0..20_000).any(|_| !peer.is_alive());
            is_over.store(true, Ordering::Relaxed);
            assert!(!has_ended);
        });
    }
}
