//! The endpoint in the place of EC2's instance metadata service, over real sockets and byte by
//! byte.

mod addresses;
mod answers;
mod behind;
mod callers;
mod guards;
mod tokens;
mod troubles;

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use credd::authz::{Conditions, ListenerName, Opening, Opens, Rule, RuleName};
use credd::aws::region::Region;
use credd::clock::Clock;
use credd::config::Config;
use credd::environment::Environment;
use credd::identity::IdentityName;
use credd::serve::ImdsConfig;

use crate::serving::clock::HandClock;
use crate::serving::daemon::{self, InProcess};
use crate::serving::upstream::{self, Upstream};
use crate::serving::wire::{Reply, exchange};
use crate::support::sinks;

const TOKEN: &str = "/latest/api/token";
const ROLE: &str = "/latest/meta-data/iam/security-credentials/";
const EXTENDED: &str = "/latest/meta-data/iam/security-credentials-extended/";
const REGION: &str = "/latest/meta-data/placement/region";
const DOCUMENT: &str = "/latest/dynamic/instance-identity/document";

/// A daemon that stands in for instance metadata.
struct Instance {
    clock: Arc<HandClock>,
    upstream: Upstream,
    daemon: InProcess,
}

/// What one is told.
struct Told<'a> {
    /// Each from its own path of the upstream.
    identities: &'a [&'a str],
    rules: Vec<Rule>,
    identity: Option<&'a str>,
    region: Option<&'static str>,
}

impl Default for Told<'_> {
    fn default() -> Self {
        Self {
            identities: &["default"],
            rules: vec![rule(&["default"])],
            identity: None,
            region: Some("eu-west-1"),
        }
    }
}

fn name(text: &str) -> IdentityName {
    IdentityName::parse(text).unwrap()
}

/// What opens these to whoever comes to the IMDS endpoint.
fn rule(identities: &[&str]) -> Rule {
    let caller = Conditions {
        listener: Some(ListenerName::imds()),
        tcp_without_token: true,
        ..Conditions::default()
    };
    opening(caller, identities)
}

fn opening(caller: Conditions, identities: &[&str]) -> Rule {
    let openings = identities.iter().map(|it| Opening::of(name(it)));
    Rule {
        name: RuleName::of_config(1),
        caller,
        opens: Opens::Only(openings.collect()),
    }
}

fn config(told: &Told<'_>, upstream: &Upstream) -> Config {
    let identities = told.identities.iter();
    let identities: Vec<_> = identities
        .map(|it| (*it, upstream.uri(&format!("/{it}"))))
        .collect();
    let mut config = daemon::config(daemon::identities(&identities), "127.0.0.1:0");
    config.serve.imds = Some(ImdsConfig {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        identity: told.identity.map(name),
        region: told.region.map(|it| Region::parse(it).unwrap()),
    });
    config.allow.clone_from(&told.rules);
    config
}

impl Instance {
    /// With credentials in hand that live for six hours.
    fn new() -> Self {
        Self::told(&Told::default())
    }

    fn told(told: &Told<'_>) -> Self {
        let instance = Self::with(told, Upstream::hanging());
        instance.give();
        Self {
            daemon: instance.daemon.warm(),
            ..instance
        }
    }

    /// With an upstream that has not answered yet.
    fn warming() -> Self {
        Self::with(&Told::default(), Upstream::hanging())
    }

    fn with(told: &Told<'_>, upstream: Upstream) -> Self {
        let clock = Arc::new(HandClock::new());
        let config = config(told, &upstream);
        let daemon = InProcess::with(Arc::clone(&clock) as _, config, Environment::default());
        Self {
            clock,
            upstream,
            daemon,
        }
    }

    fn give(&self) {
        let expiry = self.clock.now().plus(LIFETIME);
        self.upstream.answer(upstream::credentials(expiry));
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.daemon.imds[0]).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// What is answered to these bytes on a connection of their own.
    #[track_caller]
    fn raw(&self, request: impl AsRef<[u8]>) -> Reply {
        let request = request.as_ref();
        let reply = exchange(&mut self.connect(), request);
        reply.unwrap_or_else(|| panic!("no answer to {}", request.escape_ascii()))
    }

    /// What is answered to a request with these headers, each ended by CRLF.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, headers: &str) -> Reply {
        let host = self.daemon.imds[0];
        self.raw(format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"
        ))
    }

    #[track_caller]
    fn put(&self, headers: &str) -> Reply {
        self.ask("PUT", TOKEN, headers)
    }

    #[track_caller]
    fn token(&self) -> String {
        let reply = self.put(&ttl("21600"));
        assert_eq!(reply.status, 200, "{}", reply.body.escape_ascii());
        let token = String::from_utf8(reply.body).unwrap();
        sinks::secret(&token);
        token
    }

    /// What is answered to whoever has a token.
    #[track_caller]
    fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &shown(&self.token()))
    }
}

const LIFETIME: Duration = Duration::from_hours(6);

fn ttl(seconds: &str) -> String {
    format!("X-aws-ec2-metadata-token-ttl-seconds: {seconds}\r\n")
}

fn shown(token: &str) -> String {
    format!("X-aws-ec2-metadata-token: {token}\r\n")
}

fn text(reply: &Reply) -> &str {
    std::str::from_utf8(&reply.body).unwrap()
}

/// Whether anything of the credentials is in an answer.
fn is_leaking(reply: &Reply) -> bool {
    let all = format!("{:?} {}", reply.headers, reply.body.escape_ascii());
    [upstream::KEY, upstream::SECRET, upstream::TOKEN]
        .iter()
        .any(|canary| all.contains(canary))
}
