//! A wire between a client and credd that tells what passes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::net::{Shutdown, shutdown};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seen {
    Connection,
    /// Of a response.
    Status(u16),
}

/// Listens at the address that it returns.
pub(super) fn tcp(credd: SocketAddr) -> io::Result<(SocketAddr, Receiver<Seen>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let seen = start(
        move || Ok(listener.accept()?.0.into()),
        move || Ok(TcpStream::connect(credd)?.into()),
    );
    Ok((address, seen))
}

/// Listens at a socket at `path`.
pub(super) fn unix(path: &Path, credd: PathBuf) -> io::Result<Receiver<Seen>> {
    let listener = UnixListener::bind(path)?;
    Ok(start(
        move || Ok(listener.accept()?.0.into()),
        move || Ok(UnixStream::connect(&credd)?.into()),
    ))
}

fn start(
    accept: impl Fn() -> io::Result<OwnedFd> + Send + 'static,
    connect: impl Fn() -> io::Result<OwnedFd> + Send + 'static,
) -> Receiver<Seen> {
    let (sender, seen) = channel();
    // All threads end with the test's process, or with the sockets that they read.
    std::thread::spawn(move || {
        while let Ok(client) = accept() {
            // Who does not listen any more has seen enough.
            let _ = sender.send(Seen::Connection);
            // No daemon, no answer: the client sees its connection closed.
            let _ = connect().and_then(|server| relay(client, server, sender.clone()));
        }
    });
    seen
}

fn relay(client: OwnedFd, server: OwnedFd, seen: Sender<Seen>) -> io::Result<()> {
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || pass(from_client.into(), to_server.into(), |_| ()));
    std::thread::spawn(move || {
        pass(server.into(), client.into(), |bytes| {
            // credd writes a response in one piece, so that none is cut here.
            let status = bytes
                .strip_prefix(b"HTTP/1.1 ")
                .and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok());
            if let Some(status) = status {
                let _ = seen.send(Seen::Status(status));
            }
        });
    });
    Ok(())
}

fn pass(mut from: File, mut to: File, look: impl Fn(&[u8])) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        look(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = shutdown(&to, Shutdown::Write);
    let _ = shutdown(&from, Shutdown::Read);
}
