//! Descriptors that this process was started with.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Behind standard input, output and error (`SD_LISTEN_FDS_START`, sd-daemon.h).
const FIRST: RawFd = 3;

/// Takes the first `count` descriptors that whoever started this process left open for it, and
/// lets no program inherit them. To be called before anything is opened: a number that was not
/// left open might be one of ours by then.
///
/// Fails where one is not open, and for all but the first caller.
pub fn inherit(count: usize) -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    (FIRST..).take(count).map(take).collect()
}

#[expect(unsafe_code, reason = "what was there at the start has no owner yet")]
fn take(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers alone; one that is not open is an error.
    let returned = unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    if returned < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, as the kernel has just said; it was so when the process began, since
    // nothing had been opened yet; and nobody else makes it theirs, since numbers are taken once.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
