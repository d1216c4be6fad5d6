//! Unchanged SDKs fetch credentials from the real program, which gets them from an instance
//! metadata service: our own, or moto's.
//!
//! `tests/prepare` makes the folder of SDKs, and `CREDD_CLIENTS` names it.

#![expect(
    clippy::disallowed_methods,
    reason = "here other programs are waited for, and their files written"
)]

mod callers;
mod cli;
mod client;
mod daemon;
mod judge;
mod judges;
mod mfa;
mod moto;
mod relay;
mod roles;
mod stand_in;
mod systemd;
mod upstream;

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use client::{Client, Door, Sdk, Way};
use daemon::Daemon;
use moto::Moto;
use relay::Seen;
use upstream::Upstream;

type Outcome = Result<(), Box<dyn Error>>;

/// Of a set. Short, so that tests see several; long enough for a slow machine to fetch one.
const LIFETIME: Duration = Duration::from_secs(12);

/// Between two fetches of a client that waits for something to change.
const POLL: Duration = Duration::from_millis(250);

/// For a change that should come within a lifetime.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn every_sdk_fetches() {
    with_every_sdk(short_lived, |case, _, daemon| {
        let mut client = case.client(&daemon.door()?)?;
        number(&client.fetch()?).map(drop)
    });
}

#[test]
fn every_sdk_has_the_next_set_when_one_expires() {
    with_every_sdk(short_lived, |case, _, daemon| {
        let mut client = case.client(&daemon.door()?)?;
        let first = number(&client.fetch()?)?;
        fetch_until_after(first, &mut client)
    });
}

#[test]
fn every_sdk_outlasts_the_503_of_a_daemon_that_warms_up() {
    let closed = || short_lived().map(Upstream::closed);
    with_every_sdk(closed, |case, upstream, daemon| {
        let (mut door, folder) = (daemon.door()?, tempfile::tempdir()?);
        let seen = if case.way == Way::Process {
            let socket = door.runtime_directory.join("credd.sock");
            door.runtime_directory = folder.path().to_owned();
            relay::unix(&folder.path().join("credd.sock"), socket)?
        } else {
            let seen;
            (door.address, seen) = relay::tcp(door.address)?;
            seen
        };
        // The interpreter's start is none of the time that an SDK's retries have to outlast.
        daemon.freeze()?;
        let mut client = case.client(&door)?;
        client.begin_fetch()?;
        expect(&seen.recv_timeout(PATIENCE), &Ok(Seen::Connection))?;
        daemon.thaw()?;
        expect(&next_status(&seen)?, &Seen::Status(503))?;
        upstream.open();
        number(&client.end_fetch()?)?;
        let statuses = seen.try_iter().filter(|seen| *seen != Seen::Connection);
        expect(&statuses.last(), &Some(Seen::Status(200)))
    });
}

#[test]
fn every_sdk_fails_soon_with_a_wrong_token() {
    with_every_sdk(short_lived, |case, _, daemon| {
        if case.way == Way::Process {
            return Ok(()); // shows no token
        }
        let (mut door, folder) = (daemon.door()?, tempfile::tempdir()?);
        door.token = "0".repeat(door.token.len());
        door.token_file = folder.path().join("token");
        std::fs::write(&door.token_file, &door.token)?;
        let seen;
        (door.address, seen) = relay::tcp(door.address)?;
        let mut client = case.client(&door)?;
        let begun = Instant::now();
        let outcome = client.fetch().map_err(|_| "an error");
        expect(&outcome, &Err("an error"))?;
        expect(&begun.elapsed().max(SOON), &SOON)?;
        let statuses: BTreeSet<_> = seen.try_iter().collect();
        expect(&statuses, &[Seen::Connection, Seen::Status(403)].into())
    });
}

/// SDKs retry for about 3 s whatever the error; the rest is the start of an interpreter.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn no_sdk_notices_a_restart_of_the_daemon() {
    with_every_sdk(short_lived, |case, upstream, daemon| {
        let mut client = case.client(&daemon.door()?)?;
        number(&client.fetch()?)?;
        daemon.restart()?;
        // An SDK may still hold what it had. A set that was made later, it got since.
        fetch_until_after(upstream.sets(), &mut client)
    });
}

#[test]
fn every_sdk_fetches_what_moto_gives() -> Outcome {
    let Some(tools) = tools() else { return Ok(()) };
    let moto = Moto::start(&tools)?;
    with_every_sdk(
        || Upstream::before_moto(moto.address),
        |case, _, daemon| {
            let mut client = case.client(&daemon.door()?)?;
            let expected = match case.sdk {
                // moto/sts/models.py: whoever it does not know.
                Sdk::Cli => "AKIAIOSFODNN7EXAMPLE",
                // moto/instance_metadata/responses.py
                _ => "test-key",
            };
            expect(&key(&client.fetch()?), &expected)
        },
    );
    Ok(())
}

/// One client, and how it is told of the daemon.
struct Case<'a> {
    tools: &'a Path,
    sdk: Sdk,
    way: Way,
    upstream: SocketAddr,
}

impl Case<'_> {
    /// Starts a process that goes on from fetch to fetch.
    fn client(&self, door: &Door) -> Result<Client, Box<dyn Error>> {
        Client::start(self.sdk, self.way, self.tools, door, self.upstream)
    }
}

/// Every client in the same situation, each with an upstream and a daemon of its own.
fn with_every_sdk(
    upstream: impl Fn() -> io::Result<Upstream> + Sync,
    situation: impl Fn(&Case<'_>, &Upstream, &mut Daemon) -> Outcome + Sync,
) {
    let Some(tools) = tools() else { return };
    let by_token = [Way::TokenFile, Way::TokenVariable];
    let mut cases: Vec<_> = Sdk::ALL
        .into_iter()
        .flat_map(|sdk| by_token.map(|way| (sdk, way)))
        .collect();
    cases.push((Sdk::Cli, Way::Process));
    let count = cases.len();
    let run = |sdk, way| {
        let upstream = upstream()?;
        let mut daemon = Daemon::start(upstream.address)?;
        let case = Case {
            tools: &tools,
            sdk,
            way,
            upstream: upstream.address,
        };
        situation(&case, &upstream, &mut daemon)
            .map_err(|error| daemon.with_log(&error.to_string()))
    };
    let (cases, failures) = (Mutex::new(cases.into_iter()), Mutex::new(Vec::new()));
    let next = || cases.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some((sdk, way)) = next() {
                    if let Err(error) = run(sdk, way) {
                        let failure = format!("{sdk:?} by {way:?}: {error}");
                        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                        failures.push(failure);
                    }
                }
            });
        }
    });
    let failures = failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    tell(&format!("{count} clients passed"));
}

fn short_lived() -> io::Result<Upstream> {
    Upstream::with_sets_that_live(LIFETIME)
}

/// An assertion that leaves it to the caller to say for whom it failed.
fn expect<T: PartialEq + Debug>(found: &T, expected: &T) -> Outcome {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{found:?} is not {expected:?}").into())
    }
}

/// Most of the time they wait for a set to expire.
const AT_A_TIME: usize = 3;

/// Fetches, without one failure, until there is a set made after the `last`th.
fn fetch_until_after(last: usize, client: &mut Client) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    while number(&client.fetch()?)? <= last {
        if Instant::now() > deadline {
            return Err(format!("still has set {last} after {PATIENCE:?}").into());
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn next_status(seen: &Receiver<Seen>) -> Result<Seen, Box<dyn Error>> {
    loop {
        match seen.recv_timeout(PATIENCE)? {
            Seen::Connection => {}
            status @ Seen::Status(_) => return Ok(status),
        }
    }
}

/// Which set a client has, by its answer.
fn number(answer: &str) -> Result<usize, Box<dyn Error>> {
    Upstream::number_of(key(answer))
        .ok_or_else(|| format!("`{answer}` is none of the upstream's").into())
}

/// The access key id without the region.
fn key(answer: &str) -> &str {
    answer.split_whitespace().next().unwrap_or_default()
}

fn tools() -> Option<PathBuf> {
    let tools = std::env::var_os("CREDD_CLIENTS");
    if tools.is_none() {
        tell("skipped: CREDD_CLIENTS does not name a folder that tests/prepare made");
    }
    tools.map(PathBuf::from)
}

#[expect(
    clippy::print_stderr,
    reason = "a skipped or counted suite is news to whoever runs it"
)]
fn tell(news: &str) {
    eprintln!("{news}");
}
