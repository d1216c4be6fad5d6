//! Networks of a test's own, in which it may have any address and any port: namespaces of the
//! kernel, for which it must be root.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use credd::os::process;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::skipped;

/// A network with nothing in it but loopback. Gone when dropped.
pub(crate) struct Network {
    name: String,
}

impl Network {
    /// `None`, with a word on why, where the test may not have one.
    pub(crate) fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if process::effective_uid() != 0 {
            skipped("only root may make a network namespace");
            return None;
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("credd-{}-{count}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        match made {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                skipped(&String::from_utf8_lossy(&output.stderr));
                return None;
            }
            Err(error) => {
                skipped(&format!("cannot run ip (iproute2): {error}"));
                return None;
            }
        }
        let network = Self { name };
        network.ip("link set lo up");
        Some(network)
    }

    /// One whose loopback has these addresses too, from the unit that we ship.
    pub(crate) fn with(addresses: &[&str]) -> Option<Self> {
        const UNIT: &str = include_str!("../../../systemd/credd-address@.service");
        let network = Self::new()?;
        let start = UNIT.lines().find_map(|it| it.strip_prefix("ExecStart=ip "));
        for address in addresses {
            network.ip(&start.unwrap().replace("%I", address));
        }
        Some(network)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` inside.
    #[track_caller]
    pub(crate) fn ip(&self, words: &str) {
        let mut command = Command::new("ip");
        command
            .args(["-netns", &self.name])
            .args(words.split(' '))
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {words}: {error}");
    }

    /// Runs `test` inside, with all the threads and programs that it starts.
    pub(crate) fn run<T: Send>(&self, test: impl FnOnce() -> T + Send) -> T {
        let entered = || {
            let place = File::open(format!("/run/netns/{}", self.name)).unwrap();
            move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            test()
        };
        let outcome = thread::scope(|scope| scope.spawn(entered).join());
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .output();
    }
}
