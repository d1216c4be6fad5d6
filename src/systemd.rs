//! What the service manager is told: `sd_notify(3)`, as far as credd has something to say.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::environment::Environment;

/// Bytes of a status line. systemd takes datagrams of 4096 (`NOTIFY_BUFFER_MAX`, `PIPE_BUF`), and
/// nobody reads a line of that length.
const LONGEST: usize = 1024;

/// The way to whoever supervises this process, if anybody does.
#[derive(Debug, Default)]
pub struct Notifier {
    line: Option<Line>,
    has_failed: AtomicBool,
}

#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Notifier {
    /// By `$NOTIFY_SOCKET`: a path, or after `@` a name that is in no file system. Without it, or
    /// with one that cannot be used, there is nobody to tell.
    pub fn of(environment: &Environment) -> Self {
        let Some(name) = environment.variable("NOTIFY_SOCKET") else {
            return Self::default();
        };
        match Line::to(name) {
            Ok(line) => Self {
                line: Some(line),
                has_failed: AtomicBool::new(false),
            },
            Err(error) => {
                tracing::debug!(%error, "cannot tell the service manager anything");
                Self::default()
            }
        }
    }

    /// Shows `text` in `systemctl status`. Never waits; what does not arrive is let go.
    pub fn status(&self, text: &str) {
        let mut message = String::from("STATUS=");
        for character in text.chars() {
            // A line break would begin another assignment.
            let character = if character.is_control() {
                ' '
            } else {
                character
            };
            if message.len() + character.len_utf8() > LONGEST {
                break;
            }
            message.push(character);
        }
        self.send(&message);
    }

    fn send(&self, message: &str) {
        let Some(Line { socket, to }) = &self.line else {
            return;
        };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), to)
            && !self.has_failed.swap(true, Ordering::Relaxed)
        {
            tracing::debug!(%error, "cannot tell the service manager anything now");
        }
    }
}

impl Line {
    fn to(name: &str) -> io::Result<Self> {
        let to = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None if name.starts_with('/') => SocketAddr::from_pathname(name)?,
            // `vsock:`, which is for virtual machines as a whole.
            None => return Err(io::ErrorKind::Unsupported.into()),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notifier(name: &str) -> Notifier {
        let variable = ("NOTIFY_SOCKET".to_owned(), name.to_owned());
        Notifier::of(&Environment::from_iter([variable]))
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_status_arrives_at_a_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let notifier = notifier(path.to_str().unwrap());
        // Nobody listens yet: that is let go.
        notifier.status("starting");
        let manager = UnixDatagram::bind(&path).unwrap();
        notifier.status("3 identities");
        assert_eq!(received(&manager), "STATUS=3 identities");
        notifier.status("ops\nMAINPID=1\r\n");
        assert_eq!(received(&manager), "STATUS=ops MAINPID=1  ");
        notifier.status(&"é".repeat(4000));
        let long = received(&manager);
        assert!((LONGEST - 1..=LONGEST).contains(&long.len()));
    }

    #[test]
    fn a_status_arrives_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("credd{}", folder.path().display());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        notifier(&format!("@{name}")).status("ready");
        assert_eq!(received(&manager), "STATUS=ready");
    }

    #[test]
    fn a_manager_that_does_not_read_holds_nothing_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = notifier(path.to_str().unwrap());
        for _ in 0..10_000 {
            notifier.status("busy");
        }
        assert!(notifier.has_failed.load(Ordering::Relaxed));
        assert_eq!(received(&manager), "STATUS=busy");
    }

    #[test]
    fn without_a_socket_that_can_be_used_nothing_is_sent() {
        for name in [
            "",
            "relative",
            "vsock:2:1234",
            &format!("/{}", "x".repeat(200)),
        ] {
            let notifier = notifier(name);
            assert!(notifier.line.is_none(), "{name}");
            notifier.status("unheard");
        }
        Notifier::of(&Environment::default()).status("unheard");
    }
}
