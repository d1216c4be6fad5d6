//! What is logged, as operators see and set it.

use hyper::body::Incoming;
use hyper::{Response, StatusCode};

use super::{Body, Peer, Refusal, Site, admin, question};
use crate::api::{LogOrder, LogReport};
use crate::telemetry::{self, Levels};

pub(super) fn look() -> Result<Response<Body>, Refusal> {
    Ok(admin::report(&report(levels()?)))
}

/// Puts another filter in force, and says so where that lets warnings through.
pub(super) async fn change(
    site: &Site,
    peer: &Peer,
    body: Incoming,
) -> Result<Response<Body>, Refusal> {
    let levels = levels()?;
    let LogOrder { filter } = question::read(site, body).await?;
    let (before, asked) = (levels.current(), filter.as_deref());
    let after = asked.unwrap_or(levels.initial()).to_owned();
    levels.set(asked).map_err(|problem| Refusal {
        status: StatusCode::BAD_REQUEST,
        code: "InvalidFilter",
        message: problem.to_string().into(),
        request: None,
    })?;
    let uid = peer.connected().user.as_ref().map(|user| user.uid);
    tracing::warn!(before, after, uid, "what is logged has changed");
    Ok(admin::report(&report(levels)))
}

fn report(levels: &Levels) -> LogReport {
    LogReport {
        filter: levels.current(),
        initial: levels.initial().to_owned(),
    }
}

fn levels() -> Result<&'static Levels, Refusal> {
    telemetry::levels().ok_or_else(|| {
        Refusal::not_found("the program that credd runs in decides by itself what is logged")
    })
}
