//! The program as people and scripts use it.

mod asking;
pub(crate) mod aws;
mod demo;
mod dry_run;
mod exec;
mod explain;
mod instances;
mod orders;
mod restart;
mod signals;
mod silence;
mod strangers;
mod token;
mod whoami;

use std::net::TcpStream;
use std::time::Duration;

use credd::clock::{Clock, SystemClock};

use crate::serving::program::Place;
use crate::serving::upstream::{self, Upstream};
use crate::serving::wire::exchange;

/// An upstream with credentials of six hours.
pub(crate) fn upstream() -> Upstream {
    let expiry = SystemClock::new().now().plus(Duration::from_hours(6));
    Upstream::answering(upstream::credentials(expiry))
}

/// A place for a daemon with one identity, which needs the upstream beside it.
fn place() -> (Place, Upstream) {
    let upstream = upstream();
    (Place::new(&[("default", upstream.uri("/"))]), upstream)
}

/// What a token gets at a URL; nothing if nobody answers.
pub(crate) fn status(url: &str, token: &str) -> Option<u16> {
    let (address, path) = url
        .strip_prefix("http://")?
        .split_at_checked(url[7..].find('/')?)?;
    let mut stream = TcpStream::connect(address).ok()?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {token}\r\n\r\n");
    exchange(&mut stream, request).map(|reply| reply.status)
}
