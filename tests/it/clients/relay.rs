//! A wire between a client and credd that reads along: which statuses came back.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::net::{Shutdown, shutdown};

/// Yields the status of each response, as it passes.
pub(super) fn tcp(credd: SocketAddr) -> io::Result<(SocketAddr, Receiver<u16>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let statuses = start(
        move || Ok(listener.accept()?.0.into()),
        move || Ok(TcpStream::connect(credd)?.into()),
    );
    Ok((address, statuses))
}

/// Like [`tcp`], from a socket at `path`.
pub(super) fn unix(path: &Path, credd: PathBuf) -> io::Result<Receiver<u16>> {
    let listener = UnixListener::bind(path)?;
    Ok(start(
        move || Ok(listener.accept()?.0.into()),
        move || Ok(UnixStream::connect(&credd)?.into()),
    ))
}

fn start(
    accept: impl Fn() -> io::Result<OwnedFd> + Send + 'static,
    connect: impl Fn() -> io::Result<OwnedFd> + Send + 'static,
) -> Receiver<u16> {
    let (sender, statuses) = channel();
    // All threads end with the test's process, or with the sockets that they read.
    std::thread::spawn(move || {
        while let Ok(client) = accept() {
            // No daemon, no answer: the client sees its connection closed.
            let _ = connect().and_then(|server| relay(client, server, sender.clone()));
        }
    });
    statuses
}

fn relay(client: OwnedFd, server: OwnedFd, statuses: Sender<u16>) -> io::Result<()> {
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || pass(from_client.into(), to_server.into(), |_| ()));
    std::thread::spawn(move || {
        pass(server.into(), client.into(), |bytes| {
            // credd writes a response in one piece, so that none is cut here.
            let status = bytes
                .strip_prefix(b"HTTP/1.1 ")
                .and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok());
            if let Some(status) = status {
                // Who does not listen any more has seen enough.
                let _ = statuses.send(status);
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
