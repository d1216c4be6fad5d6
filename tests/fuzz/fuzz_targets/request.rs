//! Whatever a client sends, as bytes from anywhere: nothing panics, nobody is let in without the
//! token, and every answer is one that a client can read.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use credd::audit::{self, Outlets};
use credd::authz::{Bearer, Lease, ListenerName, Policy, TokenName, Tokens, new_token};
use credd::challenge::{Challenges, UsedCodes};
use credd::clock::{BootInstant, Clock, Jumps, SharedClock, Sleep, Timestamp};
use credd::credentials::{AccessKeyId, Credentials, Principal, Provided, Renewal, Warnings};
use credd::identity::IdentityName;
use credd::providers::{Provider, Providing};
use credd::random::SystemDraws;
use credd::refresh::{SnapshotReader, refresher};
use credd::secret::Secret;
use credd::serve::{Admins, InForce, Peer, Public, Site, Terms, serve_connection};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};

/// In an input, the token that opens.
const MARK: &[u8] = b"{token}";

const CANARY: &str = "canary/secret/access/key";

/// All that the endpoint ever says.
const STATUSES: [&str; 6] = ["200", "400", "403", "404", "414", "431"];

thread_local! {
    static SERVED: Served = Served::new();
}

fuzz_target!(|bytes: &[u8]| {
    SERVED.with(|served| {
        let has_token = position(bytes, MARK).is_some();
        let sent = replaced(bytes, served.token.expose().as_bytes());
        let received = served.converse(&sent);
        let text = String::from_utf8(received).expect("answers are text");
        assert!(has_token || !text.contains(CANARY), "let in: {text}");
        for status in statuses(&text) {
            assert!(has_token || status != "200", "let in: {text}");
            assert!(STATUSES.contains(&status), "says {status}: {text}");
        }
    });
});

fn position(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn replaced(bytes: &[u8], token: &[u8]) -> Vec<u8> {
    let (mut all, mut rest) = (Vec::new(), bytes);
    while let Some(at) = position(rest, MARK) {
        all.extend_from_slice(&rest[..at]);
        all.extend_from_slice(token);
        rest = &rest[at + MARK.len()..];
    }
    all.extend_from_slice(rest);
    all
}

/// The status of each answer, all of which must be whole.
fn statuses(text: &str) -> Vec<&str> {
    let (mut statuses, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (head, after) = rest.split_once("\r\n\r\n").expect("a head ends");
        let mut lines = head.split("\r\n");
        let mut words = lines.next().expect("a head begins").splitn(3, ' ');
        assert!(
            matches!(words.next(), Some("HTTP/1.1" | "HTTP/1.0")),
            "{head}"
        );
        statuses.push(words.next().expect("a status"));
        let mut length = 0;
        for line in lines {
            let (name, value) = line.split_once(": ").expect("a header has a value");
            let is_token = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
            assert!(name.bytes().all(is_token), "{line}");
            assert!(!value.contains(char::is_control), "{line}");
            assert!(!name.starts_with("access-control-"), "{line}");
            assert!(name != "transfer-encoding", "{line}");
            if name == "content-length" {
                length = value.parse().expect("a length");
            }
        }
        // HEAD is answered without the body whose length it tells.
        rest = after;
        if after.starts_with('{') {
            let (body, next) = after.split_at(length);
            let body: serde_json::Value = serde_json::from_str(body).expect("a body is JSON");
            assert!(body.is_object());
            rest = next;
        }
    }
    statuses
}

struct Served {
    runtime: Runtime,
    endpoint: Arc<Public>,
    clock: SharedClock,
    token: Secret,
    _lease: Lease,
}

impl Served {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .expect("a runtime");
        let clock: SharedClock = Arc::new(Still);
        let reader = warmed(&runtime, &clock);
        let tokens = Arc::new(Tokens::default());
        let token = new_token();
        let lease = tokens.lease(&token, Bearer::Token(TokenName::default()));
        let outlets = Outlets::to(std::io::sink());
        let opened = audit::open(&audit::Config::default(), outlets, [0; 4]);
        let (audit, writer) = opened.expect("an audit log");
        runtime.spawn(writer.run(Arc::clone(&clock)));
        let used = UsedCodes::in_memory([0; 32]);
        let site = Site {
            // Long ago: no lease from before a restart is waited for.
            began: BootInstant::since_boot(Duration::ZERO),
            started: clock.now(),
            metrics: Arc::default(),
            challenges: Challenges::new(used, Arc::clone(&clock), Warnings::default()),
            clock: Arc::clone(&clock),
            tokens,
            audit,
            terms: InForce::new(Terms {
                identities: BTreeMap::from([(reader.identity().clone(), reader)]),
                links: BTreeMap::new(),
                policy: Arc::new(Policy::new(Vec::new(), 1000, vec![IdentityName::default()])),
                admins: Admins {
                    owner: 1000,
                    group: None,
                },
                url: None,
                token_files: Vec::new(),
                imds: None,
                may_be_monitored_from_beyond: false,
            }),
        };
        let served = Self {
            runtime,
            endpoint: Arc::new(Public {
                site: Arc::new(site),
            }),
            clock,
            token,
            _lease: lease,
        };
        // There is something to be let in to.
        let token = served.token.expose();
        let head = "GET /v1/credentials HTTP/1.1\r\nHost: localhost\r\n";
        let proper = format!("{head}Authorization: {token}\r\n\r\n");
        let answer = String::from_utf8(served.converse(proper.as_bytes()));
        assert!(answer.is_ok_and(|it| it.contains(CANARY)));
        served
    }

    /// All that is answered to `bytes` and the end of the stream.
    fn converse(&self, bytes: &[u8]) -> Vec<u8> {
        let _context = self.runtime.enter();
        let (client, server) = UnixStream::pair().expect("a pair of sockets");
        let (mut read, mut write) = client.into_split();
        let peer = Arc::new(Peer::unknown(ListenerName::http()));
        let (_never, stop) = watch::channel(false);
        let clock = Arc::clone(&self.clock);
        let endpoint = self.endpoint.clone();
        let room = Arc::new(Semaphore::new(1));
        let counts = Arc::default();
        let serving = serve_connection(server, peer, endpoint, room, clock, counts, stop);
        let mut received = Vec::new();
        self.runtime.block_on(async {
            let writing = async {
                // A server that has had enough closes before all is written.
                let _ = write.write_all(bytes).await;
                let _ = write.shutdown().await;
            };
            let reading = async { read.read_to_end(&mut received).await };
            let ((), (), outcome) = tokio::join!(serving, writing, reading);
            outcome.expect("the stream ends");
        });
        received
    }
}

/// A view of an identity after its first refresh.
fn warmed(runtime: &Runtime, clock: &SharedClock) -> SnapshotReader {
    struct Source(SharedClock);

    impl Provider for Source {
        fn provide(&mut self) -> Providing<'_> {
            let now = self.0.now();
            let provided = Provided {
                credentials: Credentials {
                    access_key_id: AccessKeyId::from("ASIACANARY0000000001".to_owned()),
                    secret_access_key: Secret::from(CANARY.to_owned()),
                    session_token: Some(Secret::from("canary-session-token".to_owned())),
                    expiry: Some(now.plus(Duration::from_hours(6))),
                    account_id: None,
                    role_arn: None,
                    principal: Principal::Role,
                },
                renewal: Renewal::WatchStable,
                issued: Some(now),
                source: "fuzz".into(),
            };
            Box::pin(async { Ok(provided) })
        }
    }

    let source = Box::new(Source(Arc::clone(clock)));
    let name = IdentityName::default();
    let (refresher, reader) = refresher(name, source, Arc::clone(clock), Box::new(SystemDraws));
    let mut published = reader.published();
    runtime.block_on(async {
        tokio::select! {
            () = refresher.run() => {}
            _ = published.changed() => {}
        }
    });
    reader
}

/// Time that does not pass, so that an input is the same on each run.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(1_795_339_800_000)
    }

    fn boot(&self) -> BootInstant {
        BootInstant::since_boot(Duration::from_hours(1))
    }

    fn sleep_until(&self, instant: BootInstant) -> Sleep {
        if instant <= self.boot() {
            return Box::pin(std::future::ready(()));
        }
        Box::pin(std::future::pending())
    }

    fn deadline(&self, _duration: Duration) -> Sleep {
        Box::pin(std::future::pending())
    }

    fn jumps(&self) -> Jumps {
        Jumps::new(watch::channel(0).1)
    }
}
