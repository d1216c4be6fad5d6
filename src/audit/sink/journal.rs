//! journald, by its native protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>).

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::Line;

pub(in super::super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    pub(super) fn is_there(path: &Path) -> bool {
        UnixDatagram::unbound().is_ok_and(|socket| socket.connect(path).is_ok())
    }

    /// Fails where nobody listens.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        UnixDatagram::unbound()?.connect(&path).map_err(|error| {
            let path = path.display();
            io::Error::new(error.kind(), format!("{path}: {error}"))
        })?;
        // Not connected, so that another journald is found after this one.
        let socket = UnixDatagram::unbound()?;
        Ok(Self { socket, path })
    }

    pub(super) fn write(&self, lines: &mut VecDeque<Line>, lost: &mut u64) -> io::Result<()> {
        while let Some(line) = lines.front() {
            match self.send(&line.to_journal(true)) {
                // By default 208 KiB fit, and the longest line has 70. The message alone tells all
                // that the fields do.
                Err(error) if is_too_large(&error) => match self.send(&line.to_journal(false)) {
                    Err(error) if is_too_large(&error) => *lost += line.count,
                    outcome => outcome?,
                },
                outcome => outcome?,
            }
            lines.pop_front();
        }
        Ok(())
    }

    /// Waits while journald has no room.
    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        loop {
            match self.socket.send_to(datagram, &self.path) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome.map(drop),
            }
        }
    }
}

fn is_too_large(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::MSGSIZE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::event::{Caller, Decision, Event, RequestId};
    use super::*;
    use crate::clock::Timestamp;

    /// One whose texts are all of them `length` letters long.
    fn line(length: usize) -> Line {
        let text = "x".repeat(length);
        let part = || Some(text.as_str().into());
        let event = Event {
            decision: Decision::Denied(text.as_str().into()),
            rule: part(),
            identity: part(),
            asked: None,
            role: part(),
            access_key: None,
            expiry: None,
            caller: Caller {
                executable: part(),
                unit: part(),
                container: part(),
                token: part(),
                ..Caller::default()
            },
            listener: text.as_str().into(),
            user_agent: None,
            request: RequestId {
                process: 0,
                number: 0,
            },
        };
        Line::begin(Timestamp::from_unix_millis(0), &event, 0)
    }

    #[test]
    fn a_line_that_is_too_large_with_its_fields_is_sent_without_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let patience = Duration::from_mins(1);
        journald.set_read_timeout(Some(patience)).unwrap();
        let journal = Journal::open(path).unwrap();
        // The least that the kernel allows: 4608 bytes, its own share included.
        rustix::net::sockopt::set_socket_send_buffer_size(&journal.socket, 1).unwrap();
        let mut lost = 0;
        // The last is too large in any form.
        let mut lines = VecDeque::from([50, 250, 1000].map(line));
        journal.write(&mut lines, &mut lost).unwrap();
        assert_eq!((lines.len(), lost), (0, 1));
        for has_fields in [true, false] {
            let mut buffer = [0; 8192];
            let length = journald.recv(&mut buffer).unwrap();
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            assert!(text.starts_with("MESSAGE={"), "{text}");
            assert!(text.contains("\nCREDD_AUDIT=1\n"), "{text}");
            assert_eq!(text.contains("\nCREDD_RULE="), has_fields, "{text}");
        }
    }
}
