//! The public endpoints.
//!
//! | route | answers |
//! |---|---|
//! | `GET /v1/credentials` | the caller's only or default identity |
//! | `GET /v1/credentials/<identity>` | that identity |
//! | `GET /v1/endpoint` | Unix socket only: how to reach the HTTP endpoint |
//! | `GET /v1/endpoint/<identity>` | the same, with a token for that identity |
//! | `POST /v1/lease` | Unix socket only: a token that lives as long as the connection |

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};

use super::guard::{self, Methods};
use super::handing_out::Patience;
use super::{Body, Endpoint, Peer, Refusal, Responding, Site, endpoint, lease, whole};
use crate::api;
use crate::authz::Transport;

/// What clients get credentials from.
#[derive(Debug)]
pub struct Public {
    pub site: Arc<Site>,
}

impl Endpoint for Public {
    fn respond(self: Arc<Self>, request: Request<Incoming>, peer: Arc<Peer>) -> Responding {
        // Apart, so that what waits for the answer holds the head once.
        let (head, body) = request.into_parts();
        let head = Request::from_parts(head, ());
        Box::pin(async move {
            let outcome = self.route(&head, body, &peer).await;
            outcome.unwrap_or_else(Refusal::into_response)
        })
    }
}

impl Public {
    async fn route(
        &self,
        request: &Request<()>,
        body: Incoming,
        peer: &Peer,
    ) -> Result<Response<Body>, Refusal> {
        let is_unix = peer.transport() == Transport::Unix;
        let methods = if is_unix {
            Methods::ReadAndPost
        } else {
            Methods::Read
        };
        let headers = request.headers();
        let refused = |refusal| self.site.refused(peer.connected(), headers, refusal);
        guard::check(request, methods).map_err(refused)?;
        let path = request.uri().path();
        if let Some(Asked(asked)) = Asked::parse(path, api::CREDENTIALS) {
            if request.method() == Method::POST {
                let message = "only GET and HEAD are answered here";
                return Err(refused(Refusal::forbidden("MethodNotAllowed", message)));
            }
            return self.credentials(peer, headers, asked).await;
        }
        let visit = self.site.visit();
        match path {
            _ if is_unix && let Some(Asked(asked)) = Asked::parse(path, api::ENDPOINT) => {
                visit.admit(peer, headers)?;
                endpoint::respond(&visit, peer, headers, asked)
            }
            api::LEASE if is_unix && request.method() == Method::POST => {
                drop(visit);
                // Boxed, as all that is rare: every request would bring room for it.
                Box::pin(lease::respond(&self.site, headers, body, peer)).await
            }
            _ => {
                // A stranger learns nothing of what exists here.
                visit.admit(peer, headers)?;
                Err(Refusal::not_found(
                    "there is nothing here; ask for /v1/credentials",
                ))
            }
        }
    }
}

impl Public {
    async fn credentials(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        asked: Option<&str>,
    ) -> Result<Response<Body>, Refusal> {
        let mut patience = Patience::default();
        loop {
            let visit = self.site.visit();
            let granted = visit.authorize(peer, headers, asked).await?;
            let Some(served) = visit.look(&granted)? else {
                Box::pin(visit.wait(&granted, &mut patience)).await?;
                continue;
            };
            let held = served.snapshot.held.as_ref();
            visit.record_grant(served.at, &granted, headers, asked, held);
            return Ok(whole(StatusCode::OK, served.body));
        }
    }
}

/// What a path asks for: the named identity, or whichever is meant without a name.
#[derive(Debug, PartialEq, Eq)]
struct Asked<'a>(Option<&'a str>);

impl<'a> Asked<'a> {
    fn parse(path: &'a str, of: &str) -> Option<Self> {
        let rest = path.strip_prefix(of)?;
        if rest.is_empty() || rest == "/" {
            return Some(Self(None));
        }
        rest.strip_prefix('/').map(|name| Self(Some(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credentials_path_names_an_identity_or_none() {
        let parse = |path| Asked::parse(path, api::CREDENTIALS);
        assert_eq!(parse("/v1/credentials"), Some(Asked(None)));
        assert_eq!(parse("/v1/credentials/"), Some(Asked(None)));
        assert_eq!(
            parse("/v1/credentials/billing"),
            Some(Asked(Some("billing")))
        );
        assert_eq!(parse("/v1/credentials/a/b"), Some(Asked(Some("a/b"))));
        assert_eq!(parse("/v1/credentialsx"), None);
        assert_eq!(parse("/"), None);
    }
}
