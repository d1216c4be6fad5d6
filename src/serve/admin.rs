//! The admin endpoint: what operators see.
//!
//! | route | answers |
//! |---|---|
//! | `GET /v1/status` | every identity's state |
//! | `POST /v1/refresh` | the states of those meant, once each has made an attempt |
//! | `POST /v1/explain` | every link of their chains, and what is chosen |
//! | `POST /v1/forget` | the states of those meant, without what they held |
//! | `GET /v1/challenges` | every session that a person can renew |
//! | `POST /v1/mfa` | what came of a code, once it was tried |
//! | `GET /v1/tokens` | every token's file, age and next rotation |
//! | `POST /v1/tokens/rotate` | those of the one that replaces the token |
//! | `POST /v1/tokens/revoke` | the same, and those before are refused |
//! | `POST /v1/reload` | what has come of reading the config anew |
//! | `GET /v1/log` | what is logged |
//! | `POST /v1/log` | the same, after it has been changed |
//!
//! and what [`super::monitoring`] answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::explain::explanation;
use super::guard::{self, Methods};
use super::token_orders::{TokenAction, TokenOrders};
use super::{Body, Endpoint, Peer, Refusal, ReloadOrders, Responding, Site, log, question, whole};
use crate::api::{self, ExplainReport, FailureReport, IdentityStatus, StatusReport, WhichIdentity};
use crate::authz::{Denial, Reason};
use crate::clock::{BootInstant, Timestamp, timeout};
use crate::identity::IdentityName;
use crate::os::process;
use crate::providers::Surroundings;
use crate::providers::survey::Surveyor;
use crate::refresh::{Expiry, Held, Snapshot, SnapshotReader};

/// Who may look, and give orders: root, the daemon's user, and the group `credd-admin`.
#[derive(Debug, Clone, Copy)]
pub struct Admins {
    pub owner: u32,
    pub group: Option<u32>,
}

impl Admins {
    fn admit(self, peer: &Peer) -> Result<(), Refusal> {
        let user = peer.connected().user.as_ref();
        let is_admin = user.is_some_and(|user| {
            user.uid == process::ROOT
                || user.uid == self.owner
                || self.group.is_some_and(|group| user.is_in(group))
        });
        if is_admin && peer.is_there() {
            return Ok(());
        }
        Err(Refusal::forbidden(
            "AccessDenied",
            "this socket is for root, the user that credd runs as, and the group credd-admin",
        ))
    }
}

/// What operators look at.
#[derive(Debug)]
pub struct Admin {
    pub site: Arc<Site>,
    pub surroundings: Surroundings,
    pub tokens: TokenOrders,
    pub reloads: ReloadOrders,
}

impl Endpoint for Admin {
    fn respond(self: Arc<Self>, request: Request<Incoming>, peer: Arc<Peer>) -> Responding {
        Box::pin(async move {
            let outcome = self.route(request, &peer).await;
            outcome.unwrap_or_else(Refusal::into_response)
        })
    }
}

impl Admin {
    async fn route(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> Result<Response<Body>, Refusal> {
        let admitted = guard::check(&request, Methods::ReadAndPost)
            .and_then(|()| self.site.terms.load().admins.admit(peer));
        admitted.map_err(|refusal| {
            let headers = request.headers();
            self.site.refused(peer.connected(), headers, refusal)
        })?;
        let is_post = request.method() == Method::POST;
        let path = request.uri().path().to_owned();
        match (is_post, path.as_str()) {
            (false, api::STATUS) => Ok(report(&self.site.status())),
            (true, api::EXPLAIN) => {
                let meant = self.meant(request.into_body()).await?;
                Ok(report(&self.explain(&meant).await))
            }
            (true, api::REFRESH) => {
                let meant = self.meant(request.into_body()).await?;
                self.refresh(&meant).await;
                Ok(report(&self.site.status_of(&meant)))
            }
            (true, api::FORGET) => {
                let meant = self.meant(request.into_body()).await?;
                self.forget(&meant).await;
                Ok(report(&self.site.status_of(&meant)))
            }
            (false, api::CHALLENGES) => Ok(report(&self.site.challenges())),
            (false, api::LOG) => log::look(),
            (true, api::LOG) => log::change(&self.site, peer, request.into_body()).await,
            (false, api::TOKENS) => self.tokens.look().await,
            (true, api::ROTATE_TOKEN) => {
                let (tokens, body) = (&self.tokens, request.into_body());
                tokens.change(&self.site, body, TokenAction::Rotate).await
            }
            (true, api::REVOKE_TOKEN) => {
                let (tokens, body) = (&self.tokens, request.into_body());
                tokens.change(&self.site, body, TokenAction::Revoke).await
            }
            (true, api::RELOAD) => self.reloads.reload().await,
            (true, api::MFA) => self.site.answer(request.into_body()).await,
            (false, _) if let Some(outcome) = self.site.monitored(request.uri()) => outcome,
            _ => Err(Refusal::not_found(
                "there is nothing here; is this `credd` as old as the daemon?",
            )),
        }
    }

    async fn meant(&self, body: Incoming) -> Result<Meant, Refusal> {
        let which: WhichIdentity = question::read(&self.site, body).await?;
        let terms = self.site.terms.load();
        let all = terms.identities.iter();
        let meant: Meant = all
            .filter(|(name, _)| {
                let asked = which.identity.as_deref();
                // An identity is meant with all its narrowings.
                asked.is_none_or(|asked| [name.as_str(), name.base()].contains(&asked))
            })
            .map(|(name, reader)| (name.clone(), reader.clone()))
            .collect();
        if meant.is_empty() {
            return Err(Denial::from(Reason::UnknownIdentity).into());
        }
        Ok(meant)
    }

    /// Waits for an attempt of each, whatever comes of it.
    async fn refresh(&self, meant: &Meant) {
        let attempts = |reader: &SnapshotReader| reader.load().attempts;
        let before: Vec<u64> = meant.values().map(attempts).collect();
        for reader in meant.values() {
            reader.refresh();
        }
        let all = async {
            for (reader, before) in meant.values().zip(before) {
                reader.until(|snapshot| snapshot.attempts > before).await;
            }
        };
        let _ = timeout(&*self.site.clock, ORDER_TIME, all).await;
    }

    async fn explain(&self, meant: &Meant) -> ExplainReport {
        let links = self.site.terms.load().links.clone();
        let surveyor = Surveyor::new(links, self.surroundings.clone());
        let surveyed = surveyor.survey(meant.keys()).await;
        let statuses = self.site.status_of(meant).identities;
        let explained = surveyed.values().zip(statuses);
        let is_on_ec2 = surveyor.is_on_ec2();
        ExplainReport {
            identities: explained
                .map(|(links, status)| explanation(links, status, is_on_ec2))
                .collect(),
        }
    }

    async fn forget(&self, meant: &Meant) {
        for reader in meant.values() {
            reader.forget();
        }
        let all = async {
            for reader in meant.values() {
                reader.until(|snapshot| snapshot.held.is_none()).await;
            }
        };
        let _ = timeout(&*self.site.clock, ORDER_TIME, all).await;
    }
}

type Meant = BTreeMap<IdentityName, SnapshotReader>;

/// For an attempt at STS, and one that is under way before it. One that takes longer goes on, and
/// what is known by then is told.
const ORDER_TIME: Duration = Duration::from_secs(65);

pub(super) fn report(report: &impl Serialize) -> Response<Body> {
    let report = serde_json::to_vec(report).unwrap_or_default();
    whole(StatusCode::OK, report.into())
}

impl Site {
    /// Every identity's state, as of now.
    pub fn status(&self) -> StatusReport {
        self.status_of(&self.terms.load().identities)
    }

    fn status_of(&self, identities: &Meant) -> StatusReport {
        let (now, boot) = (self.clock.now(), self.clock.boot());
        let identities = identities.iter();
        StatusReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            now: now.to_string(),
            identities: identities
                .map(|(name, reader)| identity(name, &reader.load(), now, boot))
                .collect(),
            challenges: self.pending_challenges(),
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
