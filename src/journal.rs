//! journald, by its native protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>): datagrams of
//! fields.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;

/// Where journald takes datagrams.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// The longest name of a field.
const LONGEST_NAME: usize = 64;

/// A way to journald.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// Fails where nobody listens.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        UnixDatagram::unbound()?.connect(&path).map_err(|error| {
            let path = path.display();
            io::Error::new(error.kind(), format!("{path}: {error}"))
        })?;
        // Not connected, so that another journald is found after this one.
        let socket = UnixDatagram::unbound()?;
        Ok(Self { socket, path })
    }

    /// Lets [`Self::send`] wait for no longer than `patience`, or not at all.
    pub fn wait(&self, patience: Option<Duration>) -> io::Result<()> {
        self.socket.set_nonblocking(patience.is_none())?;
        self.socket.set_write_timeout(patience)
    }

    /// Sends what `datagram` makes with all fields or, where that is too large, without them: the
    /// message alone tells all that they do. Waits while journald has no room, for ever unless told
    /// otherwise.
    pub fn send(&self, datagram: impl Fn(bool) -> Vec<u8>) -> io::Result<()> {
        match self.send_whole(&datagram(true)) {
            Err(error) if is_too_large(&error) => self.send_whole(&datagram(false)),
            outcome => outcome,
        }
    }

    fn send_whole(&self, datagram: &[u8]) -> io::Result<()> {
        loop {
            match self.socket.send_to(datagram, &self.path) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome.map(drop),
            }
        }
    }
}

impl AsFd for Journal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether less would have been taken.
pub fn is_too_large(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::MSGSIZE)
}

/// Whether `stream`, the file of that device and inode, is connected to the journal, as
/// `JOURNAL_STREAM` says (systemd.exec(5)).
pub fn is_stream(journal_stream: Option<&str>, stream: Option<(u64, u64)>) -> bool {
    let journal = journal_stream.and_then(|it| {
        let (device, inode) = it.trim().split_once(':')?;
        Some((device.parse().ok()?, inode.parse().ok()?))
    });
    journal.is_some() && journal == stream
}

/// Adds a field. What breaks lines is sent with its length, so that it begins no field of its own.
/// Of a name is kept what a field's can have.
pub fn put(datagram: &mut Vec<u8>, name: &str, value: &str) {
    let letters = name.bytes().take(LONGEST_NAME);
    datagram.extend(letters.map(|letter| match letter.to_ascii_uppercase() {
        fit @ (b'A'..=b'Z' | b'0'..=b'9') => fit,
        _ => b'_',
    }));
    if value.contains('\n') {
        datagram.push(b'\n');
        datagram.extend((value.len() as u64).to_le_bytes());
    } else {
        datagram.push(b'=');
    }
    datagram.extend(value.as_bytes());
    datagram.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_line_breaks_begins_no_field_of_its_own() {
        let mut datagram = Vec::new();
        put(&mut datagram, "credd_identity", "ops");
        put(&mut datagram, "MESSAGE", "a\nPRIORITY=0");
        let expected = b"CREDD_IDENTITY=ops\nMESSAGE\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n";
        assert_eq!(datagram, expected);
    }

    #[test]
    fn a_name_is_made_fit() {
        let mut datagram = Vec::new();
        put(&mut datagram, &format!("a.b-é{}", "x".repeat(100)), "");
        let text = String::from_utf8(datagram).unwrap();
        assert_eq!(text, format!("A_B___{}=\n", "X".repeat(58)));
    }

    #[test]
    fn stderr_is_the_journals_only_where_the_variable_names_it() {
        let is_stream = |said| is_stream(said, Some((9, 12345)));
        assert!(is_stream(Some("9:12345")));
        for said in [None, Some(""), Some("9:1"), Some("12345:9"), Some("x:y")] {
            assert!(!is_stream(said), "{said:?}");
        }
        assert!(!super::is_stream(Some("x"), None));
    }
}
