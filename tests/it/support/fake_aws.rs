//! An AWS that the tests own, over real sockets: instance metadata and a container endpoint that
//! are honest until they are told to lie, throttle, stall, break off or vanish.
//!
//! ```text
//! aws.next(Call::Role, |_| Reply::status(429).with("Retry-After", "7"));
//! aws.always(Call::Container, |honest| honest.cut_at(100));
//! aws.always(Call::Token, Reply::pausing_at_once);   // until aws.resume()
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use credd::clock::{Clock, Timestamp};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::clock::TestClock;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// `PUT /latest/api/token`
    Token,
    /// The listing of roles, on either path.
    List,
    /// The credentials of a role, on either path.
    Role,
    /// The container endpoint.
    Container,
    Other,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) call: Call,
    pub(crate) method: String,
    pub(crate) path: String,
    headers: Vec<(String, String)>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(it, _)| it.eq_ignore_ascii_case(name))?;
        Some(value)
    }
}

/// A set of credentials that was issued.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) serial: u32,
    pub(crate) issued: Timestamp,
    pub(crate) expiry: Timestamp,
}

/// Stands in every secret, so that a leak can be searched for.
pub(crate) const CANARY: &str = "CANARY";

impl Set {
    pub(crate) fn key(&self) -> String {
        format!("ASIAFAKE{:08}", self.serial)
    }

    pub(crate) fn body(&self) -> Value {
        json!({
            "Code": "Success",
            "LastUpdated": self.issued.to_string(),
            "Type": "AWS-HMAC",
            "AccessKeyId": self.key(),
            "SecretAccessKey": format!("{CANARY}-secret-{}", self.serial),
            "Token": format!("{CANARY}-token-{}", self.serial),
            "Expiration": self.expiry.to_string(),
            "AccountId": "123456789012",
        })
    }
}

/// What an honest answer is turned into.
type Lie = Box<dyn FnMut(Reply) -> Reply + Send>;

pub(crate) struct FakeAws {
    world: Arc<Mutex<World>>,
    address: SocketAddr,
    scheme: &'static str,
    resumed: watch::Sender<u64>,
    _serving: JoinSet<()>,
}

struct World {
    clock: Arc<TestClock>,
    /// How far this AWS's clock is ahead of the host's; behind if negative.
    skew_millis: i64,
    role: Option<String>,
    knows_extended_path: bool,
    authorization: Option<String>,
    set: Set,
    issued_tokens: u32,
    first_valid_token: u32,
    next: VecDeque<(Call, Lie)>,
    always: Vec<(Call, Lie)>,
    is_down: bool,
    seen: Vec<Seen>,
    pauses: usize,
}

impl FakeAws {
    pub(crate) async fn start(clock: &Arc<TestClock>) -> Self {
        Self::listen(clock, None).await
    }

    /// Over TLS, by `acceptor`.
    pub(crate) async fn start_with_tls(clock: &Arc<TestClock>, acceptor: TlsAcceptor) -> Self {
        Self::listen(clock, Some(acceptor)).await
    }

    async fn listen(clock: &Arc<TestClock>, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let world = Arc::new(Mutex::new(World::new(Arc::clone(clock))));
        let resumed = watch::Sender::new(0);
        let mut serving = JoinSet::new();
        serving.spawn(accept(
            listener,
            acceptor,
            Arc::clone(&world),
            resumed.clone(),
        ));
        Self {
            world,
            address,
            scheme,
            resumed,
            _serving: serving,
        }
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn container_url(&self) -> String {
        format!("{}{CONTAINER}", self.url())
    }

    /// Issues a new set that lives for `lifetime` from now, by this AWS's clock.
    pub(crate) fn rotate(&self, lifetime: Duration) -> Set {
        let mut world = self.world.lock().unwrap();
        let issued = world.now();
        world.set = Set {
            serial: world.set.serial + 1,
            issued,
            expiry: issued.plus(lifetime),
        };
        world.set.clone()
    }

    pub(crate) fn set(&self) -> Set {
        self.world.lock().unwrap().set.clone()
    }

    /// Attaches another role, or none.
    pub(crate) fn attach(&self, role: Option<&str>) {
        self.world.lock().unwrap().role = role.map(str::to_owned);
    }

    pub(crate) fn forget_the_extended_path(&self) {
        self.world.lock().unwrap().knows_extended_path = false;
    }

    pub(crate) fn demand_authorization(&self, value: &str) {
        self.world.lock().unwrap().authorization = Some(value.to_owned());
    }

    /// No token given so far is taken any more.
    pub(crate) fn expire_tokens(&self) {
        let mut world = self.world.lock().unwrap();
        world.first_valid_token = world.issued_tokens + 1;
    }

    pub(crate) fn skew(&self, millis: i64) {
        self.world.lock().unwrap().skew_millis = millis;
    }

    /// Turns the answer to the next such call into another.
    pub(crate) fn next(&self, call: Call, lie: impl FnMut(Reply) -> Reply + Send + 'static) {
        let mut world = self.world.lock().unwrap();
        world.next.push_back((call, Box::new(lie)));
    }

    /// Turns the answers to all such calls into others, until `be_honest`.
    pub(crate) fn always(&self, call: Call, lie: impl FnMut(Reply) -> Reply + Send + 'static) {
        let mut world = self.world.lock().unwrap();
        world.always.retain(|(it, _)| *it != call);
        world.always.push((call, Box::new(lie)));
    }

    pub(crate) fn be_honest(&self) {
        let mut world = self.world.lock().unwrap();
        world.next.clear();
        world.always.clear();
        world.is_down = false;
    }

    /// Hangs up on every request from now on.
    pub(crate) fn go_down(&self) {
        self.world.lock().unwrap().is_down = true;
    }

    /// Lets answers that pause go on, now and from now on until the next one pauses.
    pub(crate) fn resume(&self) {
        self.resumed.send_modify(|count| *count += 1);
    }

    /// Answers that have come to their pause so far.
    pub(crate) fn pauses(&self) -> usize {
        self.world.lock().unwrap().pauses
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.world.lock().unwrap().seen.clone()
    }

    pub(crate) fn calls(&self) -> usize {
        self.world.lock().unwrap().seen.len()
    }

    pub(crate) fn count(&self, call: Call) -> usize {
        let seen = self.seen();
        seen.iter().filter(|seen| seen.call == call).count()
    }

    /// `GET /latest/…`, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        let seen = self.seen().into_iter();
        // EC2 takes the path of a list with and without a slash at its end.
        seen.map(|seen| format!("{} {}", seen.method, seen.path.trim_end_matches('/')))
            .collect()
    }

    /// Metadata requests that showed no token: what a version 1 client sends.
    pub(crate) fn tokenless(&self) -> usize {
        let seen = self.seen();
        seen.iter()
            .filter(|seen| matches!(seen.call, Call::List | Call::Role | Call::Other))
            .filter(|seen| seen.header(TOKEN_HEADER).is_none())
            .count()
    }
}

/// An answer, and how it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    framing: Framing,
    flow: Flow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
    UntilClose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Whole,
    Cut(usize),
    Pause(usize),
    EndlessHead,
    EndlessBody,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            framing: Framing::Length,
            flow: Flow::Whole,
        }
    }

    pub(crate) fn text(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200).saying(body)
    }

    pub(crate) fn json(body: &Value) -> Self {
        Self::text(body.to_string()).with("Content-Type", "application/json")
    }

    /// The connection ends without a word.
    pub(crate) fn hang_up() -> Self {
        Self::status(200).cut_at(0)
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn saying(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The answer with one field of its body changed; `null` stays `null`.
    pub(crate) fn with_field(self, name: &str, value: impl Into<Value>) -> Self {
        let mut body: Value = serde_json::from_slice(&self.body).unwrap();
        body[name] = value.into();
        self.saying(body.to_string())
    }

    pub(crate) fn without_field(self, name: &str) -> Self {
        let mut body: Value = serde_json::from_slice(&self.body).unwrap();
        body.as_object_mut().unwrap().remove(name);
        self.saying(body.to_string())
    }

    pub(crate) fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }

    /// Without a length: the end of the connection is the end of the body.
    pub(crate) fn until_close(mut self) -> Self {
        self.framing = Framing::UntilClose;
        self
    }

    /// Breaks off after so many bytes, head included.
    pub(crate) fn cut_at(mut self, bytes: usize) -> Self {
        self.flow = Flow::Cut(bytes);
        self
    }

    /// Breaks off just before the last byte.
    pub(crate) fn cut_at_the_end(self) -> Self {
        let length = self.length();
        self.cut_at(length - 1)
    }

    /// Goes on after so many bytes only when told to.
    pub(crate) fn pausing_at(mut self, bytes: usize) -> Self {
        self.flow = Flow::Pause(bytes);
        self
    }

    pub(crate) fn pausing_at_once(self) -> Self {
        self.pausing_at(0)
    }

    pub(crate) fn pausing_in_the_body(self) -> Self {
        let length = self.length();
        self.pausing_at(length - 10)
    }

    pub(crate) fn endless_head(mut self) -> Self {
        self.flow = Flow::EndlessHead;
        self
    }

    pub(crate) fn endless_body(mut self) -> Self {
        self.flow = Flow::EndlessBody;
        self
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Of head and body.
    pub(crate) fn length(&self) -> usize {
        self.bytes().len()
    }

    fn head(&self) -> Vec<u8> {
        let mut lines = vec![format!("HTTP/1.1 {} Whatever", self.status)];
        let headers = self.headers.iter();
        lines.extend(headers.map(|(name, value)| format!("{name}: {value}")));
        match self.framing {
            Framing::Length => lines.push(format!("Content-Length: {}", self.body.len())),
            Framing::Chunked => lines.push("Transfer-Encoding: chunked".to_owned()),
            Framing::UntilClose => {}
        }
        lines.push("Connection: close\r\n\r\n".to_owned());
        lines.join("\r\n").into_bytes()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        if self.framing == Framing::Chunked {
            for piece in self.body.chunks(100) {
                bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                bytes.extend_from_slice(piece);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

const CONTAINER: &str = "/v2/credentials/task";
const TOKEN: &str = "/latest/api/token";
const EXTENDED: &str = "/latest/meta-data/iam/security-credentials-extended";
const LEGACY: &str = "/latest/meta-data/iam/security-credentials";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const TOKEN_TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";

impl World {
    fn new(clock: Arc<TestClock>) -> Self {
        let issued = clock.now();
        Self {
            clock,
            skew_millis: 0,
            role: Some("app".to_owned()),
            knows_extended_path: true,
            authorization: None,
            set: Set {
                serial: 1,
                issued,
                expiry: issued.plus(Duration::from_hours(6)),
            },
            issued_tokens: 0,
            first_valid_token: 1,
            next: VecDeque::new(),
            always: Vec::new(),
            is_down: false,
            seen: Vec::new(),
            pauses: 0,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.clock.now().unix_millis() + self.skew_millis)
    }

    fn reply(&mut self, seen: Seen) -> Reply {
        let honest = self.honest(&seen).with("Date", &http_date(self.now()));
        let call = seen.call;
        self.seen.push(seen);
        if self.is_down {
            return Reply::hang_up();
        }
        if let Some(index) = self.next.iter().position(|(it, _)| *it == call) {
            let (_, mut lie) = self.next.remove(index).unwrap();
            return lie(honest);
        }
        match self.always.iter_mut().find(|(it, _)| *it == call) {
            Some((_, lie)) => lie(honest),
            None => honest,
        }
    }

    fn honest(&mut self, seen: &Seen) -> Reply {
        match seen.call {
            Call::Token => self.token(seen),
            Call::Container => match &self.authorization {
                Some(token) if seen.header("Authorization") != Some(token) => {
                    Reply::status(403).saying("who are you?")
                }
                _ => Reply::json(&self.set.body()),
            },
            Call::List | Call::Role | Call::Other if !self.knows_token_of(seen) => {
                Reply::status(401)
            }
            Call::Other => Reply::status(404),
            Call::List | Call::Role => {
                let is_extended = seen.path.starts_with(EXTENDED);
                let Some(role) = self
                    .role
                    .as_ref()
                    .filter(|_| !is_extended || self.knows_extended_path)
                else {
                    return Reply::status(404);
                };
                if seen.call == Call::List {
                    return Reply::text(role.clone());
                }
                if !seen.path.ends_with(&format!("/{role}")) {
                    return Reply::status(404);
                }
                let reply = Reply::json(&self.set.body());
                if is_extended {
                    reply
                } else {
                    reply.without_field("AccountId")
                }
            }
        }
    }

    fn token(&mut self, seen: &Seen) -> Reply {
        let Some(lifetime) = seen.header(TOKEN_TTL_HEADER) else {
            return Reply::status(400);
        };
        self.issued_tokens += 1;
        Reply::text(format!("{CANARY}-imds-{}", self.issued_tokens))
            .with(TOKEN_TTL_HEADER, lifetime)
    }

    fn knows_token_of(&self, seen: &Seen) -> bool {
        seen.header(TOKEN_HEADER)
            .and_then(|token| {
                let number: u32 = token
                    .strip_prefix(CANARY)?
                    .strip_prefix("-imds-")?
                    .parse()
                    .ok()?;
                Some((self.first_valid_token..=self.issued_tokens).contains(&number))
            })
            .unwrap_or(false)
    }
}

/// As in RFC 9110 section 5.6.7.
fn http_date(instant: Timestamp) -> String {
    let seconds = instant.unix_millis().div_euclid(1000);
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .unwrap()
        .format(&time::format_description::well_known::Rfc2822)
        .unwrap()
        .replace("+0000", "GMT")
}

async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    world: Arc<Mutex<World>>,
    resumed: watch::Sender<u64>,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (world, resumed) = (Arc::clone(&world), resumed.subscribe());
        let acceptor = acceptor.clone();
        connections.spawn(async move {
            match acceptor {
                None => converse(stream, &world, resumed).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        converse(stream, &world, resumed).await;
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// One request, one answer.
async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    world: &Mutex<World>,
    mut resumed: watch::Receiver<u64>,
) {
    let Some(seen) = request(&mut stream).await else {
        return;
    };
    let reply = world.lock().unwrap().reply(seen);
    let bytes = reply.bytes();
    // Whether the other end still listens is its own affair.
    match reply.flow {
        Flow::Whole => drop(stream.write_all(&bytes).await),
        Flow::Cut(length) => drop(stream.write_all(&bytes[..length]).await),
        Flow::Pause(length) => {
            let (before, after) = bytes.split_at(length);
            let _ = stream.write_all(before).await;
            let _ = stream.flush().await;
            resumed.mark_unchanged();
            world.lock().unwrap().pauses += 1;
            let _ = resumed.changed().await;
            let _ = stream.write_all(after).await;
        }
        Flow::EndlessHead => {
            let _ = stream.write_all(b"HTTP/1.1 200 Whatever\r\nX: ").await;
            while stream.write_all(&[b'x'; 1000]).await.is_ok() {}
        }
        Flow::EndlessBody => {
            let _ = stream.write_all(&reply.until_close().head()).await;
            while stream.write_all(&[b' '; 1000]).await.is_ok() {}
        }
    }
    let _ = stream.shutdown().await;
}

async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Some(Seen {
        call: Call::of(&method, &path),
        method,
        path,
        headers,
    })
}

impl Call {
    fn of(method: &str, path: &str) -> Self {
        if (method, path) == ("PUT", TOKEN) {
            return Self::Token;
        }
        if method != "GET" {
            return Self::Other;
        }
        if path.starts_with(CONTAINER) {
            return Self::Container;
        }
        // The longer path first: the other is its beginning.
        match path.strip_prefix(EXTENDED).or(path.strip_prefix(LEGACY)) {
            Some("" | "/") => Self::List,
            Some(_) => Self::Role,
            None => Self::Other,
        }
    }
}
