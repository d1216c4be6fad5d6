//! Connections whose every byte a test writes and reads itself.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::Value;

/// An answer, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The one value of a header, by its lower-case name.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(it, _)| it == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} twice: {:?}", self.headers);
        value
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The `code` of an error body.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap().to_owned()
    }
}

/// A stream of either kind.
pub(crate) trait Wire: Read + Write + AsFd {
    fn within(&self, patience: Duration);
}

impl Wire for TcpStream {
    fn within(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).unwrap();
    }
}

impl Wire for UnixStream {
    fn within(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).unwrap();
    }
}

/// Sends `request` as it stands and reads what is answered; `None` if nothing is.
#[track_caller]
pub(crate) fn exchange(stream: &mut impl Wire, request: impl AsRef<[u8]>) -> Option<Reply> {
    let request = request.as_ref();
    // A server that has had enough may close before all is written.
    let _ = stream.write_all(request);
    let has_body = !request.starts_with(b"HEAD");
    receive(stream, has_body)
}

/// Reads one answer; `None` if the other side closes without one.
#[track_caller]
pub(crate) fn receive(stream: &mut impl Wire, has_body: bool) -> Option<Reply> {
    stream.within(super::PATIENCE);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => head.extend(byte),
            Ok(_) => {
                assert!(head.is_empty(), "cut short: {}", head.escape_ascii());
                return None;
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset && head.is_empty() => {
                return None;
            }
            Err(error) => panic!("{error} after {}", head.escape_ascii()),
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().unwrap();
    assert!(status.starts_with("HTTP/1."), "{status}");
    let headers = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        })
        .collect();
    let mut reply = Reply {
        status: status[9..12].parse().unwrap(),
        headers,
        body: Vec::new(),
    };
    let length = reply.header("content-length").map(|it| it.parse().unwrap());
    if let Some(length) = length.filter(|_| has_body) {
        reply.body.resize(length, 0);
        stream.read_exact(&mut reply.body).unwrap();
    }
    Some(reply)
}

/// Whether the other side has closed, as far as is known by now.
pub(crate) fn is_closed(stream: &impl Wire) -> bool {
    let mut look = [PollFd::new(stream, PollFlags::IN | PollFlags::RDHUP)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut look, Some(&at_once)).unwrap();
    let seen = look[0].revents();
    seen.intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
}
