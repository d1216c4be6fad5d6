//! Callers as the kernel knows them, over real sockets, and those who would pass for somebody else.
//!
//! What takes other users, process ids of choice or mounts takes root, and says so where it is
//! skipped. `CREDD_RACES` and `CREDD_REUSES` make the counts as large as one likes.

#![expect(
    clippy::disallowed_methods,
    reason = "here counts come from the environment, and programs are run by hand"
)]

mod attribution;
mod inside;
mod matrix;
mod needs;
mod processes;
mod python;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use credd::authz::{Conditions, ListenerName, Opening, Opens, Rule, RuleName};
use credd::clock::{SharedClock, SystemClock};
use credd::config::Config;
use credd::environment::Environment;
use credd::identity::IdentityName;
use credd::os::process;
use credd::providers::chain::Link;
use credd::providers::container;
use credd::serve::Limits;
use rustix::process::{Gid, Uid};
use rustix::thread as this_thread;

use crate::serving::daemon::{self, InProcess};
use crate::serving::skipped;
use crate::serving::upstream::{self, Upstream};

/// Two users who own nothing here, with a group each of the same number.
pub(crate) const ALICE: u32 = 61001;
pub(crate) const BOB: u32 = 61002;

/// What each of them gets.
pub(crate) const ALICES: &str = "ASIAALICE00000000001";
pub(crate) const BOBS: &str = "ASIABOB0000000000001";

pub(crate) const GET: &str = "GET /v1/credentials HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A daemon that has an identity for each of several callers, and its upstreams.
pub(crate) struct World {
    pub(crate) daemon: InProcess,
    _upstreams: Vec<Upstream>,
}

impl World {
    /// Whoever meets the conditions gets the identity of that name, which has that key.
    pub(crate) fn new(address: &str, openings: Vec<(&str, &str, Conditions)>) -> Self {
        Self::by(Arc::new(SystemClock::new()), address, openings)
    }

    fn by(clock: SharedClock, address: &str, openings: Vec<(&str, &str, Conditions)>) -> Self {
        let expiry = clock.now().plus(Duration::from_hours(6));
        let (mut allow, mut upstreams) = (Vec::new(), Vec::new());
        let mut identities = std::collections::BTreeMap::new();
        for (position, (name, key, caller)) in (1..).zip(openings) {
            let name = IdentityName::parse(name).unwrap();
            let mut answer = upstream::credentials(expiry);
            answer.body = answer.body.replace(upstream::KEY, key);
            let upstream = Upstream::answering(answer);
            let link = Link::Container(container::Config {
                uri: Some(upstream.uri("/")),
                ..container::Config::default()
            });
            identities.insert(name.clone(), vec![link]);
            upstreams.push(upstream);
            allow.push(rule(position, caller, name));
        }
        let mut config = Config {
            allow,
            ..daemon::config(identities, address)
        };
        // What is counted here is who gets what, not how much.
        config.serve.limits = Limits {
            connections: 100_000,
            requests_per_second: 1_000_000,
        };
        let daemon = InProcess::with(clock, config, Environment::default()).warm();
        Self {
            daemon,
            _upstreams: upstreams,
        }
    }

    /// One identity on the Unix socket, which lies open for everybody to be refused.
    pub(crate) fn opening_to(caller: Conditions) -> Self {
        Self::opening_by(Arc::new(SystemClock::new()), caller)
    }

    fn opening_by(clock: SharedClock, caller: Conditions) -> Self {
        let world = Self::by(clock, "127.0.0.1:0", vec![("alice", ALICES, caller)]);
        world.open_the_door();
        world
    }

    pub(crate) fn open_the_door(&self) {
        let open = |path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        open(self.daemon.directory(), 0o755);
        open(&self.daemon.socket(), 0o666);
    }
}

pub(crate) fn rule(position: usize, caller: Conditions, identity: IdentityName) -> Rule {
    Rule {
        name: RuleName::of_config(position),
        caller,
        opens: Opens::Only(vec![Opening::of(identity)]),
    }
}

/// On TCP without a token too.
pub(crate) fn user(uid: u32) -> Conditions {
    Conditions {
        user: Some(uid),
        tcp_without_token: true,
        ..Conditions::default()
    }
}

/// Those who come by the Unix socket, whoever they are.
pub(crate) fn on_unix() -> Conditions {
    Conditions {
        listener: Some(ListenerName::unix()),
        ..Conditions::default()
    }
}

/// A daemon with an identity for each of the two.
pub(crate) fn two_users(address: &str) -> World {
    let world = World::new(
        address,
        vec![("alice", ALICES, user(ALICE)), ("bob", BOBS, user(BOB))],
    );
    world.open_the_door();
    world
}

/// Does something on a thread that is another user, as far as the kernel is asked.
pub(crate) fn as_user<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    uid: u32,
    groups: &'scope [u32],
    act: impl FnOnce() -> T + Send + 'scope,
) -> ScopedJoinHandle<'scope, T> {
    scope.spawn(move || {
        let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        this_thread::set_thread_groups(&groups).unwrap();
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
        this_thread::set_thread_res_gid(gid, gid, gid).unwrap();
        this_thread::set_thread_res_uid(uid, uid, uid).unwrap();
        act()
    })
}

pub(crate) fn is_root() -> bool {
    let is_root = process::is_root();
    if !is_root {
        skipped("needs root");
    }
    is_root
}

/// A count that the environment may set.
fn count(variable: &str, usual: usize) -> usize {
    let set = std::env::var(variable).ok();
    set.map_or(usual, |text| text.parse().unwrap())
}

/// In all; CI runs this share of the 100,000 of the named run.
pub(crate) fn races() -> usize {
    count("CREDD_RACES", 2000)
}

#[expect(clippy::print_stderr, reason = "figures are what these are run for")]
pub(crate) fn tell(figure: &str) {
    eprintln!("{figure}");
}
