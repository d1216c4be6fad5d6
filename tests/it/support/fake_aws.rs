//! An AWS that the tests own, over real sockets: instance metadata, a container endpoint and an STS
//! that are honest until they are told to lie, throttle, stall, break off or vanish.
//!
//! ```text
//! aws.next(Call::Role, |_| Reply::status(429).with("Retry-After", "7"));
//! aws.always(Call::Container, |honest| honest.cut_at(100));
//! aws.always(Call::Token, Reply::pausing_at_once);   // until aws.resume()
//!
//! aws.user("AKIAFAKEUSER0001", "CANARY-ops", OPS);
//! aws.role(Role::new(DEPLOY).trusting(OPS));
//! aws.next(Call::AssumeRole, |honest| honest.with_element("Expiration", "soon"));
//! ```
//!
//! A lie replaces an answer that was found before: what the answer cost, such as an MFA code, is
//! spent. Nothing is spent by what a rate limit refuses, or an AWS that is down.

mod connection;
mod form;
mod reply;
mod signature;
mod sts;
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use credd::clock::{Clock, Timestamp};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub(crate) use self::reply::Reply;
pub(crate) use self::sts::{Role, Session};

use self::connection::accept;
use self::signature::Signature;
use self::sts::Sts;
use super::clock::TestClock;
use super::sinks;

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
    AssumeRole,
    GetSessionToken,
    AssumeRoleWithWebIdentity,
    GetCallerIdentity,
    DecodeAuthorizationMessage,
    Other,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) call: Call,
    pub(crate) method: String,
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    parameters: Vec<(String, String)>,
}

impl Seen {
    fn new(method: String, path: String, headers: Vec<(String, String)>, body: Vec<u8>) -> Self {
        let mut seen = Self {
            call: Call::Other,
            method,
            path,
            headers,
            body,
            parameters: Vec::new(),
        };
        if seen.header("Content-Type").is_some_and(form::is_form) {
            seen.parameters = form::decode(&seen.body).unwrap_or_default();
        }
        seen.call = Call::of(&seen);
        seen
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(it, _)| it.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    /// Of the form that a call to STS is: `Action`, `RoleArn`, `Tags.member.1.Key`.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let mut parameters = self.parameters.iter();
        let (_, value) = parameters.find(|(it, _)| it == name)?;
        Some(value)
    }

    /// The names of all parameters, in their order.
    pub(crate) fn parameters(&self) -> Vec<&str> {
        let parameters = self.parameters.iter();
        parameters.map(|(name, _)| name.as_str()).collect()
    }

    /// Whose key signed it, by its own word.
    pub(crate) fn signing_key(&self) -> Option<String> {
        self.signature().map(|signature| signature.key)
    }

    /// The region that the signature is for.
    pub(crate) fn signing_region(&self) -> Option<String> {
        self.signature().map(|signature| signature.region)
    }

    /// Whether the header is among those that are signed.
    pub(crate) fn signs(&self, header: &str) -> bool {
        self.signature()
            .is_some_and(|signature| signature.signs(header))
    }

    fn signature(&self) -> Option<Signature> {
        Signature::parse(self.header("Authorization")?)
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
        sinks::secret(&format!("{CANARY}-secret-{}", self.serial));
        sinks::secret(&format!("{CANARY}-token-{}", self.serial));
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
    sts: Sts,
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
        let set = world.set.clone();
        world.sts.know(&set);
        set
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

const CONTAINER: &str = "/v2/credentials/task";
const TOKEN: &str = "/latest/api/token";
const EXTENDED: &str = "/latest/meta-data/iam/security-credentials-extended";
const LEGACY: &str = "/latest/meta-data/iam/security-credentials";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const TOKEN_TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";

impl World {
    fn new(clock: Arc<TestClock>) -> Self {
        let issued = clock.now();
        let set = Set {
            serial: 1,
            issued,
            expiry: issued.plus(Duration::from_hours(6)),
        };
        let mut sts = Sts::default();
        sts.know(&set);
        Self {
            clock,
            skew_millis: 0,
            role: Some("app".to_owned()),
            knows_extended_path: true,
            authorization: None,
            set,
            issued_tokens: 0,
            first_valid_token: 1,
            next: VecDeque::new(),
            always: Vec::new(),
            is_down: false,
            seen: Vec::new(),
            pauses: 0,
            sts,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.clock.now().unix_millis() + self.skew_millis)
    }

    fn reply(&mut self, seen: Seen) -> Reply {
        if self.is_down {
            self.seen.push(seen);
            return Reply::hang_up();
        }
        let honest = self.honest(&seen).with("Date", &http_date(self.now()));
        let call = seen.call;
        self.seen.push(seen);
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
            Call::AssumeRole
            | Call::GetSessionToken
            | Call::AssumeRoleWithWebIdentity
            | Call::GetCallerIdentity
            | Call::DecodeAuthorizationMessage => self.sts.answer(seen, self.now()),
            Call::Other if seen.method == "POST" => self.sts.answer(seen, self.now()),
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
        let token = format!("{CANARY}-imds-{}", self.issued_tokens);
        sinks::secret(&token);
        Reply::text(token).with(TOKEN_TTL_HEADER, lifetime)
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
pub(crate) fn http_date(instant: Timestamp) -> String {
    let seconds = instant.unix_millis().div_euclid(1000);
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .unwrap()
        .format(&time::format_description::well_known::Rfc2822)
        .unwrap()
        .replace("+0000", "GMT")
}

impl Call {
    fn of(seen: &Seen) -> Self {
        match (seen.method.as_str(), seen.path.as_str()) {
            ("PUT", TOKEN) => Self::Token,
            ("POST", "/") => match seen.parameter("Action") {
                Some("AssumeRole") => Self::AssumeRole,
                Some("GetSessionToken") => Self::GetSessionToken,
                Some("AssumeRoleWithWebIdentity") => Self::AssumeRoleWithWebIdentity,
                Some("GetCallerIdentity") => Self::GetCallerIdentity,
                Some("DecodeAuthorizationMessage") => Self::DecodeAuthorizationMessage,
                _ => Self::Other,
            },
            ("GET", path) if path.starts_with(CONTAINER) => Self::Container,
            // The longer path first: the other is its beginning.
            ("GET", path) => match path.strip_prefix(EXTENDED).or(path.strip_prefix(LEGACY)) {
                Some("" | "/") => Self::List,
                Some(_) => Self::Role,
                None => Self::Other,
            },
            _ => Self::Other,
        }
    }
}
