//! What a request costs, piece by piece and whole, with the allocations that it makes.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use credd::audit::{self, Audit, Event, KeyTail, Outlets};
use credd::authz::{
    Bearer, Conditions, Decision, Lease, ListenerName, Opens, Policy, Presented, Rule, TokenName,
    Tokens, new_token,
};
use credd::aws::formats;
use credd::challenge::{Challenges, UsedCodes};
use credd::clock::{BootInstant, Clock, SharedClock, SystemClock, Timestamp};
use credd::credentials::{AccessKeyId, Credentials, Principal, Provided, Renewal, Warnings};
use credd::identity::IdentityName;
use credd::metrics::{Code, ListenerCounts};
use credd::providers::{Provider, Providing};
use credd::random::{Draw, SystemDraws};
use credd::refresh::{Held, Snapshot, SnapshotReader, refresher};
use credd::secret::Secret;
use credd::serve::{Admins, Endpoint, InForce, Peer, Public, Site, Terms, Witness};
use divan::{AllocProfiler, Bencher, black_box};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// A keep-alive request through hyper, the guards, the decision and the answer; without a kernel.
#[divan::bench(args = [0, 10])]
fn request(bencher: Bencher<'_, '_>, leases: usize) {
    let runtime = runtime();
    let served = Served::new(&runtime, leases);
    let (client, end) = tokio::io::duplex(64 * 1024);
    served.serve(&runtime, end, Peer::unknown(ListenerName::http()));
    fetch(bencher, &runtime, client, served.token());
}

/// Counting and timing one request.
#[divan::bench]
fn counting(bencher: Bencher<'_, '_>) {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let counts: Arc<ListenerCounts> = Arc::default();
    bencher.bench_local(|| {
        let begun = clock.boot();
        let (clock, counts) = (Arc::clone(&clock), Arc::clone(&counts));
        counts.took.observe(begun.until(clock.boot()));
        counts.answered.add(Code::of(black_box(200)));
    });
}

/// Finding the token among those that are valid.
#[divan::bench(args = [1, 10, 100])]
fn token(bencher: Bencher<'_, '_>, count: usize) {
    let (tokens, leases) = tokens(count);
    let presented = leases[0].0.expose().as_bytes();
    bencher.bench_local(|| tokens.presented(black_box(Some(presented))));
}

/// The decision itself, over as many identities.
#[divan::bench(args = [1, 100])]
fn decision(bencher: Bencher<'_, '_>, count: usize) {
    let names = (0..count).map(|index| IdentityName::parse(&format!("identity-{index}")).unwrap());
    let names: Vec<_> = names.collect();
    let asked = names.last().unwrap().as_str();
    let policy = Policy::new(Vec::new(), 1000, names.clone());
    let token = Presented::Bearer(Bearer::Token(TokenName::default()));
    let caller = Peer::unknown(ListenerName::http());
    let caller = caller.connected();
    bencher.bench_local(|| policy.decide(caller, &token, black_box(Some(asked))));
}

/// Noting a decision: of one caller again and again, and each time of another.
#[divan::bench(args = ["repeats", "others"])]
fn audit_event(bencher: Bencher<'_, '_>, which: &str) {
    let runtime = runtime();
    let audit = audit_log(&runtime);
    let clock = SystemClock::new();
    let role = "arn:aws:iam::000000000000:role/benchmark";
    let key = KeyTail::of(&AccessKeyId::from("ASIABENCH00000000000".to_owned()));
    let mut pid = 0;
    bencher.bench_local(|| {
        pid += i32::from(which == "others");
        let event = Event {
            decision: audit::Decision::Granted,
            rule: Some("allow[2]".into()),
            identity: Some("billing".into()),
            asked: Some("billing".into()),
            role: Some(role.into()),
            access_key: key,
            expiry: None,
            caller: audit::Caller {
                uid: Some(1001),
                gid: Some(1001),
                pid: Some(pid),
                executable: Some("/usr/bin/python3.12".into()),
                unit: Some("report.service".into()),
                ..audit::Caller::default()
            },
            listener: "unix".into(),
            user_agent: Some("Boto3/1.42.0 md/Botocore#1.42.0 ua/2.1 os/linux lang/python".into()),
            request: audit.request_id(),
        };
        audit.record(clock.now(), black_box(&event));
        if pid % 512 == 1 {
            // The writer takes a crowd as the daemon's does, between requests.
            runtime.block_on(tokio::task::yield_now());
        }
    });
}

/// A look at the process behind a Unix socket, as at a request 100 ms after the last one.
#[divan::bench(args = FACTS)]
fn look(bencher: Bencher<'_, '_>, facts: &str) {
    let runtime = runtime();
    let policy = Arc::new(by_facts(facts));
    let (_client, _server, peer) = unix_pair(&runtime);
    let mut elapsed = Duration::ZERO;
    bencher.bench_local(|| {
        elapsed += Duration::from_millis(100);
        peer.caller(&policy, BootInstant::since_boot(elapsed))
    });
}

/// Finding out who asks on a Unix socket, and the decision about that, as at each request.
#[divan::bench(args = FACTS)]
fn decision_on_unix(bencher: Bencher<'_, '_>, facts: &str) {
    let runtime = runtime();
    let (clock, policy) = (SystemClock::new(), Arc::new(by_facts(facts)));
    let (_client, _server, peer) = unix_pair(&runtime);
    bencher.bench_local(|| {
        let caller = peer.caller(&policy, clock.boot());
        let decision = policy.decide(&caller, &Presented::Nothing, black_box(None));
        assert!(matches!(decision, Decision::Allow(_)) && peer.is_there());
    });
}

/// The same with the kernel between: both ends of a Unix socket.
#[divan::bench(args = FACTS)]
fn request_on_unix(bencher: Bencher<'_, '_>, facts: &str) {
    let runtime = runtime();
    let served = Served::with(&runtime, 0, by_facts(facts));
    let (client, end, peer) = unix_pair(&runtime);
    served.serve(&runtime, end, peer);
    fetch(bencher, &runtime, client, "");
}

/// The same on TCP.
#[divan::bench]
fn request_on_tcp(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let served = Served::new(&runtime, 0);
    let (client, end) = tcp_pair(&runtime);
    served.serve(&runtime, end, Peer::unknown(ListenerName::http()));
    fetch(bencher, &runtime, client, served.token());
}

/// What the kernel is asked when somebody connects to a Unix socket.
#[divan::bench]
fn peer_on_unix(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let witness = Witness::default();
    let (_client, server, _peer) = unix_pair(&runtime);
    bencher.bench_local(|| Peer::of_unix(&server, ListenerName::unix(), &witness).unwrap());
}

/// The lookup of the owner of a TCP connection.
#[divan::bench]
fn peer_on_tcp(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let witness = Witness::default();
    let (client, server) = tcp_pair(&runtime);
    let address = client.local_addr().unwrap();
    let peer = || Peer::of_tcp(&server, address, ListenerName::http(), &witness);
    assert!(peer().connected().user.is_some());
    bencher.bench_local(peer);
}

/// What a snapshot has for a client.
#[divan::bench]
fn answer(bencher: Bencher<'_, '_>) {
    let now = SystemClock::new().now();
    let held = Held::adopt(provided(now), None, now, Draw::new(0.5)).unwrap();
    let snapshot = Snapshot {
        held: Some(held),
        ..Snapshot::default()
    };
    bencher.bench_local(|| snapshot.answer(black_box(now)));
}

/// Rendering the body, once a refresh.
#[divan::bench]
fn rendering(bencher: Bencher<'_, '_>) {
    let now = SystemClock::new().now();
    let credentials = credentials(now);
    bencher.bench_local(|| formats::container(black_box(&credentials), now));
}

/// A site with one identity that has its credentials.
struct Served {
    endpoint: Arc<Public>,
    leases: Vec<(Secret, Lease)>,
}

impl Served {
    /// With the token that clients use, and `leases` others before it.
    fn new(runtime: &Runtime, leases: usize) -> Self {
        let policy = Policy::new(Vec::new(), 1000, vec![IdentityName::default()]);
        Self::with(runtime, leases, policy)
    }

    fn with(runtime: &Runtime, leases: usize, policy: Policy) -> Self {
        let clock: SharedClock = Arc::new(SystemClock::new());
        let reader = warmed(runtime, &clock);
        let (tokens, leases) = tokens(leases + 1);
        let site = Site {
            began: clock.boot(),
            started: clock.now(),
            metrics: Arc::default(),
            challenges: Challenges::new(
                UsedCodes::in_memory([0; 32]),
                Arc::clone(&clock),
                Warnings::default(),
            ),
            clock,
            tokens,
            audit: audit_log(runtime),
            terms: InForce::new(Terms {
                identities: BTreeMap::from([(reader.identity().clone(), reader)]),
                links: BTreeMap::new(),
                policy: Arc::new(policy),
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
        let endpoint = Arc::new(Public {
            site: Arc::new(site),
        });
        Self { endpoint, leases }
    }

    fn token(&self) -> &str {
        self.leases.last().unwrap().0.expose()
    }

    fn serve<S>(&self, runtime: &Runtime, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (endpoint, peer) = (Arc::clone(&self.endpoint), Arc::new(peer));
        let service = service_fn(move |request| {
            let (endpoint, peer) = (Arc::clone(&endpoint), Arc::clone(&peer));
            async move { Ok::<_, Infallible>(endpoint.respond(request, peer).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        runtime.spawn(connection);
    }
}

/// One that writes to nowhere, as fast as it comes.
fn audit_log(runtime: &Runtime) -> Audit {
    let outlets = Outlets::to(std::io::sink());
    let opened = audit::open(&audit::Config::default(), outlets, [0; 4]);
    let (audit, writer) = opened.unwrap();
    runtime.spawn(writer.run(Arc::new(SystemClock::new())));
    audit
}

/// Requests on one connection, with a token if there is one.
fn fetch<S>(bencher: Bencher<'_, '_>, runtime: &Runtime, mut client: S, token: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let authorization = match token {
        "" => String::new(),
        token => format!("Authorization: {token}\r\n"),
    };
    let request = format!(
        "GET /v1/credentials HTTP/1.1\r\nHost: 127.0.0.1:9169\r\n{authorization}\
         User-Agent: Boto3/1.42\r\nAccept: */*\r\n\r\n"
    );
    let mut answer = vec![0; 16 * 1024];
    let mut fetch = || {
        runtime.block_on(async {
            client.write_all(request.as_bytes()).await.unwrap();
            // Answers fit the buffers on the way, so that each arrives whole.
            client.read(&mut answer).await.unwrap()
        })
    };
    assert!(fetch() > 500, "an answer with credentials");
    bencher.bench_local(fetch);
}

/// What rules may want to know of a process.
const FACTS: [&str; 4] = ["user", "unit", "executable", "unit and executable"];

/// A rule about this process, after one about another, so that both have to be judged.
fn by_facts(facts: &str) -> Policy {
    let executable = facts
        .contains("executable")
        .then(|| std::env::current_exe().unwrap());
    let unit = facts.contains("unit").then(|| "app.service".into());
    let listener = Some(ListenerName::unix());
    let rule = |caller| Rule {
        name: "benchmark".into(),
        caller,
        opens: Opens::All,
    };
    let other = Conditions {
        user: Some(12345),
        unit,
        listener: listener.clone(),
        ..Conditions::default()
    };
    let own = Conditions {
        executable,
        listener,
        ..Conditions::default()
    };
    let rules = vec![rule(other), rule(own)];
    Policy::new(rules, 1000, vec![IdentityName::default()])
}

/// A client, its server, and what the server knows of it.
fn unix_pair(runtime: &Runtime) -> (UnixStream, UnixStream, Peer) {
    let _guard = runtime.enter();
    let (client, server) = UnixStream::pair().unwrap();
    let peer = Peer::of_unix(&server, ListenerName::unix(), &Witness::default()).unwrap();
    (client, server, peer)
}

fn tcp_pair(runtime: &Runtime) -> (TcpStream, TcpStream) {
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
        }
        (client, server)
    })
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn tokens(count: usize) -> (Arc<Tokens>, Vec<(Secret, Lease)>) {
    let tokens = Arc::new(Tokens::default());
    let lease = |_| {
        let secret = new_token();
        let lease = tokens.lease(&secret, Bearer::Token(TokenName::default()));
        (secret, lease)
    };
    let leases = (0..count).map(lease).collect();
    (tokens, leases)
}

/// A view of an identity after its first refresh.
fn warmed(runtime: &Runtime, clock: &SharedClock) -> SnapshotReader {
    struct Source(SharedClock);

    impl Provider for Source {
        fn provide(&mut self) -> Providing<'_> {
            let provided = provided(self.0.now());
            Box::pin(async { Ok(provided) })
        }
    }

    let source = Box::new(Source(Arc::clone(clock)));
    let draws = Box::new(SystemDraws);
    let name = IdentityName::default();
    let (refresher, reader) = refresher(name, source, Arc::clone(clock), draws);
    let mut published = reader.published();
    runtime.block_on(until(refresher.run(), async {
        published.changed().await.unwrap();
    }));
    reader
}

async fn until(endless: impl Future<Output = ()>, event: impl Future<Output = ()>) {
    tokio::select! {
        () = endless => {}
        () = event => {}
    }
}

fn provided(now: Timestamp) -> Provided {
    Provided {
        credentials: credentials(now),
        renewal: Renewal::WatchStable,
        issued: Some(now),
        source: "benchmark".into(),
    }
}

fn credentials(now: Timestamp) -> Credentials {
    Credentials {
        access_key_id: AccessKeyId::from("ASIABENCH00000000000".to_owned()),
        secret_access_key: Secret::from("0123456789012345678901234567890123456789".to_owned()),
        session_token: Some(Secret::from("0123456789".repeat(80))),
        expiry: Some(now.plus(Duration::from_hours(6))),
        account_id: Some("000000000000".to_owned()),
        role_arn: None,
        principal: Principal::Role,
    }
}
