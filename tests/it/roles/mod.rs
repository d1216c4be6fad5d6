//! Identities that are derived from others: by an STS that checks signatures, over real sockets,
//! by a clock that is wound by hand.

mod chains;
mod clocks;
mod endpoints;
mod files;
mod handing_out;
mod narrowing;
mod questions;
mod refusals;
mod sources;
mod traces;
mod web_identity;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use credd::aws::arn::Arn;
use credd::clock::{Clock, SharedClock};
use credd::credentials::Failure;
use credd::environment::Environment;
use credd::http::{Client, Limits, Roots, Route, Sending, Transport};
use credd::identity::IdentityName;
use credd::os::files::write_private;
use credd::providers::chain::Link;
use credd::providers::sts::Settings;
use credd::providers::{SourceIdentity, Surroundings, assume_role, keys, profile, session_token};
use credd::pulse::Pulse;
use credd::refresh::{
    Answer, Identities, Kept, Ledger, Opened, Parts, Snapshot, SnapshotReader, State,
};
use credd::secret_place::SecretPlace;
use hyper::Request;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::support::chance::Chance;
use crate::support::clock::TestClock;
use crate::support::fake_aws::{CANARY, Call, FakeAws, Reply, Role, Seen};
use crate::support::journal::Journal;
use crate::support::patience::{run, settle, until};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

const OPS: &str = "arn:aws:iam::123456789012:user/ops";
const OPS_KEY: &str = "AKIAFAKECANARYOPS1";
const OPS_SECRET: &str = "CANARY-ops/secret+of=ops";
const DEPLOY: &str = "arn:aws:iam::123456789012:role/deploy";
const BILLING: &str = "arn:aws:iam::123456789012:role/billing";

const ENDPOINT_URL: &str = "AWS_ENDPOINT_URL_STS";
const CONFIG_FILE: &str = "AWS_CONFIG_FILE";

/// An AWS in which `ops` may assume `deploy`, whose sessions may assume `billing`, and all that
/// surrounds a daemon.
struct Ground {
    clock: Arc<TestClock>,
    aws: FakeAws,
    folder: TempDir,
    variables: BTreeMap<String, String>,
    roots: Roots,
}

impl Ground {
    async fn new() -> Self {
        let clock = TestClock::new();
        let aws = FakeAws::start(&clock).await;
        Self::with(clock, aws)
    }

    /// With STS behind TLS, by a certificate for 127.0.0.1 that nobody is told of.
    async fn with_tls(acceptor: TlsAcceptor) -> Self {
        let clock = TestClock::new();
        let aws = FakeAws::start_with_tls(&clock, acceptor).await;
        Self::with(clock, aws)
    }

    fn with(clock: Arc<TestClock>, aws: FakeAws) -> Self {
        aws.user(OPS_KEY, OPS_SECRET, OPS);
        aws.role(Role::new(DEPLOY).trusting(OPS));
        aws.role(Role::new(BILLING).trusting(DEPLOY));
        let ground = Self {
            clock,
            folder: tempfile::tempdir().unwrap(),
            variables: BTreeMap::new(),
            roots: Roots::System,
            aws,
        };
        let url = ground.aws.url();
        ground.set(ENDPOINT_URL, url)
    }

    fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    /// Writes a file that is its owner's alone.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        let _ = std::fs::remove_file(&path);
        write_private(&path, text.as_bytes()).unwrap();
        path
    }

    /// A profile file, which the environment names.
    fn profiles(self, text: &str) -> Self {
        let path = self.write("config", text);
        self.set(CONFIG_FILE, path.display().to_string())
    }

    /// The long-lived keys of `ops`.
    fn keys(&self) -> Link {
        let path = self.write("ops-secret", OPS_SECRET);
        Link::Keys(keys::Config {
            access_key_id: OPS_KEY.to_owned().into(),
            secret_access_key: SecretPlace::File(path),
            session_token: None,
        })
    }

    fn environment(&self) -> Arc<Environment> {
        Arc::new(self.variables.clone().into_iter().collect())
    }

    fn open(self, identities: &[(&str, Link)]) -> House {
        let journal = Journal::begin();
        let clock = Arc::clone(&self.clock) as SharedClock;
        let transport = Arc::new(Counting {
            client: Client::new(Arc::clone(&clock), [], self.roots.clone()),
            under_way: AtomicUsize::new(0),
        });
        let parts = Parts {
            surroundings: Surroundings::new(
                self.environment(),
                Arc::clone(&transport) as Arc<dyn Transport>,
                clock,
            ),
            pulse: Pulse::default(),
            draws: |name| {
                let seed = name.as_str().bytes().map(u64::from).sum();
                Box::new(Chance::new(seed))
            },
            ledger: Ledger::default(),
        };
        let named = identities
            .iter()
            .map(|(name, link)| (IdentityName::parse(name).unwrap(), vec![link.clone()]));
        let (opened, begun) = Identities::open_all(named.collect(), parts);
        let (alive, mut running) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
        running.spawn(keep(begun, Arc::clone(&alive)));
        House {
            readers: opened.readers(),
            opened,
            alive,
            transport,
            journal,
            ground: self,
            _running: running,
        }
    }
}

async fn keep(mut begun: mpsc::UnboundedReceiver<Kept>, alive: Arc<AtomicUsize>) {
    let mut running = JoinSet::new();
    while let Some(kept) = begun.recv().await {
        let alive = Arc::clone(&alive);
        running.spawn(async move {
            alive.fetch_add(1, Ordering::Relaxed);
            kept.run().await;
            alive.fetch_sub(1, Ordering::Relaxed);
        });
    }
    running.join_all().await;
}

/// The network, and how much goes on there.
#[derive(Debug)]
struct Counting {
    client: Client,
    under_way: AtomicUsize,
}

impl Transport for Counting {
    fn send(&self, request: Request<Bytes>, limits: Limits, route: Route) -> Sending<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(&self.under_way);
        let sending = self.client.send(request, limits, route);
        Box::pin(async move {
            let _counted = counted;
            sending.await
        })
    }
}

struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Identities at work.
struct House {
    ground: Ground,
    readers: BTreeMap<IdentityName, SnapshotReader>,
    opened: Opened,
    /// How many refreshers there are.
    alive: Arc<AtomicUsize>,
    transport: Arc<Counting>,
    journal: Journal,
    _running: JoinSet<()>,
}

impl std::ops::Deref for House {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.ground
    }
}

impl House {
    fn reader(&self, name: &str) -> &SnapshotReader {
        &self.readers[&IdentityName::parse(name).unwrap()]
    }

    fn snapshot(&self, name: &str) -> Arc<Snapshot> {
        Arc::clone(&self.reader(name).load())
    }

    fn state(&self, name: &str) -> State {
        self.snapshot(name).state(self.clock.now())
    }

    fn alive(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }

    /// The body that a client would get now.
    fn body(&self, name: &str) -> Option<Value> {
        match self.snapshot(name).answer(self.clock.now()) {
            Answer::Credentials(body) => Some(serde_json::from_slice(&body).unwrap()),
            Answer::Wait | Answer::Unavailable(_) => None,
        }
    }

    /// What a client would get has all the parts of one and the same session.
    fn key(&self, name: &str) -> Option<String> {
        let body = self.body(name)?;
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        let key = text("AccessKeyId");
        let sessions = self.aws.sessions();
        let session = sessions.iter().find(|session| session.key == key).unwrap();
        assert_eq!(text("SecretAccessKey"), session.secret);
        assert_eq!(text("Token"), session.token);
        assert_eq!(text("Expiration"), session.expiry.to_string());
        Some(key)
    }

    fn failure(&self, name: &str) -> Option<Failure> {
        let snapshot = self.snapshot(name);
        snapshot
            .trouble
            .as_ref()
            .map(|trouble| trouble.failure.clone())
    }

    /// Lets everything go on that needs no time, the network and files included.
    async fn quiet(&self) {
        loop {
            settle().await;
            // Files are read on other threads.
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            settle().await;
            if self.transport.under_way.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }

    /// Waits until each identity has made its first attempt, with as little time as it takes.
    async fn warm(&self) {
        for reader in self.readers.values() {
            reader.demand();
        }
        for reader in self.readers.values() {
            reader.until(|snapshot| snapshot.attempts > 0).await;
        }
        self.quiet().await;
    }

    /// Makes an attempt now, and waits for it.
    async fn refresh(&self, name: &str) {
        let before = self.snapshot(name).attempts;
        self.reader(name).refresh();
        let reader = self.reader(name);
        reader.until(|snapshot| snapshot.attempts > before).await;
        self.quiet().await;
    }

    /// Lets time pass in steps, and `look`s after each.
    async fn pass(&self, duration: Duration, step: Duration, mut look: impl FnMut(&Self)) {
        let end = self.clock.boot().after(duration);
        while self.clock.boot() < end {
            self.clock.advance(step.min(self.clock.boot().until(end)));
            self.quiet().await;
            look(self);
        }
    }

    /// The calls for a session of this role.
    fn calls_for(&self, role: &str) -> Vec<Seen> {
        let mut seen = self.aws.seen();
        seen.retain(|seen| seen.parameter("RoleArn") == Some(role));
        seen
    }
}

fn role(from: SourceIdentity, arn: &str) -> Link {
    Link::AssumeRole(config(from, arn))
}

fn config(from: SourceIdentity, arn: &str) -> assume_role::Config {
    assume_role::Config::of(from, Arn::parse(arn).unwrap())
}

fn session(from: SourceIdentity) -> Link {
    Link::SessionToken(session_token::Config {
        from,
        mfa: None,
        lifetime: None,
        settings: Settings::default(),
    })
}

fn profile(name: &str) -> Link {
    Link::Profile(profile::Config {
        profile: Some(name.to_owned()),
        ..profile::Config::default()
    })
}

fn named(name: &str) -> SourceIdentity {
    SourceIdentity::Named(IdentityName::parse(name).unwrap())
}

fn unnamed(link: Link) -> SourceIdentity {
    SourceIdentity::Unnamed(vec![link])
}

/// STS refuses each call of that kind from now on.
fn refuse(aws: &FakeAws, call: Call, status: u16, code: &'static str, message: &'static str) {
    aws.always(call, move |_| Reply::sts_error(status, code, message));
}
