//! The admin endpoint: what operators see.
//!
//! | route | answers |
//! |---|---|
//! | `GET /v1/status` | every identity's state |

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};

use super::guard::{self, Methods};
use super::{Body, Endpoint, Refusal, Site, whole};
use crate::api::{self, FailureReport, IdentityStatus, StatusReport};
use crate::authz::Caller;
use crate::clock::{BootInstant, Timestamp};
use crate::identity::IdentityName;
use crate::refresh::{Expiry, Held, Snapshot};

/// What operators look at.
#[derive(Debug)]
pub struct Admin {
    pub site: Arc<Site>,
}

impl Endpoint for Admin {
    async fn respond(&self, request: Request<Incoming>, caller: Caller) -> Response<Body> {
        match self.route(&request, caller) {
            Ok(response) => response,
            Err(refusal) => refusal.into_response(),
        }
    }
}

impl Admin {
    fn route(
        &self,
        request: &Request<Incoming>,
        caller: Caller,
    ) -> Result<Response<Body>, Refusal> {
        guard::check(request, Methods::Read)?;
        self.site.authorize_any(caller)?;
        match request.uri().path() {
            api::STATUS => {
                let report = serde_json::to_vec(&self.site.status()).unwrap_or_default();
                Ok(whole(StatusCode::OK, report.into()))
            }
            _ => Err(Refusal {
                status: StatusCode::NOT_FOUND,
                code: "NotFound",
                message: "there is nothing here; is this `credd` as old as the daemon?".into(),
            }),
        }
    }
}

impl Site {
    /// Every identity's state, as of now.
    pub fn status(&self) -> StatusReport {
        let (now, boot) = (self.clock.now(), self.clock.boot());
        let identities = self.identities.iter();
        StatusReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            now: now.to_string(),
            identities: identities
                .map(|(name, reader)| identity(name, &reader.load(), now, boot))
                .collect(),
        }
    }
}

fn identity(
    name: &IdentityName,
    snapshot: &Snapshot,
    now: Timestamp,
    boot: BootInstant,
) -> IdentityStatus {
    let state = snapshot.state(now);
    let held = snapshot.held.as_ref();
    let credentials = held.map(Held::credentials);
    let expiry = held.and_then(|held| match held.expiry {
        Expiry::Known(expiry) => Some(expiry),
        Expiry::Unknown { .. } | Expiry::Never => None,
    });
    IdentityStatus {
        name: name.to_string(),
        state: state.as_str().to_owned(),
        is_served: snapshot.is_served(now),
        is_source_only: held.is_some_and(|held| !held.is_handed_out()),
        source: held.map(|held| held.source.to_string()),
        key: credentials.map(|credentials| credentials.access_key_id.last_four().to_owned()),
        account_id: credentials.and_then(|credentials| credentials.account_id.clone()),
        expiry: expiry.map(|expiry| expiry.to_string()),
        seconds_left: expiry.map(|expiry| now.until(expiry).as_secs()),
        refreshed: snapshot.refreshed.map(|instant| instant.to_string()),
        next_refresh: snapshot.next_attempt.map(|instant| instant.to_string()),
        next_refresh_seconds: snapshot.due.map(|due| boot.until(due).as_secs()),
        failure: snapshot.trouble.as_ref().map(|trouble| FailureReport {
            class: trouble.failure.class.as_str().to_owned(),
            message: trouble.failure.message.clone(),
            count: trouble.failures,
            since: trouble.since.to_string(),
        }),
    }
}
