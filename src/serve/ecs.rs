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

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};

use super::guard::{self, Methods};
use super::trail::Granted;
use super::{Body, Endpoint, Peer, Refusal, Responding, Site, WAIT, endpoint, lease, whole};
use crate::api;
use crate::authz::Transport;
use crate::clock::{Timestamp, timeout};
use crate::refresh::{Answer, Snapshot, SnapshotReader};

/// What clients get credentials from.
#[derive(Debug)]
pub struct Public {
    pub site: Arc<Site>,
}

impl Endpoint for Public {
    fn respond(self: Arc<Self>, request: Request<Incoming>, peer: Arc<Peer>) -> Responding {
        Box::pin(async move {
            let outcome = self.route(request, &peer).await;
            outcome.unwrap_or_else(Refusal::into_response)
        })
    }
}

impl Public {
    async fn route(
        &self,
        request: Request<Incoming>,
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
        guard::check(&request, methods).map_err(refused)?;
        let path = request.uri().path();
        if let Some(Asked(asked)) = Asked::parse(path, api::CREDENTIALS) {
            if request.method() == Method::POST {
                let message = "only GET and HEAD are answered here";
                return Err(refused(Refusal::forbidden("MethodNotAllowed", message)));
            }
            let granted = self.site.authorize(peer, headers, asked).await?;
            let served = served(&self.site, &granted).await?;
            let granted = if served.has_waited {
                // The caller may be gone by now, or its token taken back.
                self.site.authorize(peer, headers, asked).await?
            } else {
                granted
            };
            let held = served.snapshot.held.as_ref();
            self.site
                .record_grant(served.at, &granted, headers, asked, held);
            return Ok(whole(StatusCode::OK, served.body));
        }
        match path {
            _ if is_unix && let Some(Asked(asked)) = Asked::parse(path, api::ENDPOINT) => {
                self.site.admit(peer, headers)?;
                endpoint::respond(&self.site, peer, headers, asked)
            }
            api::LEASE if is_unix && request.method() == Method::POST => {
                lease::respond(&self.site, request, peer).await
            }
            _ => {
                // A stranger learns nothing of what exists here.
                self.site.admit(peer, headers)?;
                Err(Refusal::not_found(
                    "there is nothing here; ask for /v1/credentials",
                ))
            }
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

/// A body, and the state that it is of.
pub(super) struct Served {
    pub(super) at: Timestamp,
    pub(super) body: Bytes,
    pub(super) snapshot: Arc<Snapshot>,
    /// Whether what has been decided before is old by now.
    pub(super) has_waited: bool,
}

/// What is handed out by a grant, if need be after a wait.
pub(super) async fn served(site: &Site, granted: &Granted) -> Result<Served, Refusal> {
    let reader = site.reader(granted)?;
    match look(reader, site.clock.now()) {
        Look::Served(served) => Ok(served),
        Look::Refused(refusal) => Err(refusal),
        Look::Wait => {
            let waited = timeout(&*site.clock, WAIT, wait(reader, site)).await;
            let served = waited.unwrap_or(Err(Refusal::warming()))?;
            Ok(Served {
                has_waited: true,
                ..served
            })
        }
    }
}

enum Look {
    Served(Served),
    Wait,
    Refused(Refusal),
}

fn look(reader: &SnapshotReader, now: Timestamp) -> Look {
    let snapshot = reader.load();
    match snapshot.answer(now) {
        Answer::Credentials(body) => Look::Served(Served {
            at: now,
            body,
            snapshot: Arc::clone(&snapshot),
            has_waited: false,
        }),
        Answer::Wait => Look::Wait,
        Answer::Unavailable(failure) => Look::Refused(failure.into()),
    }
}

async fn wait(reader: &SnapshotReader, site: &Site) -> Result<Served, Refusal> {
    let mut published = reader.published();
    loop {
        match look(reader, site.clock.now()) {
            Look::Served(served) => return Ok(served),
            Look::Refused(refusal) => return Err(refusal),
            Look::Wait => reader.demand(),
        }
        if published.changed().await.is_err() {
            // The refresher is gone, so the daemon is on its way out.
            return Err(Refusal::warming());
        }
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
