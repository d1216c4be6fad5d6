//! Options of sockets that rustix does not read (`getsockopt(2)`).

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

/// Reads an option of the socket level that is made of words, and says how many there are.
#[expect(unsafe_code, reason = "rustix has no such options")]
pub(super) fn read(
    socket: &impl AsFd,
    name: c_int,
    value: &mut [u32],
) -> rustix::io::Result<usize> {
    let room = size_of_val(value);
    let mut length = libc::socklen_t::try_from(room).map_err(|_| Errno::INVAL)?;
    // SAFETY: `value` has room for `length` bytes, any of which make words; the kernel writes no
    // more than that, and sets `length` to what it has written.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if outcome == 0 {
        let written = usize::try_from(length).unwrap_or(0).min(room);
        return Ok(written / size_of::<u32>());
    }
    let error = io::Error::last_os_error();
    Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
