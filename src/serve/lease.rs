//! Tokens that live as long as the connection that asked for them: the answer's body stays open,
//! and whatever ends it, an orderly end, a crash or a kill, ends the token.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming};
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::{Response, StatusCode};

use super::{Body, Refusal, Site};
use crate::api::{self, LeaseReport, LeaseRequest};
use crate::authz::{Caller, Decision, Lease, Presented, Scope, Tokens, new_token};
use crate::clock::timeout;
use crate::secret::Secret;

/// An identity name, a token and their wrapping.
const REQUEST_BYTES: usize = 512;

/// It comes from this very host, in one packet with its head.
const REQUEST_TIME: Duration = Duration::from_secs(2);

/// One line, and then silence until the connection ends.
#[derive(Debug)]
pub struct LeaseBody {
    line: Option<Bytes>,
    _lease: Lease,
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
    body: Incoming,
    caller: Caller,
) -> Result<Response<Body>, Refusal> {
    site.authorize_any(caller)?;
    let malformed = |message: &'static str| Refusal {
        status: StatusCode::BAD_REQUEST,
        code: "MalformedRequest",
        message: message.into(),
    };
    let body = Limited::new(body, REQUEST_BYTES).collect();
    let Ok(Ok(body)) = timeout(&*site.clock, REQUEST_TIME, body).await else {
        return Err(malformed("the request is too long, too slow or broken off"));
    };
    let body = body.to_bytes();
    let request: LeaseRequest = serde_json::from_slice(&body)
        .map_err(|_| malformed("the request is not what `credd exec` of this version sends"))?;
    let asked = request.identity.as_deref();
    let identities = site.identities.keys();
    let grant = match site
        .policy
        .decide(caller, &Presented::Nothing, asked, identities)
    {
        Decision::Allow(grant) => grant,
        Decision::Deny(denial) => return Err(denial.into()),
    };
    let Some(url) = &site.url else {
        let message = "credd has no HTTP endpoint; add [serve.http] with an address to its config";
        return Err(Refusal::forbidden("ConfigurationError", message));
    };
    let token = match request.token {
        Some(token) if Tokens::is_well_formed(&token) => Secret::from(token),
        Some(_) => return Err(malformed("this is no token that credd has given")),
        None => new_token(),
    };
    let identity = grant.identity();
    let report = LeaseReport {
        identity: identity.to_string(),
        token: token.expose().to_owned(),
        url: format!("{url}{}/{identity}", api::CREDENTIALS),
    };
    let mut line = serde_json::to_vec(&report).unwrap_or_default();
    line.push(b'\n');
    let body = LeaseBody {
        line: Some(Bytes::from_owner(zeroize::Zeroizing::new(line))),
        _lease: site.tokens.lease(token, Scope::Only(identity.clone())),
    };
    let mut response = Response::new(Either::Right(body));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
