//! What the service manager is told: `sd_notify(3)`, as far as credd has something to say.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr,
};

use crate::environment::Environment;
use crate::printable;

/// Bytes of a status line. systemd takes datagrams of 4096 (`NOTIFY_BUFFER_MAX`, `PIPE_BUF`), and
/// nobody reads a line of that length.
const LONGEST: usize = 1024;

/// The way to whoever supervises this process, if anybody does. Nothing here waits: what does not
/// arrive is let go, and whoever cannot have that is told so.
#[derive(Debug, Default)]
pub struct Notifier {
    line: Option<Line>,
    has_failed: AtomicBool,
    keeps_descriptors: Option<bool>,
}

#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    to: SocketAddrUnix,
}

/// By `$FDSTORE`, which systemd sets from version 254 on (`systemd.exec(5)`), to what the unit's
/// `FileDescriptorStoreMax=` is unless that is 0. From the same version on it sets
/// `$MEMORY_PRESSURE_WATCH`, too, so that an absent one means something where that is there.
fn keeps_descriptors(environment: &Environment) -> Option<bool> {
    match environment.variable("FDSTORE") {
        Some(most) => most.parse().ok().map(|most: u32| most > 0),
        None => environment.variable("MEMORY_PRESSURE_WATCH").map(|_| false),
    }
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
                keeps_descriptors: keeps_descriptors(environment),
            },
            Err(error) => {
                tracing::debug!(%error, "cannot tell the service manager anything");
                Self::default()
            }
        }
    }

    /// Whether anybody is told anything.
    pub fn is_heard(&self) -> bool {
        self.line.is_some()
    }

    /// Whether [stored](Self::store) descriptors are kept, where the service manager says so.
    pub fn keeps_descriptors(&self) -> Option<bool> {
        self.keeps_descriptors
    }

    /// Says that this process does what it was started for, or does so again after a reload.
    pub fn ready(&self) -> io::Result<()> {
        self.send("READY=1", None)
    }

    /// Says that the config is read again, until [`ready`](Self::ready) is said. `since` is of
    /// [`clock::monotonic`](crate::clock::monotonic), taken when that began.
    pub fn reloading(&self, since: Duration) -> io::Result<()> {
        let message = format!("RELOADING=1\nMONOTONIC_USEC={}", since.as_micros());
        self.send(&message, None)
    }

    /// Says that this process is about to end.
    pub fn stopping(&self) -> io::Result<()> {
        self.send("STOPPING=1", None)
    }

    /// Puts the kill off that comes where this is not said in time.
    pub fn watchdog(&self) -> io::Result<()> {
        self.send("WATCHDOG=1", None)
    }

    /// Has `descriptor` kept as `name` (at most 255 printable ASCII characters, no colon), for a
    /// later run of this service to inherit, for as long as the unit lets it
    /// (`FileDescriptorStoreMax=`). It is kept whatever becomes of what it stands for: `FDPOLL=0`.
    pub fn store(&self, name: &str, descriptor: &impl AsFd) -> io::Result<()> {
        let message = format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0");
        self.send(&message, Some(descriptor.as_fd()))
    }

    /// Has all descriptors called `name` kept no longer.
    pub fn discard(&self, name: &str) -> io::Result<()> {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), None)
    }

    /// Shows `text` in `systemctl status`.
    pub fn status(&self, text: &str) {
        let mut message = String::from("STATUS=");
        for character in text.chars() {
            // A line break would begin another assignment.
            let character = printable::letter(character);
            if message.len() + character.len_utf8() > LONGEST {
                break;
            }
            message.push(character);
        }
        let _ = self.send(&message, None);
    }

    fn send(&self, message: &str, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let Some(line) = &self.line else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let sent = line.send(message, descriptor);
        if let Err(error) = &sent
            && !self.has_failed.swap(true, Ordering::Relaxed)
        {
            tracing::debug!(%error, "cannot tell the service manager anything now");
        }
        sent
    }
}

impl Line {
    fn to(name: &str) -> io::Result<Self> {
        let to = match name.strip_prefix('@') {
            Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
            None if name.starts_with('/') => SocketAddrUnix::new(name)?,
            // `vsock:`, which is for virtual machines as a whole.
            None => return Err(io::ErrorKind::Unsupported.into()),
        };
        let socket = UnixDatagram::unbound()?;
        Ok(Self { socket, to })
    }

    fn send(&self, message: &str, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if let Some(descriptor) = &descriptor {
            let rights = SendAncillaryMessage::ScmRights(std::slice::from_ref(descriptor));
            if !control.push(rights) {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
        }
        let message = [IoSlice::new(message.as_bytes())];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg_addr(&self.socket, &self.to, &message, &mut control, flags)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

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
    fn each_message_is_what_the_manager_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = notifier(path.to_str().unwrap());
        notifier.ready().unwrap();
        assert_eq!(received(&manager), "READY=1");
        notifier.reloading(Duration::from_millis(1500)).unwrap();
        assert_eq!(received(&manager), "RELOADING=1\nMONOTONIC_USEC=1500000");
        notifier.stopping().unwrap();
        assert_eq!(received(&manager), "STOPPING=1");
        notifier.watchdog().unwrap();
        assert_eq!(received(&manager), "WATCHDOG=1");
        notifier.discard("credd-state").unwrap();
        assert_eq!(received(&manager), "FDSTOREREMOVE=1\nFDNAME=credd-state");
    }

    #[test]
    fn a_descriptor_goes_along_and_what_it_stands_for_arrives() {
        use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
        use std::io::{IoSliceMut, Read, Seek};

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"kept").unwrap();
        let notifier = notifier(path.to_str().unwrap());
        notifier.store("credd-state", &file).unwrap();
        drop(file);

        let mut buffer = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(&mut buffer)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let length = recvmsg(&manager, parts, &mut control, flags).unwrap().bytes;
        assert_eq!(
            &buffer[..length],
            b"FDSTORE=1\nFDNAME=credd-state\nFDPOLL=0"
        );
        let Some(RecvAncillaryMessage::ScmRights(mut descriptors)) = control.drain().next() else {
            panic!("no descriptor");
        };
        let mut kept = std::fs::File::from(descriptors.next().unwrap());
        let mut text = String::new();
        kept.rewind().unwrap();
        kept.read_to_string(&mut text).unwrap();
        assert_eq!(text, "kept");
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
        // What must arrive can be said again.
        notifier.ready().unwrap_err();
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
            notifier.ready().unwrap_err();
        }
        Notifier::of(&Environment::default()).status("unheard");
    }
}
