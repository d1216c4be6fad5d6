//! What the audit log is told of a decision.

use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::USER_AGENT;

use super::terms::Visit;
use super::{Refusal, Site};
use crate::audit::{self, Event, KeyTail};
use crate::authz::{Bearer, Caller, Denial, Grant, Presented, Reason, Transport};
use crate::clock::Timestamp;
use crate::metrics::{CallerKind, DenialReason};
use crate::refresh::{Expiry, Held};

/// A grant, and how it came about.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) grant: Grant,
    pub(super) caller: Arc<Caller>,
    pub(super) presented: Arc<Presented>,
}

impl Site {
    /// Has it written down that `held` is handed out, or with a lease the right to it.
    pub(super) fn record_grant(
        &self,
        now: Timestamp,
        granted: &Granted,
        headers: &HeaderMap,
        asked: Option<&str>,
        held: Option<&Held>,
    ) {
        let Granted {
            grant,
            caller,
            presented,
        } = granted;
        if held.is_some_and(|held| now >= held.ends()) {
            self.metrics.served_stale.add();
        }
        let credentials = held.map(Held::credentials);
        let expiry = held.and_then(|held| match held.expiry {
            Expiry::Known(expiry) => Some(expiry),
            Expiry::Unknown { .. } | Expiry::Never => None,
        });
        let event = Event {
            rule: Some(grant.rule().as_str().into()),
            identity: Some(grant.identity().as_str().into()),
            asked: asked.map(Into::into),
            role: credentials.and_then(|it| Some(it.role_arn.as_deref()?.into())),
            access_key: credentials.and_then(|it| KeyTail::of(&it.access_key_id)),
            expiry,
            ..self.event(audit::Decision::Granted, caller, presented, headers)
        };
        self.audit.record(now, &event);
    }
}

impl Visit<'_> {
    /// Has a denial written down with all that led to it, and says less to the caller.
    pub(super) fn denied(
        &self,
        caller: &Caller,
        presented: &Presented,
        headers: &HeaderMap,
        asked: Option<&str>,
        denial: Denial,
    ) -> Refusal {
        let counted = DenialReason::from(denial.reason);
        self.metrics.denied(kind(caller, presented), counted);
        let mut reason = denial.reason.as_str().to_owned();
        let nearest = denial.nearest.as_ref();
        if let Some(nearest) = nearest.filter(|nearest| !nearest.unmet.is_empty()) {
            reason += "; unmet: ";
            reason += &nearest.unmet.join(", ");
        }
        let mut identities = self.terms.identities.keys();
        let identity = identities.find(|it| Some(it.as_str()) == asked);
        let decision = audit::Decision::Denied(reason.into());
        let event = Event {
            rule: nearest.map(|nearest| nearest.rule.as_str().into()),
            identity: identity.map(|it| it.as_str().into()),
            asked: asked.map(Into::into),
            ..self.event(decision, caller, presented, headers)
        };
        self.audit.record(self.clock.now(), &event);
        Refusal {
            request: Some(event.request),
            ..denial.into()
        }
    }
}

impl Site {
    /// Has it written down that a request was refused whoever it came from.
    pub(super) fn refused(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
        refusal: Refusal,
    ) -> Refusal {
        let kind = kind(caller, &Presented::Nothing);
        self.metrics.denied(kind, DenialReason::Request);
        let decision = audit::Decision::Denied(refusal.message.as_ref().into());
        let event = self.event(decision, caller, &Presented::Nothing, headers);
        self.audit.record(self.clock.now(), &event);
        Refusal {
            request: Some(event.request),
            ..refusal
        }
    }

    fn event<'a>(
        &self,
        decision: audit::Decision<'a>,
        caller: &'a Caller,
        presented: &'a Presented,
        headers: &'a HeaderMap,
    ) -> Event<'a> {
        let user = caller.user.as_ref();
        let process = caller.process.as_ref();
        let executable = process.and_then(|it| it.executable.as_ref());
        let user_agent = headers.get(USER_AGENT);
        Event {
            decision,
            rule: None,
            identity: None,
            asked: None,
            role: None,
            access_key: None,
            expiry: None,
            caller: audit::Caller {
                uid: user.map(|user| user.uid),
                gid: user.and_then(|user| user.gid),
                pid: process.map(|process| process.pid),
                executable: executable.map(|path| path.to_string_lossy()),
                unit: process.and_then(|it| Some(it.unit.as_deref()?.into())),
                container: process.and_then(|it| Some(it.container.as_deref()?.into())),
                token: match presented {
                    Presented::Bearer(Bearer::Token(name)) => Some(name.as_str().into()),
                    Presented::Bearer(Bearer::Lease(_)) => Some(LEASE.into()),
                    Presented::Nothing | Presented::Unknown => None,
                },
            },
            listener: caller.listener.as_str().into(),
            user_agent: user_agent.map(|it| String::from_utf8_lossy(it.as_bytes())),
            request: self.audit.request_id(),
        }
    }
}

/// The strongest that is known of a caller.
fn kind(caller: &Caller, presented: &Presented) -> CallerKind {
    match (caller.transport, presented, &caller.user) {
        (Transport::Unix, ..) => CallerKind::Unix,
        (Transport::Tcp, Presented::Bearer(_), _) => CallerKind::Token,
        (Transport::Tcp, _, Some(_)) => CallerKind::TcpUser,
        (Transport::Tcp, _, None) => CallerKind::Unknown,
    }
}

impl From<Reason> for DenialReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Stranger => Self::Stranger,
            Reason::NoToken => Self::NoToken,
            Reason::UnknownToken => Self::UnknownToken,
            Reason::OtherIdentity => Self::OtherIdentity,
            Reason::NoIdentityNamed => Self::NoIdentityNamed,
            Reason::UnknownIdentity => Self::UnknownIdentity,
            Reason::CallerGone => Self::CallerGone,
        }
    }
}

/// In the place of a token's name, none of which has brackets.
const LEASE: &str = "(lease)";
