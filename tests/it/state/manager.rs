//! A service manager, as far as it keeps descriptors: what a program stores is handed to the next.

use std::cell::RefCell;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use credd::os::lasting_memory::{LastingMemory, SIZE};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tempfile::TempDir;

/// What the descriptors of a program that has some handed over begin with (`sd_listen_fds(3)`).
const FIRST: RawFd = 3;

/// Above all that are handed over, so that none is overwritten before it has been.
const ABOVE: RawFd = 100;

pub(super) struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
    stored: RefCell<Vec<(String, OwnedFd)>>,
    said: RefCell<Vec<String>>,
}

impl Manager {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self {
            folder,
            socket,
            stored: RefCell::default(),
            said: RefCell::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    /// Does what has been said since the last look.
    pub(super) fn listen(&self) {
        while let Some((message, descriptors)) = self.receive() {
            let name = message
                .lines()
                .find_map(|line| line.strip_prefix("FDNAME="))
                .unwrap_or("stored");
            let mut stored = self.stored.borrow_mut();
            if message.lines().any(|line| line == "FDSTOREREMOVE=1") {
                stored.retain(|(it, _)| it != name);
            }
            if message.lines().any(|line| line == "FDSTORE=1") {
                stored.extend(descriptors.into_iter().map(|it| (name.to_owned(), it)));
            }
            self.said.borrow_mut().push(message);
        }
    }

    fn receive(&self) -> Option<(String, Vec<OwnedFd>)> {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let buffers = &mut [IoSliceMut::new(&mut bytes)];
        let received = recvmsg(&self.socket, buffers, &mut control, flags).ok()?;
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        let message = String::from_utf8(bytes[..received.bytes].to_vec()).unwrap();
        Some((message, descriptors))
    }

    /// How often a message with this line has come.
    pub(super) fn has_said(&self, line: &str) -> usize {
        self.listen();
        let said = self.said.borrow();
        said.iter()
            .filter(|it| it.lines().any(|it| it == line))
            .count()
    }

    /// What is stored by each name.
    pub(super) fn names(&self) -> Vec<String> {
        self.listen();
        let stored = self.stored.borrow();
        stored.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Puts something in the place of all that is stored.
    pub(super) fn store(&self, name: &str, descriptors: Vec<OwnedFd>) {
        self.listen();
        let stored = descriptors.into_iter().map(|it| (name.to_owned(), it));
        self.stored.replace(stored.collect());
    }

    /// Another descriptor for what is stored.
    pub(super) fn descriptor(&self) -> OwnedFd {
        self.listen();
        let stored = self.stored.borrow();
        let [(_, descriptor)] = &stored[..] else {
            panic!("{} are stored", stored.len());
        };
        descriptor.try_clone().unwrap()
    }

    /// What is stored, mapped.
    pub(super) fn memory(&self) -> LastingMemory {
        LastingMemory::adopt(&self.descriptor()).unwrap()
    }

    /// All bytes of what is stored.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.memory().read(0, SIZE).to_vec()
    }

    /// The same command, as this manager starts it.
    pub(super) fn start(&self, command: &Command) -> Command {
        self.listen();
        let stored = self.stored.borrow();
        let above = |it: &(String, OwnedFd)| rustix::io::fcntl_dupfd_cloexec(&it.1, ABOVE);
        let handed: Vec<OwnedFd> = stored.iter().map(|it| above(it).unwrap()).collect();
        let names: Vec<&str> = stored.iter().map(|(name, _)| name.as_str()).collect();
        // The number of a process is known to that process first.
        let script = "LISTEN_PID=$$; export LISTEN_PID; exec \"$@\"";
        let mut started = Command::new("/bin/sh");
        started
            .args(["-c", script, "sh"])
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .env("NOTIFY_SOCKET", self.path())
            .stdin(Stdio::null());
        if !handed.is_empty() {
            started
                .env("LISTEN_FDS", handed.len().to_string())
                .env("LISTEN_FDNAMES", names.join(":"));
        }
        for (name, value) in command.get_envs() {
            started.env(name, value.unwrap_or_default());
        }
        // SAFETY: dup2 may be called between fork and exec, and touches no memory.
        #[expect(unsafe_code, reason = "descriptors with given numbers")]
        unsafe {
            started.pre_exec(move || {
                for (descriptor, number) in handed.iter().zip(FIRST..) {
                    if libc::dup2(descriptor.as_raw_fd(), number) < 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        started
    }
}

/// Numbers that would be overwritten in a program with descriptors handed over, where it is about
/// to be started, are given to nobody in this process.
pub(super) fn reserve_numbers() {
    loop {
        let descriptor = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        if descriptor.as_raw_fd() > FIRST + 8 {
            return;
        }
        std::mem::forget(descriptor);
    }
}
