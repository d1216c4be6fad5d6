//! Sessions with MFA: asked for, renewed, shared and lapsed, against an STS that counts.

mod asking;
mod by_itself;
mod daemon;
mod days;
mod sharing;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use credd::aws::arn::Arn;
use credd::challenge::{
    Accepted, Announcement, Challenges, Kind, MfaCode, NotAccepted, UsedCodes, Warning,
};
use credd::clock::{Clock, SharedClock, Timestamp};
use credd::credentials::{Failure, FailureClass, Warnings};
use credd::daemon::keep;
use credd::environment::Environment;
use credd::http::{Client, Roots};
use credd::identity::IdentityName;
use credd::os::files;
use credd::program::Command;
use credd::providers::chain::Link;
use credd::providers::session_token::{self, CodeSource, Mfa};
use credd::providers::sts::Settings;
use credd::providers::{SourceIdentity, Surroundings, assume_role, keys, profile};
use credd::pulse::Pulse;
use credd::refresh::{Answer, Identities, Ledger, Opened, Parts, SnapshotReader};
use credd::secret_place::SecretPlace;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;
use tokio::task::JoinSet;

use crate::support::chance::Chance;
use crate::support::clock::TestClock;
use crate::support::fake_aws::{Call, FakeAws, Role};
use crate::support::journal::Journal;
use crate::support::patience::{settle, until};
use crate::support::sinks;

const KEY: &str = "AKIAFAKEUSER0001";
const OTHER_KEY: &str = "AKIAFAKEUSER0002";
const SECRET: &str = "CANARY-ops";
const OPS: &str = "arn:aws:iam::123456789012:user/ops";
const SERIAL: &str = "arn:aws:iam::123456789012:mfa/ops";
const DEPLOY: &str = "arn:aws:iam::123456789012:role/deploy";
const BILLING: &str = "arn:aws:iam::123456789012:role/billing";

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

fn code(digits: &str) -> MfaCode {
    sinks::secret(digits);
    MfaCode::parse(digits).unwrap()
}

fn name(text: &str) -> IdentityName {
    IdentityName::parse(text).unwrap()
}

fn named(identity: &str) -> SourceIdentity {
    SourceIdentity::Named(name(identity))
}

/// A session of the keys of `from`, whose device's codes come in that way.
fn session(from: &str, code: CodeSource) -> Link {
    Link::SessionToken(session_token::Config {
        from: named(from),
        mfa: Some(Mfa {
            serial: SERIAL.to_owned(),
            code,
        }),
        lifetime: None,
        settings: Settings::default(),
    })
}

fn role(from: &str, arn: &str) -> Link {
    Link::AssumeRole(assume_role::Config::of(
        named(from),
        Arn::parse(arn).unwrap(),
    ))
}

/// An AWS with a user who has a device, and two roles that ask for it.
async fn aws(clock: &Arc<TestClock>) -> FakeAws {
    let aws = FakeAws::start(clock).await;
    aws.user(KEY, SECRET, OPS);
    aws.user(OTHER_KEY, SECRET, OPS);
    aws.mfa_device(OPS, SERIAL);
    for arn in [DEPLOY, BILLING] {
        aws.role(Role::new(arn).trusting(OPS).requiring_mfa());
    }
    aws
}

/// The host of a daemon: its folder, where also secrets and scripts are, and its environment.
struct Host {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

impl Host {
    fn asking(url: &str) -> Self {
        let host = Self {
            folder: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        };
        host.set("AWS_ENDPOINT_URL_STS", url)
            .set("AWS_REGION", "us-east-1")
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn environment(&self) -> Environment {
        self.variables.iter().cloned().collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Keys in a file of that name.
    fn keys(&self, key: &str, file: &str) -> Link {
        Link::Keys(keys::Config {
            access_key_id: key.to_owned().into(),
            secret_access_key: self.secret(file, SECRET),
            session_token: None,
        })
    }

    fn secret(&self, file: &str, text: &str) -> SecretPlace {
        files::write_private(&self.path(file), text.as_bytes()).unwrap();
        SecretPlace::File(self.path(file))
    }

    fn script(&self, text: &str) -> Command {
        let path = self.path("script");
        files::write_private(&path, format!("#!/bin/sh\n{text}\n").as_bytes()).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        Command::Arguments(vec![path.to_str().unwrap().to_owned()])
    }
}

fn text(path: &Path) -> String {
    let text = files::read_text_now(path, 100_000);
    text.map(|text| text.to_string()).unwrap_or_default()
}

/// Identities at work.
struct Bench {
    clock: Arc<TestClock>,
    aws: FakeAws,
    host: Host,
    challenges: Arc<Challenges>,
    announcements: Receiver<Announcement>,
    readers: BTreeMap<IdentityName, SnapshotReader>,
    journal: Journal,
    opened: Opened,
    _running: JoinSet<()>,
}

impl Bench {
    /// Keys, a session of them, and two roles by way of that.
    async fn usual() -> Self {
        let clock = TestClock::new();
        let aws = aws(&clock).await;
        let host = Host::asking(&aws.url());
        let identities = [
            ("ops", host.keys(KEY, "secret")),
            ("ops-mfa", session("ops", CodeSource::Ask)),
            ("deploy", role("ops-mfa", DEPLOY)),
            ("billing", role("ops-mfa", BILLING)),
        ];
        Self::with(clock, aws, host, identities).await
    }

    /// The same with a session in hand, by the code 000000.
    async fn answered() -> Self {
        let mut bench = Self::usual().await;
        bench.codes(&["000000"]);
        bench.answer(None, "000000").await.unwrap();
        bench.served("deploy").await;
        bench.served("billing").await;
        assert_eq!(bench.announced(), [Kind::Asked, Kind::Answered]);
        bench
    }

    async fn with<const COUNT: usize>(
        clock: Arc<TestClock>,
        aws: FakeAws,
        host: Host,
        identities: [(&str, Link); COUNT],
    ) -> Self {
        let journal = Journal::begin();
        let shared = Arc::clone(&clock) as SharedClock;
        let used = UsedCodes::load(host.path("used-codes"), [7; 32], clock.boot());
        let challenges = Challenges::new(used, Arc::clone(&shared), Warnings::default());
        let announcements = challenges.announcements();
        let transport = Client::new(Arc::clone(&shared), [], Roots::System);
        let surroundings =
            Surroundings::new(Arc::new(host.environment()), Arc::new(transport), shared)
                .with_challenges(Arc::clone(&challenges));
        let identities = identities.map(|(identity, link)| (name(identity), vec![link]));
        let parts = Parts {
            surroundings,
            draws: |_| Box::new(Chance::new(1)),
            pulse: Pulse::default(),
            ledger: Ledger::default(),
        };
        let (opened, begun) = Identities::open_all(identities.into(), parts);
        let mut running = JoinSet::new();
        running.spawn(keep(begun));
        let bench = Self {
            clock,
            aws,
            host,
            challenges,
            announcements,
            readers: opened.readers(),
            journal,
            opened,
            _running: running,
        };
        for reader in bench.readers.values() {
            reader.demand();
        }
        for reader in bench.readers.values() {
            reader.until(|snapshot| snapshot.attempts > 0).await;
        }
        bench
    }

    fn reader(&self, identity: &str) -> &SnapshotReader {
        &self.readers[&name(identity)]
    }

    fn codes(&self, codes: &[&str]) {
        self.aws.mfa_codes(SERIAL, codes);
    }

    /// A person types a code.
    async fn answer(&self, which: Option<&str>, digits: &str) -> Result<Accepted, NotAccepted> {
        self.challenges.answer(which, code(digits)).await
    }

    /// What was announced since the last look.
    fn announced(&mut self) -> Vec<Kind> {
        std::iter::from_fn(|| self.announcements.try_recv().ok())
            .map(|announcement| announcement.kind)
            .collect()
    }

    /// The key that a client would get now.
    fn key(&self, identity: &str) -> Option<String> {
        match self.reader(identity).load().answer(self.clock.now()) {
            Answer::Credentials(body) => {
                let body: Value = serde_json::from_slice(&body).unwrap();
                Some(body["AccessKeyId"].as_str().unwrap().to_owned())
            }
            Answer::Wait | Answer::Unavailable(_) => None,
        }
    }

    /// Why a client gets nothing now.
    fn failure(&self, identity: &str) -> Failure {
        match self.reader(identity).load().answer(self.clock.now()) {
            Answer::Unavailable(failure) => failure.clone(),
            other => panic!("{identity}: {other:?}"),
        }
    }

    async fn served(&self, identity: &str) -> String {
        until(|| self.key(identity).is_some()).await;
        self.key(identity).unwrap()
    }

    /// When the session in hand of `ops-mfa` ends.
    fn ends(&self) -> Timestamp {
        self.reader("ops-mfa").load().held.as_ref().unwrap().ends()
    }

    /// Winds the clock to so long before `instant`, minute by minute, through all that comes due.
    async fn wind_until(&self, left: Duration, instant: Timestamp) {
        let target = instant.minus(left);
        while self.clock.now() < target {
            let step = MINUTE.min(self.clock.now().until(target));
            self.clock.advance(step);
            self.quiet().await;
        }
    }

    /// Waits until every attempt that is due has been made.
    async fn quiet(&self) {
        settle().await;
        for reader in self.readers.values() {
            let boot = self.clock.boot();
            until(|| reader.load().due.is_none_or(|due| due > boot)).await;
        }
        settle().await;
    }

    fn sessions(&self) -> usize {
        self.aws.count(Call::GetSessionToken)
    }
}
