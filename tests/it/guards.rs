//! What is refused before anybody looks at what is asked, over real sockets and byte by byte.

mod bodies;
mod browser;
mod crowds;
mod draining;
mod framing;
mod headers;
mod hosts;
mod leases;
mod limits;
mod methods;
mod neighbours;
mod proxies;
mod reach;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use credd::clock::{Clock, SystemClock};

use crate::serving::daemon::InProcess;
use crate::serving::upstream::{self, Upstream};
use crate::serving::wire::{Reply, exchange};

const PATH: &str = "/v1/credentials";

/// A daemon with one identity in hand.
struct Served {
    daemon: InProcess,
    upstream: Upstream,
}

impl Served {
    fn new() -> Self {
        let clock = Arc::new(SystemClock::new());
        let expiry = clock.now().plus(Duration::from_hours(6));
        let upstream = Upstream::answering(upstream::credentials(expiry));
        let daemon = InProcess::start(clock, &[("default", upstream.uri("/default"))]).warm();
        Self { daemon, upstream }
    }

    /// The head of a proper request, but for its end.
    fn request_line_and_token(&self) -> String {
        let token = &self.daemon.token;
        format!("GET {PATH} HTTP/1.1\r\nAuthorization: {token}\r\n")
    }

    /// A proper request with more headers, each ended by CRLF.
    fn request_with(&self, headers: &str) -> String {
        let head = self.request_line_and_token();
        format!("{head}Host: 127.0.0.1\r\n{headers}\r\n")
    }

    /// What is answered to `request` on a connection of its own.
    #[track_caller]
    fn asked(&self, request: impl AsRef<[u8]>) -> Option<Reply> {
        exchange(&mut self.daemon.tcp(), request)
    }

    /// Like `asked`, where there must be an answer, and none that lets a page read it.
    #[track_caller]
    fn answer(&self, request: impl AsRef<[u8]>) -> Reply {
        let request = request.as_ref();
        let reply = self.asked(request);
        let reply = reply.unwrap_or_else(|| panic!("no answer to {}", request.escape_ascii()));
        let is_cors = |(name, _): &(String, String)| name.starts_with("access-control-");
        assert!(!reply.headers.iter().any(is_cors), "{:?}", reply.headers);
        reply
    }
}

/// Whether anything of the credentials is in an answer.
fn is_leaking(reply: &Reply) -> bool {
    let all = format!("{:?} {}", reply.headers, reply.body.escape_ascii());
    [upstream::KEY, upstream::SECRET, upstream::TOKEN]
        .iter()
        .any(|canary| all.contains(canary))
}
