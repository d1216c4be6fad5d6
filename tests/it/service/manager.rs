//! A service manager, played by a test: it holds the sockets, starts the real program, and hears
//! what that says.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};

use credd::os::files::write_private;

use crate::serving::eventually;
use crate::serving::program::{Place, Running};

/// What the sockets are called by the units that are shipped.
pub(super) const NAMES: &str = "http:unix:admin";

pub(super) struct Manager {
    pub(super) place: Place,
    pub(super) http: TcpListener,
    unix: UnixListener,
    admin: UnixListener,
    notify: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    /// Holds sockets for a daemon with this config.
    pub(super) fn with(config: &str) -> Self {
        let place = Place::bare();
        write_private(&place.config(), config.as_bytes()).unwrap();
        let make = |folder: &Path| {
            std::fs::create_dir(folder).unwrap();
            std::fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
        };
        make(&place.runtime());
        make(&place.runtime().join("admin"));
        let notify = UnixDatagram::bind(place.folder().join("notify")).unwrap();
        notify.set_nonblocking(true).unwrap();
        let http = TcpListener::bind("127.0.0.1:0").unwrap();
        // As the unit has it, and more than std's.
        rustix::net::listen(&http, 1024).unwrap();
        Self {
            http,
            unix: UnixListener::bind(place.socket()).unwrap(),
            admin: UnixListener::bind(place.runtime().join("admin/credd.sock")).unwrap(),
            notify,
            place,
            heard: Vec::new(),
        }
    }

    /// Starts a daemon, by default with what the units that are shipped say.
    pub(super) fn start(&self) -> Running {
        self.start_with(&[])
    }

    /// The same with other variables.
    pub(super) fn start_with(&self, variables: &[(&str, &str)]) -> Running {
        // What a program is started with goes by its three standard descriptors, so that no other
        // program that another test starts meanwhile gets any of it.
        const SCRIPT: &str = "exec 3<&0 4<&1 5<&2 0</dev/null >>\"$LOG\" 2>&1
            export LISTEN_PID=$$
            exec \"$@\"";
        let log = self.place.folder().join("log");
        let credd = self.place.credd(&["serve"]);
        let own = credd.get_envs();
        let own = own.filter_map(|(name, value)| Some((name, value?)));
        let passed = |descriptor: OwnedFd| Stdio::from(descriptor);
        let child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "sh"])
            .arg(credd.get_program())
            .args(credd.get_args())
            .env_clear()
            .envs(own)
            .env("LOG", &log)
            .env("NOTIFY_SOCKET", self.place.folder().join("notify"))
            .env("LISTEN_FDS", "3")
            .env("LISTEN_FDNAMES", NAMES)
            .envs(variables.iter().copied())
            .stdin(passed(self.http.try_clone().unwrap().into()))
            .stdout(passed(self.unix.try_clone().unwrap().into()))
            .stderr(passed(self.admin.try_clone().unwrap().into()))
            .spawn()
            .unwrap();
        Running::of(child, &log)
    }

    pub(super) fn url(&self) -> String {
        let address = self.http.local_addr().unwrap();
        format!("http://{address}/v1/credentials")
    }

    /// All that has been said so far.
    pub(super) fn heard(&mut self) -> &[String] {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.notify.recv(&mut buffer) {
            let said = String::from_utf8(buffer[..length].to_vec()).unwrap();
            self.heard.push(said);
        }
        &self.heard
    }

    /// Waits until something is said.
    #[track_caller]
    pub(super) fn hears(&mut self, what: &str) {
        eventually(&format!("{what:?} is said"), || {
            self.heard().iter().any(|it| it == what).then_some(())
        });
    }

    /// Waits until a status line has this in it.
    #[track_caller]
    pub(super) fn hears_line(&mut self, part: &str) {
        eventually(&format!("a line with {part:?} is said"), || {
            let mut heard = self.heard().iter();
            let is_it = |it: &String| it.starts_with("STATUS=") && it.contains(part);
            heard.any(is_it).then_some(())
        });
    }

    pub(super) fn forget(&mut self) {
        self.heard();
        self.heard.clear();
    }
}
