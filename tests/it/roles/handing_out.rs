//! What clients of a daemon get of derived identities and of those that they are derived from.

use std::sync::atomic::AtomicUsize;

use credd::config::Config;
use credd::daemon::{Daemon, runtime_directory};
use credd::os::{files, process};
use credd::serve::Site;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::*;
use crate::support::news::tell;

/// A daemon over real sockets.
pub(super) struct Served {
    pub(super) ground: Ground,
    address: String,
    token: String,
    pub(super) journal: Journal,
    /// What is served.
    pub(super) site: Arc<Site>,
    _running: JoinSet<()>,
}

impl Served {
    async fn start(ground: Ground, identities: &[(&str, Link)]) -> Self {
        let named = identities
            .iter()
            .map(|(name, link)| (IdentityName::parse(name).unwrap(), vec![link.clone()]));
        let config = Config {
            identities: named.collect(),
            ..Config::default()
        };
        Self::of_config(ground, config).await
    }

    /// On any port.
    pub(super) async fn of_config(ground: Ground, mut config: Config) -> Self {
        config.serve.http = vec!["127.0.0.1:0".parse().unwrap()];
        // What is counted here is what AWS is asked, not what one user may ask.
        config.serve.limits.connections = 2000;
        let journal = Journal::begin();
        let directory = ground.folder.path().join("run");
        let daemon = Daemon::start(credd::daemon::Parts {
            config_file: None,
            confinement: credd::daemon::sandbox::Confinement::default(),
            inherited: credd::systemd::Inherited::default(),
            is_on_ec2: false,
            config,
            environment: ground.environment(),
            outlets: credd::audit::Outlets::to(std::io::sink()),
            runtime_directory: directory.clone(),
            clock: Arc::clone(&ground.clock) as SharedClock,
            draws: |_| Box::new(Chance::new(1)),
        })
        .await
        .unwrap();
        let url = daemon.site().terms.load().url.clone().unwrap();
        let token = runtime_directory::token_file(&directory);
        let token = files::read_text_now(&token, 1000).unwrap().to_string();
        let site = Arc::clone(daemon.site());
        let mut running = JoinSet::new();
        running.spawn(async move { daemon.run(std::future::pending()).await.unwrap() });
        Self {
            address: url.strip_prefix("http://").unwrap().to_owned(),
            token,
            journal,
            site,
            ground,
            _running: running,
        }
    }

    fn asking(&self, identity: &str) -> impl Future<Output = String> + Send + use<> {
        self.asking_with(&self.token, identity)
    }

    pub(super) fn asking_with(
        &self,
        token: &str,
        identity: &str,
    ) -> impl Future<Output = String> + Send + use<> {
        let address = self.address.clone();
        let request = format!(
            "GET /v1/credentials/{identity} HTTP/1.1\r\nHost: {address}\r\n\
             Authorization: {token}\r\nConnection: close\r\n\r\n",
        );
        async move {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }
    }

    pub(super) async fn status(&self) -> String {
        self.administer("GET /v1/status", "").await
    }

    /// Asks the admin socket.
    pub(super) async fn administer(&self, what: &str, body: &str) -> String {
        let socket = runtime_directory::admin_socket(&self.ground.folder.path().join("run"));
        let mut stream = UnixStream::connect(socket).await.unwrap();
        let request = format!(
            "{what} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[test]
fn keys_that_others_build_on_are_served_to_nobody_and_shown_nowhere() {
    run(async || {
        let ground = Ground::new().await;
        let keys = ground.keys();
        let identities = [("deploy", role(named("ops"), DEPLOY)), ("ops", keys)];
        let served = Served::start(ground, &identities).await;
        let deploy = served.asking("deploy").await;
        assert!(deploy.starts_with("HTTP/1.1 200"), "{deploy}");
        assert!(deploy.contains("ASIAFAKESTS"), "{deploy}");
        let ops = served.asking("ops").await;
        assert!(ops.starts_with("HTTP/1.1 403"), "{ops}");
        assert!(ops.contains("LongLivedCredentials"), "{ops}");
        let status = served.status().await;
        assert!(status.contains("\"is-source-only\":true"), "{status}");
        for text in [&deploy, &ops, &status, &served.journal.text()] {
            assert!(!text.contains(OPS_SECRET), "{text}");
            assert!(!text.contains(OPS_KEY), "{text}");
        }
        for text in [&ops, &status, &served.journal.text()] {
            assert!(!text.contains(CANARY), "{text}");
        }
    });
}

#[test]
fn keys_that_are_asked_for_directly_are_served_as_a_session() {
    for form in ["keys", "profile", "environment"] {
        run(async move || {
            let ground = Ground::new().await;
            let keys = ground.keys();
            let ground = ground.profiles(&format!(
                "[profile ops]\naws_access_key_id = {OPS_KEY}\n\
                 aws_secret_access_key = {OPS_SECRET}\n"
            ));
            let ground = ground
                .set("AWS_ACCESS_KEY_ID", OPS_KEY)
                .set("AWS_SECRET_ACCESS_KEY", OPS_SECRET);
            let link = match form {
                "keys" => keys,
                "profile" => profile("ops"),
                _ => Link::Environment,
            };
            let served = Served::start(ground, &[("ops", link)]).await;
            let ops = served.asking("ops").await;
            assert!(ops.starts_with("HTTP/1.1 200"), "{form}: {ops}");
            let session = served.ground.aws.sessions().pop().unwrap();
            assert_eq!(served.ground.aws.count(Call::GetSessionToken), 1);
            assert!(ops.contains(&session.key), "{form}: {ops}");
            assert!(ops.contains(&session.expiry.to_string()), "{ops}");
            let status = served.status().await;
            assert!(status.contains("session of "), "{form}: {status}");
            for text in [&ops, &status, &served.journal.text()] {
                assert!(!text.contains(OPS_SECRET), "{text}");
                assert!(!text.contains(OPS_KEY), "{text}");
            }
        });
    }
}

#[test]
fn keys_of_which_aws_makes_no_session_are_not_served_either() {
    run(async || {
        let ground = Ground::new().await;
        let keys = ground.keys();
        let message = "User: arn:aws:iam::1:user/said-by-sts is not authorized";
        refuse(
            &ground.aws,
            Call::GetSessionToken,
            403,
            "AccessDenied",
            message,
        );
        let served = Served::start(ground, &[("ops", keys)]).await;
        let ops = served.asking("ops").await;
        assert!(ops.starts_with("HTTP/1.1 403"), "{ops}");
        // What an upstream says is for operators.
        assert!(
            ops.contains("AccessDenied") && !ops.contains("said-by-sts"),
            "{ops}"
        );
        assert!(served.status().await.contains("is not authorized"));
    });
}

const CLIENTS: usize = 1000;

#[test]
fn a_thousand_clients_of_a_cold_chain_make_one_call_for_each_hop() {
    process::raise_descriptor_limit();
    run(async || {
        let ground = Ground::new().await;
        let keys = ground.keys();
        // Nobody is answered before everybody has asked.
        ground
            .aws
            .next(Call::GetSessionToken, Reply::pausing_at_once);
        let identities = [
            (
                "billing",
                role(unnamed(role(named("session"), DEPLOY)), BILLING),
            ),
            ("session", session(named("ops"))),
            ("ops", keys),
        ];
        let served = Served::start(ground, &identities).await;
        let aws = &served.ground.aws;
        let (mut clients, asked) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..CLIENTS {
            let (asking, asked) = (served.asking("billing"), Arc::clone(&asked));
            clients.spawn(async move {
                asked.fetch_add(1, Ordering::Relaxed);
                asking.await
            });
        }
        until(|| asked.load(Ordering::Relaxed) == CLIENTS && aws.pauses() == 1).await;
        settle().await;
        aws.resume();
        let answers = clients.join_all().await;
        let is_served = |answer: &&String| answer.starts_with("HTTP/1.1 200");
        let count = answers.iter().filter(is_served).count();
        tell(&format!(
            "{count} of {CLIENTS} clients of a cold chain of three hops served by {} calls",
            aws.calls()
        ));
        assert_eq!(count, CLIENTS);
        assert_eq!(aws.count(Call::GetSessionToken), 1);
        assert_eq!(aws.count(Call::AssumeRole), 2);
        assert_eq!(aws.calls(), 3);
    });
}
