//! Tokens that live as long as the connection that asked for them: the answer's body stays open,
//! and whatever ends it, an orderly end, a crash or a kill, ends the token.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Either;
use hyper::body::{Body as HttpBody, Frame, Incoming};
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::{HeaderMap, Response};

use super::{Body, Peer, Refusal, Site, question};
use crate::api::{self, LeaseReport, LeaseRequest};
use crate::authz::{Bearer, Lease, Presented, Tokens, new_token};
use crate::secret::Secret;

/// One line, and then silence until the connection ends.
pub struct LeaseBody {
    line: Option<Bytes>,
    _lease: Lease,
}

/// Not the line: it holds the token.
impl std::fmt::Debug for LeaseBody {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("LeaseBody")
    }
}

impl HttpBody for LeaseBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.line.take() {
            Some(line) => Poll::Ready(Some(Ok(Frame::data(line)))),
            // No waker is kept: only the connection's end drops this.
            None => Poll::Pending,
        }
    }
}

pub(super) async fn respond(
    site: &Site,
    headers: &HeaderMap,
    body: Incoming,
    peer: &Peer,
) -> Result<Response<Body>, Refusal> {
    site.visit().admit(peer, headers)?;
    let request: LeaseRequest = question::read(site, body).await?;
    let asked = request.identity.as_deref();
    // What was read may have taken its time.
    let visit = site.visit();
    let granted = visit.decide(peer, headers, Presented::nothing(), asked)?;
    let Some(url) = &visit.terms.url else {
        let message = "credd has no HTTP endpoint; add [serve.http] with an address to its config";
        return Err(Refusal::forbidden("ConfigurationError", message));
    };
    let token = match request.token {
        Some(token) if Tokens::is_well_formed(&token) => Secret::from(token),
        Some(_) => return Err(question::malformed("this is no token that credd has given")),
        None => new_token(),
    };
    site.record_grant(site.clock.now(), &granted, headers, asked, None);
    let identity = granted.grant.identity();
    let report = LeaseReport {
        identity: identity.to_string(),
        token: token.expose().to_owned(),
        url: format!("{url}{}/{identity}", api::CREDENTIALS),
    };
    let mut line = serde_json::to_vec(&report).unwrap_or_default();
    line.push(b'\n');
    let body = LeaseBody {
        line: Some(Bytes::from_owner(zeroize::Zeroizing::new(line))),
        _lease: site.tokens.lease(
            &token,
            Bearer::Lease(Arc::clone(&granted.caller), granted.grant.clone()),
        ),
    };
    let mut response = Response::new(Either::Right(body));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
