//! What journald gets, where a test listens in its place.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::sinks;

/// The fields of one datagram of the native protocol.
pub(crate) fn received(journald: &UnixDatagram) -> Vec<(String, String)> {
    let patience = Some(Duration::from_mins(1));
    journald.set_read_timeout(patience).unwrap();
    let mut datagram = vec![0; 64 * 1024];
    let length = journald.recv(&mut datagram).unwrap();
    let text = std::str::from_utf8(&datagram[..length]).unwrap();
    sinks::keep("journald.log", text.as_bytes());
    assert!(text.ends_with('\n'));
    let field = |line: &str| {
        let (name, value) = line.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    };
    text.lines().map(field).collect()
}

pub(crate) fn value<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let field = fields.iter().find(|(it, _)| it == name);
    field.map(|(_, value)| value.as_str())
}
