//! A thousand clients of an identity that has nothing yet.

use std::collections::BTreeMap;

use credd::config::Config;
use credd::daemon::{Daemon, Parts, runtime_directory};
use credd::os::files;
use credd::{random, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::support::fake_aws::Reply;
use crate::support::patience::run;

const CLIENTS: usize = 1000;

/// All of them are of one user.
const ROOM_FOR_ALL: serve::Limits = serve::Limits {
    connections: CLIENTS,
    requests_per_second: 5000,
};

#[test]
fn a_thousand_clients_of_a_cold_identity_cause_one_call() {
    // Each client has a descriptor at both ends.
    credd::os::process::raise_descriptor_limit();
    for call in [Call::Container, Call::Role] {
        run(async move || herd(call).await);
    }
}

async fn herd(call: Call) {
    let clock = TestClock::new();
    let aws = FakeAws::start(&clock).await;
    // Nobody is answered before everybody has asked.
    aws.always(call, Reply::pausing_at_once);
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("run");
    let daemon = Daemon::start(Parts {
        config: Config {
            serve: serve::Config {
                http: vec!["127.0.0.1:0".parse().unwrap()],
                limits: ROOM_FOR_ALL,
                ..serve::Config::default()
            },
            identities: BTreeMap::from([(IdentityName::default(), vec![link(call, &aws)])]),
            ..Config::default()
        },
        environment: Arc::new(Environment::default()),
        runtime_directory: directory.clone(),
        config_file: None,
        confinement: credd::daemon::sandbox::Confinement::default(),
        inherited: credd::systemd::Inherited::default(),
        is_on_ec2: false,
        outlets: credd::audit::Outlets::to(std::io::sink()),
        clock: Arc::clone(&clock) as SharedClock,
        draws: |_| Box::new(random::SystemDraws),
    })
    .await
    .unwrap();
    let url = daemon.site().terms.load().url.clone().unwrap();
    let address = url.strip_prefix("http://").unwrap().to_owned();
    let token = runtime_directory::token_file(&directory);
    let token = files::read_text_now(&token, 1000).unwrap().to_string();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        daemon.run(std::future::pending()).await.unwrap();
        String::new()
    });
    until(|| aws.pauses() == 1).await;
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for _ in 0..CLIENTS {
        let (address, token, asked) = (address.clone(), token.clone(), Arc::clone(&asked));
        tasks.spawn(async move {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            let request = format!(
                "GET /v1/credentials HTTP/1.1\r\nHost: {address}\r\nAuthorization: {token}\r\n\
                 Connection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        });
    }
    until(|| asked.load(std::sync::atomic::Ordering::Relaxed) == CLIENTS).await;
    settle().await;
    aws.resume();
    let key = aws.set().key();
    let mut served = 0;
    for _ in 0..CLIENTS {
        let answer = tasks.join_next().await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains(&key), "{answer}");
        served += 1;
    }
    tell(&format!(
        "{served} of {CLIENTS} clients served by {} call for credentials ({call:?})",
        aws.count(call)
    ));
    assert_eq!(aws.count(call), 1);
}
