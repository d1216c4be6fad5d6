//! What monitoring systems and supervisors ask, on the admin socket and, where the config says so,
//! on listeners of their own, which answer nothing else.
//!
//! | route | answers |
//! |---|---|
//! | `GET /metrics` | what a monitoring system counts |
//! | `GET /livez` | 200: credd is at work |
//! | `GET /readyz` | 200 if every identity is ready, 503 if one is not |
//! | `GET /readyz/<identity>` | the same for that identity |
//!
//! `?verbose` lists the identities, which a 503 does in any case; `?exclude=<identity>` leaves one
//! out (as the probes of Kubernetes, API reference, "Kubernetes API health endpoints").

use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};

use super::guard::{self, Hosts, Methods};
use super::{Body, Endpoint, Limits, Peer, Refusal, Responding, Site, whole};
use crate::api;
use crate::authz::{Denial, Reason};
use crate::clock::Timestamp;
use crate::refresh::Snapshot;

/// A listener of its own.
#[derive(Debug)]
pub struct Monitoring {
    pub site: Arc<Site>,
}

impl Endpoint for Monitoring {
    fn respond(self: Arc<Self>, request: Request<Incoming>, peer: Arc<Peer>) -> Responding {
        Box::pin(async move {
            let outcome = self.route(&request, &peer);
            outcome.unwrap_or_else(Refusal::into_response)
        })
    }
}

impl Monitoring {
    /// For scrapes and probes: a few at a time, of all hosts together.
    pub const LIMITS: Limits = Limits {
        connections: 32,
        requests_per_second: 50,
    };

    fn route(&self, request: &Request<Incoming>, peer: &Peer) -> Result<Response<Body>, Refusal> {
        let hosts = if self.site.terms.load().may_be_monitored_from_beyond {
            Hosts::Any
        } else {
            Hosts::Local
        };
        guard::check_at(request, Methods::Read, hosts).map_err(|refusal| {
            let headers = request.headers();
            self.site.refused(peer.connected(), headers, refusal)
        })?;
        self.site.monitored(request.uri()).unwrap_or_else(|| {
            let message = "there is nothing here; ask for /metrics, /livez or /readyz";
            Err(Refusal::not_found(message))
        })
    }
}

impl Site {
    /// Answers what is asked there; nothing where that is something else.
    pub(super) fn monitored(&self, uri: &Uri) -> Option<Result<Response<Body>, Refusal>> {
        let identity = uri.path().strip_prefix(api::READY);
        Some(match (uri.path(), identity) {
            (api::METRICS, _) => Ok(self.metrics_page()),
            (api::LIVE, _) => Ok(text(StatusCode::OK, "ok\n".to_owned())),
            (_, Some("" | "/")) => Ok(self.ready(None, uri.query())),
            (_, Some(rest)) => self.ready_identity(rest.strip_prefix('/')?, uri.query()),
            _ => return None,
        })
    }

    fn ready_identity(&self, name: &str, query: Option<&str>) -> Result<Response<Body>, Refusal> {
        let terms = self.terms.load();
        if terms.identities.keys().any(|it| it.as_str() == name) {
            Ok(self.ready(Some(name), query))
        } else {
            Err(Denial::from(Reason::UnknownIdentity).into())
        }
    }

    fn ready(&self, only: Option<&str>, query: Option<&str>) -> Response<Body> {
        let query = Query::parse(query.unwrap_or_default());
        let (now, terms) = (self.clock.now(), self.terms.load());
        let (mut are_ready, mut list) = (true, String::new());
        for (name, reader) in &terms.identities {
            let name = name.as_str();
            if only.is_some_and(|only| only != name) || query.excluded.contains(&name) {
                continue;
            }
            // Whoever asks may hold others back until then.
            reader.begin();
            let snapshot = reader.load();
            let is_ready = snapshot.is_ready(now);
            are_ready &= is_ready;
            let mark = if is_ready { '+' } else { '-' };
            // Writing to a String cannot fail.
            let _ = writeln!(list, "[{mark}]{name} is {}", condition(&snapshot, now));
        }
        match (are_ready, query.is_verbose) {
            (true, false) => text(StatusCode::OK, "ok\n".to_owned()),
            (true, true) => text(StatusCode::OK, list + "readyz check passed\n"),
            (false, _) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                text(status, list + "readyz check failed\n")
            }
        }
    }
}

/// Its state and, where that is not what it should be, of what class its trouble is. No more: the
/// log says what an upstream said.
fn condition(snapshot: &Snapshot, now: Timestamp) -> String {
    let state = snapshot.state(now).as_str();
    match &snapshot.trouble {
        Some(trouble) => format!("{state}: {}", trouble.failure.class.as_str()),
        None => state.to_owned(),
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Query<'q> {
    is_verbose: bool,
    excluded: Vec<&'q str>,
}

impl<'q> Query<'q> {
    /// Names need no escaping. What is not known is passed over, as Kubernetes does.
    fn parse(query: &'q str) -> Self {
        let mut parsed = Self::default();
        for part in query.split('&') {
            match part.split_once('=').unwrap_or((part, "")) {
                ("verbose", _) => parsed.is_verbose = true,
                ("exclude", name) => parsed.excluded.push(name),
                _ => {}
            }
        }
        parsed
    }
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    let mut response = whole(status, Bytes::from(body));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_kubernetes_reads_its_own() {
        let parsed = Query::parse("verbose&exclude=a&timeout=3s&exclude=b@c&verbose=1");
        let expected = Query {
            is_verbose: true,
            excluded: vec!["a", "b@c"],
        };
        assert_eq!(parsed, expected);
        assert_eq!(Query::parse(""), Query::default());
    }
}
