//! The journal, for the lines of the audit log.

use std::collections::VecDeque;
use std::io;

use super::Line;
use crate::journal::{Journal, is_too_large};

/// Waits while journald has no room.
pub(super) fn write(
    journal: &Journal,
    lines: &mut VecDeque<Line>,
    lost: &mut u64,
) -> io::Result<()> {
    while let Some(line) = lines.front() {
        match journal.send(|with_fields| line.to_journal(with_fields)) {
            // By default 208 KiB fit, and the longest line has 70.
            Err(error) if is_too_large(&error) => *lost += line.count,
            outcome => outcome?,
        }
        lines.pop_front();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
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
        rustix::net::sockopt::set_socket_send_buffer_size(&journal, 1).unwrap();
        let mut lost = 0;
        // The last is too large in any form.
        let mut lines = VecDeque::from([50, 250, 1000].map(line));
        write(&journal, &mut lines, &mut lost).unwrap();
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
