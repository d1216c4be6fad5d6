//! Container endpoints behind TLS: who is trusted, and who is not.

use credd::credentials::FailureClass;
use credd::os::files;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::support::authority::{Authority, acceptor};
use crate::support::fake_aws::{CANARY, FakeAws};
use crate::support::patience::run;

/// What comes of asking a server that `acceptor` stands for as `host`.
async fn asked(acceptor: TlsAcceptor, host: &str, roots: Roots) -> (Result<(), Failure>, usize) {
    let clock = TestClock::new();
    let aws = FakeAws::start_with_tls(&clock, acceptor).await;
    let url = aws.container_url().replace("127.0.0.1", host);
    let mut sources = Sources::new(&clock).set(FULL_URI, url).set(TOKEN, CANARY);
    sources.roots = roots;
    let outcome = match sources.chain().provide().await {
        Ok(provided) => {
            assert_eq!(key(&provided), aws.set().key());
            Ok(())
        }
        Err(Unprovided::Failed(failure)) => Err(failure),
        Err(other) => panic!("{other:?}"),
    };
    (outcome, aws.calls())
}

#[test]
fn a_server_that_the_authority_vouches_for_is_asked_by_name_and_by_address() {
    run(async || {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        for host in ["localhost", "127.0.0.1"] {
            let acceptor = authority.vouch(host, |_| ());
            let (outcome, calls) = asked(acceptor, host, authority.roots(folder.path())).await;
            assert_eq!((outcome, calls), (Ok(()), 1));
        }
    });
}

#[test]
fn a_server_that_cannot_prove_itself_is_told_nothing() {
    run(async || {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let key = KeyPair::generate().unwrap();
        let alone = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let alone = alone.self_signed(&key).unwrap();
        let others = [
            ("of another name", authority.vouch("example.com", |_| ())),
            (
                "expired",
                authority.vouch("localhost", |params| {
                    params.not_after = date_time_ymd(2020, 1, 1);
                }),
            ),
            (
                "not yet valid",
                authority.vouch("localhost", |params| {
                    params.not_before = date_time_ymd(4000, 1, 1);
                }),
            ),
            ("self-signed", acceptor(alone.der().clone(), &key)),
            (
                "of another authority",
                Authority::new().vouch("localhost", |_| ()),
            ),
        ];
        for (what, acceptor) in others {
            let (outcome, calls) =
                asked(acceptor, "localhost", authority.roots(folder.path())).await;
            let failure = outcome.expect_err(what);
            assert_eq!(
                failure.class,
                FailureClass::Misconfigured,
                "{what}: {failure}"
            );
            assert!(failure.message.contains("certificate"), "{what}: {failure}");
            assert_eq!(calls, 0, "{what}");
        }
    });
}

#[test]
fn roots_that_cannot_be_read_trust_nobody() {
    run(async || {
        let folder = tempfile::tempdir().unwrap();
        let (missing, empty) = (folder.path().join("missing"), folder.path().join("empty"));
        files::write_private(&empty, b"").unwrap();
        for path in [missing, empty] {
            let acceptor = Authority::new().vouch("localhost", |_| ());
            let (outcome, calls) = asked(acceptor, "localhost", Roots::File(path)).await;
            assert_eq!(outcome.unwrap_err().class, FailureClass::Misconfigured);
            assert_eq!(calls, 0);
        }
    });
}

#[test]
fn a_server_that_does_not_speak_tls_is_a_passing_fault_and_gets_no_token() {
    run(async || {
        let clock = TestClock::new();
        let aws = FakeAws::start(&clock).await;
        let url = aws.container_url().replace("http:", "https:");
        let mut sources = Sources::new(&clock).set(FULL_URI, url).set(TOKEN, CANARY);
        let folder = tempfile::tempdir().unwrap();
        sources.roots = Authority::new().roots(folder.path());
        // It waits for the end of a head that never comes; the handshake's deadline ends that.
        let mut chain = sources.chain();
        let outcome = failure(&mut chain);
        tokio::pin!(outcome);
        let failure = loop {
            tokio::select! {
                failure = &mut outcome => break failure,
                () = crate::support::patience::settle() => {
                    clock.advance(std::time::Duration::from_secs(1));
                }
            }
        };
        assert_eq!(failure.class, FailureClass::Transient);
        assert_eq!(aws.calls(), 0);
    });
}

#[test]
fn roots_that_are_replaced_count_from_the_next_connection_on() {
    run(async || {
        let folder = tempfile::tempdir().unwrap();
        let (before, now) = (Authority::new(), Authority::new());
        let clock = TestClock::new();
        let aws = FakeAws::start_with_tls(&clock, now.vouch("localhost", |_| ())).await;
        let url = aws.container_url().replace("127.0.0.1", "localhost");
        let mut sources = Sources::new(&clock).set(FULL_URI, url).set(TOKEN, CANARY);
        sources.roots = before.roots(folder.path());
        let mut chain = sources.chain();
        assert!(chain.provide().await.is_err());
        // The same file, with another authority in it.
        assert_eq!(now.roots(folder.path()), sources.roots);
        assert!(chain.provide().await.is_ok());
        // Half of a file takes nothing from anybody.
        let Roots::File(bundle) = &sources.roots else {
            panic!("{:?}", sources.roots)
        };
        files::write_private(bundle, b"-----BEGIN CERTIFICATE-----\n").unwrap();
        assert!(chain.provide().await.is_ok());
    });
}
