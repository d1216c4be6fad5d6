//! Streams that somebody else reads, or does not.

use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// `PIPE_BUF`: a stream that can be written to at all takes as much without a wait (pipe(7)).
const AT_ONCE: usize = 4096;

/// For a reader that is busy: 100 ms.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// A stream that is waited for once, and then no more until it takes something again. Whether it
/// blocks is not changed, since that is so for all who have it.
#[derive(Debug)]
pub struct Patient<W> {
    stream: W,
    is_stuck: bool,
}

impl<W> Patient<W> {
    pub fn new(stream: W) -> Self {
        Self {
            stream,
            is_stuck: false,
        }
    }
}

impl<W: Write + AsFd> Write for Patient<W> {
    /// Fails with [`WouldBlock`](io::ErrorKind::WouldBlock) where nothing is taken.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let patience = if self.is_stuck {
            Timespec::default()
        } else {
            PATIENCE
        };
        let mut polled = [PollFd::new(&self.stream, PollFlags::OUT)];
        let is_ready = match rustix::event::poll(&mut polled, Some(&patience)) {
            Err(Errno::INTR) => return Err(io::ErrorKind::Interrupted.into()),
            outcome => outcome? > 0,
        };
        self.is_stuck = !is_ready;
        if self.is_stuck {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (now, _) = bytes.split_at(bytes.len().min(AT_ONCE));
        self.stream.write(now)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{PipeReader, Read};

    use super::*;

    fn pipe() -> (PipeReader, Patient<File>) {
        let (reader, writer) = io::pipe().unwrap();
        let writer = std::os::fd::OwnedFd::from(writer);
        (reader, Patient::new(File::from(writer)))
    }

    #[test]
    fn a_reader_that_does_not_read_keeps_nobody() {
        let (mut reader, mut patient) = pipe();
        let line = [b'a'; 1000];
        let written = (0..100_000)
            .take_while(|_| patient.write_all(&line).is_ok())
            .count();
        assert!((1..1000).contains(&written), "{written}");
        let error = patient.write_all(&line).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        // And one that reads again gets what is written then.
        let mut taken = vec![0; written * line.len()];
        reader.read_exact(&mut taken).unwrap();
        patient.write_all(b"b").unwrap();
        let mut last = [0];
        reader.read_exact(&mut last).unwrap();
        assert_eq!(last, *b"b");
    }

    #[test]
    fn what_is_long_is_written_as_a_whole_while_somebody_reads() {
        let (mut reader, mut patient) = pipe();
        let long = vec![b'a'; 1024 * 1024];
        let length = long.len();
        let reading = std::thread::spawn(move || {
            let mut all = vec![0; length];
            reader.read_exact(&mut all).map(|()| all)
        });
        patient.write_all(&long).unwrap();
        assert_eq!(reading.join().unwrap().unwrap(), long);
    }

    #[test]
    fn one_that_has_left_is_an_error() {
        let (reader, mut patient) = pipe();
        drop(reader);
        let error = patient.write_all(b"a").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
