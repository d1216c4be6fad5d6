//! The public endpoints.
//!
//! | route | answers |
//! |---|---|
//! | `GET /v1/credentials` | the caller's only or default identity |
//! | `GET /v1/credentials/<identity>` | that identity |
//! | `GET /v1/endpoint` | Unix socket only: how to reach the HTTP endpoint |
//! | `POST /v1/lease` | Unix socket only: a token that lives as long as the connection |

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};

use super::guard::{self, Methods};
use super::{Body, Endpoint, Refusal, Responding, Site, lease, whole};
use crate::api::{self, EndpointReport};
use crate::authz::{Caller, Decision, Grant, Presented, Tokens};
use crate::clock::timeout;
use crate::refresh::{Answer, SnapshotReader};

/// How long a request may wait for credentials that are on their way: PHP and C++ give up at 1 s.
const WAIT: Duration = Duration::from_millis(800);

/// How long after its start the daemon waits for leases from before: `credd exec` asks five times
/// a second.
const LEASES_RETURN: Duration = Duration::from_secs(2);

/// What clients get credentials from.
#[derive(Debug)]
pub struct Public {
    pub site: Arc<Site>,
}

impl Endpoint for Public {
    fn respond(self: Arc<Self>, request: Request<Incoming>, caller: Caller) -> Responding {
        Box::pin(async move {
            let outcome = self.route(request, caller).await;
            outcome.unwrap_or_else(Refusal::into_response)
        })
    }
}

impl Public {
    async fn route(
        &self,
        request: Request<Incoming>,
        caller: Caller,
    ) -> Result<Response<Body>, Refusal> {
        let is_unix = matches!(caller, Caller::Unix { .. });
        let methods = if is_unix {
            Methods::ReadAndPost
        } else {
            Methods::Read
        };
        guard::check(&request, methods)?;
        let path = request.uri().path();
        if let Some(Asked(asked)) = Asked::parse(path) {
            if request.method() == Method::POST {
                let message = "only GET and HEAD are answered here";
                return Err(Refusal::forbidden("MethodNotAllowed", message));
            }
            let headers = request.headers();
            let grant = self.site.authorize(caller, headers, asked).await?;
            return self.credentials(&grant).await;
        }
        match path {
            api::ENDPOINT if is_unix => {
                self.site.authorize_any(caller)?;
                Ok(self.endpoint())
            }
            api::LEASE if is_unix && request.method() == Method::POST => {
                lease::respond(&self.site, request.into_body(), caller).await
            }
            _ => {
                // A stranger learns nothing of what exists here.
                self.site.authorize_request(caller, request.headers())?;
                Err(Refusal {
                    status: StatusCode::NOT_FOUND,
                    code: "NotFound",
                    message: "there is nothing here; ask for /v1/credentials".into(),
                })
            }
        }
    }

    async fn credentials(&self, grant: &Grant) -> Result<Response<Body>, Refusal> {
        let reader = self.site.reader(grant)?;
        match look(reader, self.site.clock.now()) {
            Look::Body(body) => Ok(whole(StatusCode::OK, body)),
            Look::Refused(refusal) => Err(refusal),
            Look::Wait => {
                let waiting = wait(reader, &self.site);
                let waited = timeout(&*self.site.clock, WAIT, waiting).await;
                Ok(whole(
                    StatusCode::OK,
                    waited.unwrap_or(Err(Refusal::warming()))?,
                ))
            }
        }
    }

    fn endpoint(&self) -> Response<Body> {
        let report = EndpointReport {
            url: self.site.url.clone(),
            token_file: self.site.token_file.display().to_string(),
        };
        whole(
            StatusCode::OK,
            serde_json::to_vec(&report).unwrap_or_default().into(),
        )
    }
}

/// What a credentials path asks for: the named identity, or whichever is meant without a name.
#[derive(Debug, PartialEq, Eq)]
struct Asked<'a>(Option<&'a str>);

impl<'a> Asked<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let rest = path.strip_prefix(api::CREDENTIALS)?;
        if rest.is_empty() || rest == "/" {
            return Some(Self(None));
        }
        rest.strip_prefix('/').map(|name| Self(Some(name)))
    }
}

enum Look {
    Body(Bytes),
    Wait,
    Refused(Refusal),
}

fn look(reader: &SnapshotReader, now: crate::clock::Timestamp) -> Look {
    match reader.load().answer(now) {
        Answer::Credentials(body) => Look::Body(body),
        Answer::Wait => Look::Wait,
        Answer::Unavailable(failure) => Look::Refused(failure.into()),
    }
}

async fn wait(reader: &SnapshotReader, site: &Site) -> Result<Bytes, Refusal> {
    let mut published = reader.published();
    loop {
        match look(reader, site.clock.now()) {
            Look::Body(body) => return Ok(body),
            Look::Refused(refusal) => return Err(refusal),
            Look::Wait => reader.demand(),
        }
        if published.changed().await.is_err() {
            // The refresher is gone, so the daemon is on its way out.
            return Err(Refusal::warming());
        }
    }
}

impl Site {
    /// Decides whether `caller` gets the identity `asked`.
    async fn authorize(
        &self,
        caller: Caller,
        headers: &HeaderMap,
        asked: Option<&str>,
    ) -> Result<Grant, Refusal> {
        let mut token = self.presented(caller, headers);
        if token == Presented::Unknown {
            token = self.presented_again(caller, headers).await;
        }
        match self
            .policy
            .decide(caller, &token, asked, self.identities.keys())
        {
            Decision::Allow(grant) => Ok(grant),
            Decision::Deny(denial) => {
                tracing::debug!(?caller, ?denial, asked, "denied");
                Err(denial.into())
            }
        }
    }

    /// Decides whether `caller` may be told anything at all.
    fn authorize_request(&self, caller: Caller, headers: &HeaderMap) -> Result<(), Refusal> {
        self.policy
            .admit(caller, &self.presented(caller, headers))
            .map(drop)
            .map_err(Refusal::from)
    }

    /// Gives a program that `credd exec` runs its token back: after a restart the request that
    /// shows it may come before the one that leases it again. A 403 would be the last word for
    /// most SDKs.
    async fn presented_again(&self, caller: Caller, headers: &HeaderMap) -> Presented {
        if self.began.until(self.clock.boot()) >= LEASES_RETURN || !may_be_leased(headers) {
            return Presented::Unknown;
        }
        let mut leased = self.tokens.leased();
        let known = async {
            loop {
                let token = self.presented(caller, headers);
                if token != Presented::Unknown || leased.changed().await.is_err() {
                    return token;
                }
            }
        };
        let known = timeout(&*self.clock, WAIT, known).await;
        known.unwrap_or(Presented::Unknown)
    }

    pub(super) fn authorize_any(&self, caller: Caller) -> Result<(), Refusal> {
        self.policy
            .admit(caller, &Presented::Nothing)
            .map(drop)
            .map_err(Refusal::from)
    }

    pub(super) fn reader(&self, grant: &Grant) -> Result<&SnapshotReader, Refusal> {
        self.identities
            .get(grant.identity())
            .ok_or_else(|| crate::authz::Denial::UnknownIdentity.into())
    }

    /// The kernel vouches for a caller on a Unix socket; anybody else shows one token.
    fn presented(&self, caller: Caller, headers: &HeaderMap) -> Presented {
        if matches!(caller, Caller::Unix { .. }) {
            return Presented::Nothing;
        }
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Presented::Nothing;
        };
        match self.tokens.scope_of(value.as_bytes()) {
            Some(scope) if values.next().is_none() => Presented::Token(scope),
            _ => Presented::Unknown,
        }
    }
}

fn may_be_leased(headers: &HeaderMap) -> bool {
    headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .is_some_and(Tokens::is_well_formed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credentials_path_names_an_identity_or_none() {
        assert_eq!(Asked::parse("/v1/credentials"), Some(Asked(None)));
        assert_eq!(Asked::parse("/v1/credentials/"), Some(Asked(None)));
        assert_eq!(
            Asked::parse("/v1/credentials/billing"),
            Some(Asked(Some("billing")))
        );
        assert_eq!(
            Asked::parse("/v1/credentials/a/b"),
            Some(Asked(Some("a/b")))
        );
        assert_eq!(Asked::parse("/v1/credentialsx"), None);
        assert_eq!(Asked::parse("/"), None);
    }
}
