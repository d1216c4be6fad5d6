//! Requests that leave this host: by a proxy or without, and whom they trust.

mod proxy;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use credd::clock::SharedClock;
use credd::credentials::{Failure, FailureClass};
use credd::environment::Environment;
use credd::http::{Client, HttpError, Limits, Proxies, Response, Roots, Route, Transport};
use credd::providers::{Context, Provider, Surroundings, Unprovided, chain};
use hyper::Request;
use tempfile::TempDir;

use crate::support::authority::Authority;
use crate::support::clock::TestClock;
use crate::support::fake_aws::{CANARY, Call, FakeAws, Reply};
use crate::support::patience::{run, settle};
use proxy::{Manner, Proxy};

/// A name that no resolver knows (RFC 6761 section 6.4).
const HOST: &str = "sts.invalid";

const LIMITS: Limits = Limits {
    connect: Duration::from_secs(2),
    read: Duration::from_secs(5),
    total: Duration::from_secs(30),
    body_bytes: 10_000,
    plain: |address| address.is_loopback(),
};

/// An AWS called `sts.invalid` over TLS, a proxy before it, and those who vouch for it.
struct Net {
    clock: Arc<TestClock>,
    aws: FakeAws,
    proxy: Proxy,
    authority: Authority,
    folder: TempDir,
}

impl Net {
    async fn new(manner: Manner) -> Self {
        Self::with(manner, |_| None).await
    }

    async fn with(
        manner: Manner,
        acceptor: impl FnOnce(&Authority) -> Option<tokio_rustls::TlsAcceptor>,
    ) -> Self {
        let clock = TestClock::new();
        let authority = Authority::new();
        let aws = FakeAws::start_with_tls(&clock, authority.vouch(HOST, |_| ())).await;
        let proxy = Proxy::start(manner, aws.port(), acceptor(&authority)).await;
        Self {
            clock,
            aws,
            proxy,
            authority,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn environment(&self, variables: &[(&str, &str)]) -> Environment {
        let proxy = self.proxy.address().to_string();
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.replace("PROXY", &proxy)))
            .collect()
    }

    fn client(&self, variables: &[(&str, &str)]) -> Client {
        let clock = Arc::clone(&self.clock) as SharedClock;
        let roots = self.authority.roots(self.folder.path());
        Client::new(clock, [], roots).through(Proxies::of(&self.environment(variables)))
    }

    async fn ask(&self, client: &Client) -> Result<Response, HttpError> {
        let url = format!("https://{HOST}/v2/credentials/task");
        send(client, &url, Route::BEYOND).await
    }

    /// What comes of asking while seconds pass, and how many have.
    async fn ask_and_wait(&self, client: &Client) -> (Result<Response, HttpError>, u32) {
        let outcome = self.ask(client);
        tokio::pin!(outcome);
        let mut seconds = 0;
        loop {
            tokio::select! {
                biased;
                outcome = &mut outcome => return (outcome, seconds),
                () = settle() => {
                    seconds += 1;
                    self.clock.advance(Duration::from_secs(1));
                }
            }
        }
    }
}

async fn send(client: &Client, url: &str, route: Route) -> Result<Response, HttpError> {
    let request = Request::get(url).body(Bytes::new()).unwrap();
    client.send(request, LIMITS, route).await
}

const PROXIED: [(&str, &str); 1] = [("HTTPS_PROXY", "http://PROXY")];

#[test]
fn a_tunnel_leads_to_a_host_whose_name_is_not_looked_up_here() {
    run(async || {
        let net = Net::new(Manner::Tunnels).await;
        let response = net.ask(&net.client(&PROXIED)).await.unwrap();
        assert!(response.status.is_success() && response.is_verified_tls);
        let seen = net.proxy.seen();
        let head = format!("CONNECT {HOST}:443 HTTP/1.1\r\nhost: {HOST}:443\r\n\r\n");
        assert_eq!(seen, [head]);
        assert_eq!(net.aws.seen()[0].header("host"), Some(HOST));
        // Without the proxy there is no way.
        assert!(net.ask(&net.client(&[])).await.is_err());
    });
}

#[test]
fn a_proxy_that_speaks_tls_has_to_prove_itself_too() {
    run(async || {
        let by_tls = [("HTTPS_PROXY", "https://user:pw@PROXY")];
        let vouched = |authority: &Authority| Some(authority.vouch("127.0.0.1", |_| ()));
        let net = Net::with(Manner::Demands("Basic dXNlcjpwdw=="), vouched).await;
        assert!(net.ask(&net.client(&by_tls)).await.is_ok());

        let other = |authority: &Authority| Some(authority.vouch("other.example", |_| ()));
        let net = Net::with(Manner::Tunnels, other).await;
        let failure = Failure::from(net.ask(&net.client(&by_tls)).await.unwrap_err());
        assert_eq!(failure.class, FailureClass::Misconfigured);
        assert!(failure.message.contains("certificate"), "{failure}");
        assert_eq!(net.proxy.seen().len() + net.aws.calls(), 0);
    });
}

#[test]
fn a_host_behind_a_proxy_has_to_prove_itself() {
    run(async || {
        let net = Net::new(Manner::Tunnels).await;
        let stranger = tempfile::tempdir().unwrap();
        let Roots::File(bundle) = Authority::new().roots(stranger.path()) else {
            panic!("no file");
        };
        let client = net.client(&PROXIED);
        let url = format!("https://{HOST}/");
        let route = Route {
            ca_bundle: Some(bundle),
            ..Route::BEYOND
        };
        let error = send(&client, &url, route).await.unwrap_err();
        assert_eq!(Failure::from(error).class, FailureClass::Misconfigured);
        assert_eq!((net.proxy.seen().len(), net.aws.calls()), (1, 0));
        // Trust is a matter of each request.
        assert!(send(&client, &url, Route::BEYOND).await.is_ok());
    });
}

#[test]
fn credentials_are_shown_to_the_proxy_alone() {
    run(async || {
        // echo -n 'user:p@ss-CANARY' | base64
        let net = Net::new(Manner::Demands("Basic dXNlcjpwQHNzLUNBTkFSWQ==")).await;
        let right = [("https_proxy", "http://user:p%40ss-CANARY@PROXY")];
        let client = net.client(&right);
        assert!(net.ask(&client).await.is_ok());
        assert!(!format!("{client:?}").contains(CANARY));
        assert_eq!(net.aws.seen()[0].header("proxy-authorization"), None);
        for wrong in ["http://PROXY", "http://user:wrong-CANARY@PROXY"] {
            let error = net.ask(&net.client(&[("https_proxy", wrong)])).await;
            let failure = Failure::from(error.unwrap_err());
            assert_eq!(failure.class, FailureClass::Misconfigured);
            assert!(failure.message.contains("407"), "{failure}");
            assert!(
                failure.message.contains("other credentials than"),
                "{failure}"
            );
            assert!(!format!("{failure:?}").contains(CANARY), "{failure:?}");
        }
        assert_eq!(net.aws.calls(), 1);
    });
}

#[test]
fn a_refusal_names_the_proxy_and_is_classed_by_what_it_calls_for() {
    run(async || {
        for (answer, class) in [
            ("403 Forbidden", FailureClass::Misconfigured),
            ("301 Elsewhere", FailureClass::Misconfigured),
            ("400 Bad", FailureClass::Misconfigured),
            ("429 Slow down", FailureClass::Transient),
            ("502 Bad Gateway", FailureClass::Transient),
            ("503 No such host", FailureClass::Transient),
        ] {
            let net = Net::new(Manner::Answers(answer)).await;
            let failure = Failure::from(net.ask(&net.client(&PROXIED)).await.unwrap_err());
            assert_eq!(failure.class, class, "{failure}");
            let address = net.proxy.address().to_string();
            for part in [HOST, &address, &answer[..3], "NO_PROXY"] {
                assert!(failure.message.contains(part), "{part}: {failure}");
            }
        }
    });
}

#[test]
fn each_stage_of_a_tunnel_has_its_deadline() {
    run(async || {
        for (manner, within) in [(Manner::Stalls, 5), (Manner::Swallows, 2)] {
            let net = Net::new(manner).await;
            let (outcome, seconds) = net.ask_and_wait(&net.client(&PROXIED)).await;
            let failure = Failure::from(outcome.unwrap_err());
            assert_eq!(failure.class, FailureClass::Transient, "{failure}");
            assert!(failure.message.contains("in time"), "{failure}");
            assert!(seconds >= within && seconds < 20, "{manner:?}: {seconds}");
        }
        // A proxy that never finishes its own handshake.
        let net = Net::new(Manner::Stalls).await;
        let client = net.client(&[("HTTPS_PROXY", "https://PROXY")]);
        let (outcome, seconds) = net.ask_and_wait(&client).await;
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains("TLS handshake in time"), "{message}");
        assert!((2..20).contains(&seconds), "{seconds}");
    });
}

#[test]
fn a_proxy_that_breaks_off_or_babbles_is_a_passing_fault() {
    run(async || {
        for manner in [Manner::HangsUp, Manner::EndlessHead] {
            let net = Net::new(manner).await;
            let failure = Failure::from(net.ask(&net.client(&PROXIED)).await.unwrap_err());
            assert_eq!(failure.class, FailureClass::Transient, "{failure}");
            assert!(failure.message.contains("broke off"), "{failure}");
        }
    });
}

#[test]
fn a_setting_that_makes_no_sense_is_told_of_and_shows_no_password() {
    run(async || {
        let net = Net::new(Manner::Tunnels).await;
        let client = net.client(&[("HTTPS_PROXY", "socks5://user:CANARY@PROXY")]);
        let failure = Failure::from(net.ask(&client).await.unwrap_err());
        assert_eq!(failure.class, FailureClass::Misconfigured);
        assert!(failure.message.contains("HTTPS_PROXY"), "{failure}");
        assert!(!failure.message.contains(CANARY), "{failure}");
    });
}

#[test]
fn credd_is_not_its_own_proxy() {
    run(async || {
        let net = Net::new(Manner::Tunnels).await;
        let clock = Arc::clone(&net.clock) as SharedClock;
        let port = net.proxy.address().port();
        for host in ["127.0.0.1", "localhost", "0.0.0.0"] {
            let url = format!("http://{host}:{port}");
            let environment = net.environment(&[("HTTPS_PROXY", &url)]);
            let client = Client::new(Arc::clone(&clock), [net.proxy.address()], Roots::System);
            let client = client.through(Proxies::of(&environment));
            let failure = Failure::from(net.ask(&client).await.unwrap_err());
            assert_eq!(failure.class, FailureClass::Misconfigured);
            assert!(failure.message.contains("own endpoint"), "{failure}");
        }
        assert_eq!(net.proxy.seen().len(), 0);
    });
}

#[test]
fn only_requests_that_may_be_proxied_are() {
    run(async || {
        let net = Net::new(Manner::Tunnels).await;
        let client = net.client(&[
            ("HTTPS_PROXY", "http://PROXY"),
            ("HTTP_PROXY", "http://PROXY"),
            ("http_proxy", "http://PROXY"),
            ("ALL_PROXY", "http://PROXY"),
        ]);
        let plain = FakeAws::start(&net.clock).await;
        let url = plain.container_url();
        let response = send(&client, &url, Route::BEYOND).await.unwrap();
        assert!(!response.is_verified_tls);
        for url in [
            format!("https://127.0.0.1:{}/", plain.port()),
            format!("https://localhost:{}/", net.proxy.address().port()),
        ] {
            let _ = tokio::join!(send(&client, &url, Route::BEYOND), async {
                settle().await;
                net.clock.advance(Duration::from_mins(1));
            });
        }
        let url = format!("https://{HOST}/");
        assert!(send(&client, &url, Route::LOCAL).await.is_err());
        let excepted = net.client(&[("HTTPS_PROXY", "http://PROXY"), ("NO_PROXY", "invalid")]);
        assert!(net.ask(&excepted).await.is_err());
        assert!(net.proxy.seen().is_empty(), "{:?}", net.proxy.seen());
        assert!(net.ask(&client).await.is_ok());
    });
}

#[test]
fn metadata_services_and_container_endpoints_are_never_asked_through_a_proxy() {
    run(async || {
        let net = Net::new(Manner::Tunnels).await;
        let url = format!("https://{HOST}/");
        for variable in [
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        ] {
            let variables = [PROXIED[0], (variable, &url)];
            let context = Context::alone(Surroundings::new(
                Arc::new(net.environment(&variables)),
                Arc::new(net.client(&variables)),
                Arc::clone(&net.clock) as SharedClock,
            ));
            let mut chain = chain::build(&chain::default_chain(), &context);
            let Err(Unprovided::Failed(failure)) = chain.provide().await else {
                panic!("{variable} was obeyed by way of a proxy");
            };
            assert!(failure.message.contains("cannot resolve"), "{failure}");
        }
        assert!(net.proxy.seen().is_empty());
    });
}

#[test]
fn an_answer_tells_how_long_it_took() {
    run(async || {
        let net = Net::new(Manner::Tunnels).await;
        net.aws.next(Call::Container, Reply::pausing_in_the_body);
        let client = net.client(&PROXIED);
        let (response, ()) = tokio::join!(net.ask(&client), async {
            crate::support::patience::until(|| net.aws.pauses() == 1).await;
            settle().await;
            net.clock.advance(Duration::from_secs(3));
            net.aws.resume();
        });
        assert_eq!(response.unwrap().took, Duration::from_secs(3));
    });
}
