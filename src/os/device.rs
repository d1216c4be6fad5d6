//! The network device that a socket is bound to.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::socket_option;

/// `IFNAMSIZ`, netdevice(7): with the zero at the end.
const LONGEST: usize = 16;

/// Binds a socket to the loopback device, unless it is so already: one that the service manager has
/// bound can be bound anew with `CAP_NET_RAW` only.
#[expect(unsafe_code, reason = "rustix has no such option")]
pub fn keep_to_loopback(socket: &impl AsFd) -> io::Result<()> {
    const LOOPBACK: &[u8] = b"lo";
    if name(socket)? == LOOPBACK {
        return Ok(());
    }
    let length = libc::socklen_t::try_from(LOOPBACK.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads as many bytes as `length` says, which are there.
    let returned = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            LOOPBACK.as_ptr().cast(),
            length,
        )
    };
    if returned == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Empty where it is bound to none.
fn name(socket: &impl AsFd) -> io::Result<Vec<u8>> {
    let mut words = [0; LONGEST / size_of::<u32>()];
    socket_option::read(socket, libc::SO_BINDTODEVICE, &mut words)?;
    let name = words.into_iter().flat_map(u32::to_ne_bytes);
    Ok(name.take_while(|&byte| byte != 0).collect())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_socket_that_listens_already_is_kept_to_loopback_and_stays_so() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(name(&listener).unwrap(), b"");
        for _ in 0..2 {
            keep_to_loopback(&listener).unwrap();
            assert_eq!(name(&listener).unwrap(), b"lo");
        }
        std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    }
}
