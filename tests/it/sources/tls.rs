//! Container endpoints behind TLS: who is trusted, and who is not.

use std::path::Path;

use credd::credentials::FailureClass;
use credd::os::files;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::support::fake_aws::{CANARY, FakeAws};
use crate::support::patience::run;

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        Self { issuer }
    }

    fn roots(&self, folder: &Path) -> Roots {
        let path = folder.join("roots.pem");
        files::write_private(&path, self.issuer.pem().as_bytes()).unwrap();
        Roots::File(path)
    }

    /// A server that shows a certificate for `name` from this authority.
    fn vouch(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        acceptor(certificate.der().clone(), &key)
    }
}

fn acceptor(certificate: rustls::pki_types::CertificateDer<'static>, key: &KeyPair) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

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
