//! What is taken over at which time, by the refreshers themselves and a clock that is wound by hand.

use std::sync::Arc;
use std::time::Duration;

use credd::aws::arn::Arn;
use credd::challenge::{Challenges, UsedCodes};
use credd::clock::{Clock, SharedClock};
use credd::credentials::Warnings;
use credd::daemon::keep;
use credd::http::{Client, Roots};
use credd::identity::IdentityName;
use credd::providers::chain::Link;
use credd::providers::session_token::{self, CodeSource, Mfa};
use credd::providers::shared_session::SharedSessions;
use credd::providers::sts::{Settings, UpstreamTime};
use credd::providers::{SourceIdentity, Surroundings, assume_role, imds, keys, profile};
use credd::pulse::Pulse;
use credd::refresh::{Identities, Ledger, Opened, Parts, SnapshotReader, State};
use credd::secret_place::SecretPlace;
use credd::state::{Contents, Keys, Marker, decode, encode};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::commands::aws::{OPS_KEY, OPS_SECRET};
use crate::support::chance::Chance;
use crate::support::clock::TestClock;
use crate::support::fake_aws::{Call, Reply};
use crate::support::patience::{run, settle, until};

const MINUTE: Duration = Duration::from_mins(1);
const TOTP: &str = "MNQW4YLSPEWWKZTHNBUWU23MNVXG64DROJZXI5LW";
const TOTP_BYTES: &[u8] = b"canary-efghijklmnopqrstuv";

struct Host {
    clock: Arc<TestClock>,
    aws: FakeAws,
    folder: TempDir,
}

/// A daemon's refreshers.
struct Process {
    opened: Opened,
    ledger: Ledger,
    sessions: SharedSessions,
    keys: Keys,
    clock: Arc<TestClock>,
    _running: JoinSet<()>,
}

fn named(links: &[(&str, Link)]) -> BTreeMap<IdentityName, Vec<Link>> {
    let named = links.iter().cloned();
    let named = named.map(|(name, link)| (IdentityName::parse(name).unwrap(), vec![link]));
    named.collect()
}

fn reader_of(opened: &Opened, name: &str) -> SnapshotReader {
    opened.readers()[&IdentityName::parse(name).unwrap()].clone()
}

fn key_of(reader: &SnapshotReader) -> Option<String> {
    let snapshot = reader.load();
    let held = snapshot.held.as_ref()?;
    Some(held.credentials().access_key_id.expose().to_owned())
}

impl Host {
    async fn new() -> Self {
        let clock = TestClock::new();
        let aws = FakeAws::start(&clock).await;
        aws.user(OPS_KEY, OPS_SECRET, OPS);
        aws.totp_device(OPS, SERIAL, TOTP_BYTES);
        aws.role(Role::new(BILLING).trusting(OPS));
        let folder = tempfile::tempdir().unwrap();
        files::write_private(&folder.path().join("secret"), OPS_SECRET.as_bytes()).unwrap();
        files::write_private(&folder.path().join("totp"), TOTP.as_bytes()).unwrap();
        Self { clock, aws, folder }
    }

    fn file(&self, name: &str) -> SecretPlace {
        SecretPlace::File(self.folder.path().join(name))
    }

    /// A role whose source is a session with codes of its own.
    fn links(&self) -> Vec<(&'static str, Link)> {
        let from = |name: &str| SourceIdentity::Named(IdentityName::parse(name).unwrap());
        let keys = keys::Config {
            access_key_id: OPS_KEY.to_owned().into(),
            secret_access_key: self.file("secret"),
            session_token: None,
        };
        let session = session_token::Config {
            from: from("ops"),
            mfa: Some(Mfa {
                serial: SERIAL.to_owned(),
                code: CodeSource::Totp(self.file("totp")),
            }),
            lifetime: None,
            settings: Settings::default(),
        };
        let role = Arn::parse(BILLING).unwrap();
        let role = assume_role::Config::of(from("ops-mfa"), role);
        vec![
            ("ops", Link::Keys(keys)),
            ("ops-mfa", Link::SessionToken(session)),
            ("billing", Link::AssumeRole(role)),
        ]
    }

    fn start(&self, links: &[(&str, Link)], contents: Contents) -> Process {
        let clock = Arc::clone(&self.clock) as SharedClock;
        let variables = [
            ("AWS_ENDPOINT_URL_STS", self.aws.url()),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", self.aws.url()),
        ];
        let environment = variables.map(|(name, value)| (name.to_owned(), value));
        let transport = Client::new(Arc::clone(&clock), [], Roots::System);
        let marker = Arc::new(Marker::new(&contents.keys.marks));
        let sessions = SharedSessions::lasting(Arc::clone(&marker), contents.sessions);
        let ledger = Ledger::lasting(marker, contents.sets);
        let used = UsedCodes::in_memory([0; 32]);
        let challenges = Challenges::new(used, Arc::clone(&clock), Warnings::default());
        let surroundings = Surroundings::new(
            Arc::new(environment.into_iter().collect()),
            Arc::new(transport),
            Arc::clone(&clock),
        );
        let parts = Parts {
            pulse: Pulse::default(),
            surroundings: Surroundings {
                shared_sessions: sessions.clone(),
                ..surroundings.with_challenges(challenges)
            },
            draws: |_| Box::new(Chance::new(1)),
            ledger: ledger.clone(),
        };
        let (opened, begun) = Identities::open_all(named(links), parts);
        let mut running = JoinSet::new();
        running.spawn(keep(begun));
        Process {
            opened,
            ledger,
            sessions,
            keys: contents.keys,
            clock: Arc::clone(&self.clock),
            _running: running,
        }
    }

    /// The first daemon, with everything obtained.
    async fn first(&self, links: &[(&str, Link)]) -> Process {
        let process = self.start(links, Contents::of(Keys::random()));
        for (name, _) in links {
            let reader = process.reader(name);
            // A first attempt that nobody waits for may be put off.
            reader.demand();
            until(|| reader.load().held.is_some()).await;
        }
        settle().await;
        process
    }
}

impl Process {
    fn reader(&self, name: &str) -> SnapshotReader {
        reader_of(&self.opened, name)
    }

    fn key(&self, name: &str) -> Option<String> {
        key_of(&self.reader(name))
    }

    /// The keys of all sets that the next process would find.
    fn left(&self) -> Vec<String> {
        let kept = self.ledger.kept(self.clock.now()).into_iter();
        let keys = kept.map(|set| set.credentials.access_key_id.expose().to_owned());
        keys.collect()
    }

    /// What it has left when it ends at once, as the next one reads it.
    fn end(self) -> Contents {
        let now = self.clock.now();
        let contents = Contents {
            sets: self.ledger.kept(now),
            sessions: self.sessions.kept(now),
            ..Contents::of(self.keys)
        };
        decode(&encode(&contents)).unwrap()
    }
}

#[test]
fn a_set_that_was_made_for_us_keeps_its_schedule() {
    run(async || {
        let host = Host::new().await;
        let links = host.links();
        let first = host.first(&links).await;
        let before = first.reader("billing").load().clone();
        let calls = host.aws.calls();
        let second = host.start(&links, first.end());
        let reader = second.reader("billing");
        until(|| reader.load().held.is_some()).await;
        let after = reader.load().clone();
        assert_eq!(after.due, before.due);
        assert_eq!(after.next_attempt, before.next_attempt);
        assert_eq!(after.state(host.clock.now()), State::Fresh);
        settle().await;
        assert_eq!(host.aws.calls(), calls);
        // And when that time has come, one is made of a source that was restored as well.
        host.clock.advance_to(after.due.unwrap());
        until(|| reader.load().attempts > after.attempts).await;
        assert_eq!(host.aws.calls(), calls + 1);
        assert_eq!(host.aws.count(Call::AssumeRole), 2);
    });
}

#[test]
fn a_wall_clock_that_was_set_back_meanwhile_puts_nothing_off() {
    run(async || {
        let host = Host::new().await;
        let links = host.links();
        let first = host.first(&links).await;
        let due = first.reader("billing").load().due;
        let contents = first.end();
        host.clock.step_back(Duration::from_hours(10));
        let second = host.start(&links, contents);
        let reader = second.reader("billing");
        until(|| reader.load().held.is_some()).await;
        assert_eq!(reader.load().due, due);
    });
}

#[test]
fn what_has_expired_meanwhile_is_obtained_anew() {
    run(async || {
        let host = Host::new().await;
        let links = host.links();
        let first = host.first(&links).await;
        let (key, session) = (first.key("billing"), first.key("ops-mfa"));
        let contents = first.end();
        host.clock.advance(Duration::from_hours(1));
        let second = host.start(&links, contents);
        second.reader("billing").demand();
        until(|| second.key("billing").is_some()).await;
        assert_ne!(second.key("billing"), key);
        // Which lasts for twelve hours.
        assert_eq!(second.key("ops-mfa"), session);
    });
}

#[test]
fn a_set_of_instance_metadata_is_served_at_once_and_looked_at_anew() {
    run(async || {
        let host = Host::new().await;
        let links = [("default", Link::InstanceMetadata(imds::Config::default()))];
        let first = host.first(&links).await;
        let key = first.key("default");
        let asked = host.aws.count(Call::Role);
        let second = host.start(&links, first.end());
        until(|| host.aws.count(Call::Role) > asked).await;
        assert_eq!(second.key("default"), key);
        settle().await;
        assert_eq!(host.aws.count(Call::Role), asked + 1);

        // In an outage, and beyond the end of the set.
        let contents = second.end();
        host.aws.always(Call::Role, |_| Reply::status(500));
        host.aws.always(Call::List, |_| Reply::status(500));
        host.clock.advance(Duration::from_hours(7));
        let third = host.start(&links, contents);
        let reader = third.reader("default");
        until(|| reader.load().trouble.is_some()).await;
        assert_eq!(third.key("default"), key);
        assert_eq!(reader.load().state(host.clock.now()), State::Stale);
        assert!(reader.load().is_served(host.clock.now()));
    });
}

#[test]
fn what_was_taken_over_is_obtained_anew_once_a_file_that_decides_it_has_changed() {
    run(async || {
        let host = Host::new().await;
        let policy = host.folder.path().join("policy.json");
        let write = |number: usize| {
            let text = format!("{{\"Version\":\"2012-10-17\",\"Id\":\"{number:09}\"}}");
            files::write_private(&policy, text.as_bytes()).unwrap();
        };
        write(0);
        let mut links = host.links();
        if let Link::AssumeRole(config) = &mut links[2].1 {
            config.session_policy = Some(policy.clone());
        }
        let first = host.first(&links).await;
        let second = host.start(&links, first.end());
        let (role, session) = (second.reader("billing"), second.reader("ops-mfa"));
        until(|| role.load().held.is_some() && session.load().held.is_some()).await;
        let due = role.load().due.unwrap();
        let assumed = host.aws.count(Call::AssumeRole);
        // More than once, since what is there at the first look is what it has always been.
        for number in 1.. {
            write(number);
            host.clock.advance(Duration::from_secs(6));
            settle().await;
            // Files are looked at by another thread.
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            settle().await;
            if host.aws.count(Call::AssumeRole) > assumed {
                break;
            }
            assert!(host.clock.boot().after(MINUTE) < due, "nobody has looked");
        }
        // What the role is derived from is as it was.
        assert_eq!(session.load().attempts, 1);
    });
}

#[test]
fn a_session_is_found_by_its_owner_though_its_set_means_something_else_by_now() {
    run(async || {
        let host = Host::new().await;
        let mut links = host.links();
        let first = host.first(&links).await;
        let (key, calls) = (first.key("ops-mfa"), host.aws.count(Call::GetSessionToken));
        let contents = first.end();
        if let Link::SessionToken(config) = &mut links[1].1 {
            config.lifetime = Some(Duration::from_hours(2));
        }
        let second = host.start(&links, contents);
        second.reader("ops-mfa").demand();
        until(|| second.key("ops-mfa").is_some()).await;
        assert_eq!(second.key("ops-mfa"), key);
        assert_eq!(host.aws.count(Call::GetSessionToken), calls);
    });
}

#[test]
fn a_session_that_nobody_has_used_since_a_restart_can_be_forgotten() {
    run(async || {
        let host = Host::new().await;
        let links = host.links();
        let first = host.first(&links).await;
        let key = first.key("ops-mfa");
        let second = host.start(&links, first.end());
        let reader = second.reader("ops-mfa");
        until(|| reader.load().held.is_some()).await;
        assert_eq!(second.sessions.kept(host.clock.now()).len(), 1);
        reader.forget();
        until(|| reader.load().held.is_none()).await;
        assert!(second.sessions.kept(host.clock.now()).is_empty());
        let sets = second.ledger.kept(host.clock.now());
        let session = sets
            .iter()
            .filter(|set| Some(set.credentials.access_key_id.expose()) == key.as_deref());
        assert_eq!(session.count(), 0);
        // The next code is one that has not been used.
        host.clock.advance(MINUTE);
        reader.demand();
        until(|| second.key("ops-mfa").is_some()).await;
        assert_ne!(second.key("ops-mfa"), key);
    });
}

#[test]
fn an_identity_that_is_gone_leaves_nothing() {
    run(async || {
        let host = Host::new().await;
        let links = host.links();
        let first = host.first(&links).await;
        let (ledger, now) = (first.ledger.clone(), host.clock.now());
        assert_eq!(ledger.kept(now).len(), 2);
        drop(first);
        until(|| ledger.kept(now).is_empty()).await;
    });
}

#[test]
fn the_time_of_aws_is_what_it_was_however_this_host_is_set_meanwhile() {
    let clock = TestClock::new();
    let at_boot = clock.now().unix_millis() + 3_600_000;
    let before = UpstreamTime::lasting(Some(at_boot), &*clock);
    let known = before.at_boot(&*clock).unwrap();
    assert_eq!(known, at_boot);
    clock.advance(MINUTE);
    clock.step_forward(Duration::from_hours(5));
    let after = UpstreamTime::lasting(Some(known), &*clock);
    assert_eq!(after.at_boot(&*clock), Some(at_boot));
    assert_eq!(UpstreamTime::lasting(None, &*clock).at_boot(&*clock), None);
}

#[test]
fn what_cannot_be_judged_now_is_left_for_later_and_can_be_forgotten() {
    run(async || {
        let host = Host::new().await;
        let links = host.links();
        let first = host.first(&links).await;
        let (key, contents) = (first.key("billing"), first.end());
        let secret = host.folder.path().join("secret");
        let aside = host.folder.path().join("aside");
        std::fs::rename(&secret, &aside).unwrap();
        // Nobody can tell whether the keys are the same.
        let second = host.start(&links, contents);
        second.reader("ops").demand();
        until(|| second.reader("ops").load().trouble.is_some()).await;
        assert_eq!(second.key("billing"), None);
        let contents = second.end();
        assert_eq!(contents.sets.len(), 2);
        std::fs::rename(&aside, &secret).unwrap();
        let third = host.start(&links, contents);
        until(|| third.key("billing").is_some()).await;
        assert_eq!(third.key("billing"), key);

        let contents = third.end();
        std::fs::rename(&secret, &aside).unwrap();
        let fourth = host.start(&links, contents);
        fourth.reader("billing").forget();
        until(|| fourth.ledger.kept(host.clock.now()).len() == 1).await;
    });
}

#[test]
fn a_reload_that_is_refused_uses_up_nothing_that_an_earlier_run_has_left() {
    run(async || {
        let host = Host::new().await;
        let links = host.links();
        let first = host.first(&links).await;
        let [role, session] = ["billing", "ops-mfa"].map(|name| first.key(name).unwrap());
        let contents = first.end();
        let calls = host.aws.calls();
        // Somebody has left them out of the config for a while.
        let second = host.start(&[], contents);
        let mut otherwise = links.clone();
        if let Link::AssumeRole(config) = &mut otherwise[2].1 {
            config.lifetime = Some(15 * MINUTE);
        }
        for (refused, takes_it) in [(&links, true), (&otherwise, false), (&links, true)] {
            let refused = second.opened.reopened(named(refused));
            let reader = reader_of(&refused, "billing");
            reader.demand();
            until(|| reader.load().held.is_some()).await;
            assert_eq!(key_of(&reader).as_deref() == Some(&role), takes_it);
            drop((refused, reader));
            settle().await;
            let left = second.left();
            assert!(left.contains(&role) && left.contains(&session), "{left:?}");
        }
        assert_eq!(host.aws.calls(), calls + 1);
        let applied = second.opened.reopened(named(&links));
        applied.put_in_force();
        let reader = reader_of(&applied, "billing");
        until(|| reader.load().held.is_some()).await;
        assert_eq!(key_of(&reader).as_ref(), Some(&role));
        settle().await;
        assert_eq!(host.aws.calls(), calls + 1);
        // What a reload that was not refused has ended leaves nothing.
        drop((applied, reader));
        settle().await;
        assert_eq!(second.left(), Vec::<String>::new());
    });
}

#[test]
fn a_session_without_a_name_that_nobody_has_used_since_a_restart_is_forgotten_with_its_role() {
    for is_of_a_profile in [false, true] {
        run(async move || {
            let host = Host::new().await;
            let mut links = host.links();
            let (_, session) = links.remove(1);
            let role = Arn::parse(BILLING).unwrap();
            links[1].1 = if is_of_a_profile {
                let text = format!(
                    "[profile billing]\nrole_arn = {BILLING}\nsource_profile = ops\n\
                     mfa_serial = {SERIAL}\nregion = us-east-1\n[profile ops]\n\
                     aws_access_key_id = {OPS_KEY}\naws_secret_access_key = {OPS_SECRET}\n"
                );
                let file = host.folder.path().join("config");
                files::write_private(&file, text.as_bytes()).unwrap();
                Link::Profile(profile::Config {
                    profile: Some("billing".to_owned()),
                    config_file: Some(file),
                    mfa_code: CodeSource::Totp(host.file("totp")),
                    ..profile::Config::default()
                })
            } else {
                let from = SourceIdentity::Unnamed(vec![session]);
                Link::AssumeRole(assume_role::Config::of(from, role))
            };
            let first = host.first(&links).await;
            let key = first.key("billing");
            let second = host.start(&links, first.end());
            let reader = second.reader("billing");
            until(|| reader.load().held.is_some()).await;
            assert_eq!(second.key("billing"), key);
            let sessions = host.aws.count(Call::GetSessionToken);
            reader.forget();
            until(|| reader.load().held.is_none()).await;
            settle().await;
            // The next code is one that has not been used.
            host.clock.advance(MINUTE);
            reader.demand();
            until(|| reader.load().held.is_some()).await;
            assert_ne!(second.key("billing"), key);
            assert_eq!(host.aws.count(Call::GetSessionToken), sessions + 1);
        });
    }
}
