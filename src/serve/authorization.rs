//! From a request to a decision: who asks, with which token, for what.

use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue};

use super::terms::Visit;
use super::trail::Granted;
use super::{Peer, Refusal, Site, WAIT};
use crate::authz::{Decision, Denial, Presented, Reason, Tokens, Transport};
use crate::clock::timeout;
use crate::refresh::SnapshotReader;

/// How long after its start the daemon waits for leases from before: `credd exec` asks five times
/// a second.
const LEASES_RETURN: Duration = Duration::from_secs(2);

impl Visit<'_> {
    /// Decides whether `peer` gets the identity `asked`.
    pub(super) async fn authorize(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        asked: Option<&str>,
    ) -> Result<Granted, Refusal> {
        let mut presented = self.presented(peer, headers);
        if *presented == Presented::Unknown {
            presented = Box::pin(self.presented_again(peer, headers)).await;
        }
        self.decide(peer, headers, presented, asked)
    }

    /// Decides for whoever has presented that.
    pub(super) fn decide(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        presented: Arc<Presented>,
        asked: Option<&str>,
    ) -> Result<Granted, Refusal> {
        let caller = peer.caller(&self.terms.policy, self.clock.boot());
        let decision = self.terms.policy.decide(&caller, &presented, asked);
        let denial = match decision {
            // Who is there now was there before, too: what was found out is about nobody else.
            _ if !peer.is_there() => Reason::CallerGone.into(),
            Decision::Allow(grant) => {
                return Ok(Granted {
                    grant,
                    caller,
                    presented,
                });
            }
            Decision::Deny(denial) => denial,
        };
        Err(self.denied(&caller, &presented, headers, asked, denial))
    }

    /// Decides whether `peer` may be told anything at all.
    pub(super) fn admit(&self, peer: &Peer, headers: &HeaderMap) -> Result<(), Refusal> {
        self.admit_presenting(peer, headers, &self.presented(peer, headers))
    }

    /// The same for whoever has presented that.
    pub(super) fn admit_presenting(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        presented: &Presented,
    ) -> Result<(), Refusal> {
        let caller = peer.caller(&self.terms.policy, self.clock.boot());
        let admitted = if peer.is_there() {
            self.terms.policy.admit(&caller, presented)
        } else {
            Err(Reason::CallerGone.into())
        };
        admitted.map_err(|denial| self.denied(&caller, presented, headers, None, denial))
    }

    /// What is known of the identity whose credentials are granted.
    pub(super) fn reader(&self, granted: &Granted) -> Result<&SnapshotReader, Refusal> {
        self.terms
            .identities
            .get(granted.grant.served())
            .ok_or_else(|| Denial::from(Reason::UnknownIdentity).into())
    }
}

impl Site {
    /// Gives a program that `credd exec` runs its token back: after a restart the request that
    /// shows it may come before the one that leases it again. A 403 would be the last word for
    /// most SDKs.
    async fn presented_again(&self, peer: &Peer, headers: &HeaderMap) -> Arc<Presented> {
        if self.began.until(self.clock.boot()) >= LEASES_RETURN || !may_be_leased(headers) {
            return Arc::new(Presented::Unknown);
        }
        let mut leased = self.tokens.leased();
        let known = async {
            loop {
                let presented = self.presented(peer, headers);
                if *presented != Presented::Unknown || leased.changed().await.is_err() {
                    return presented;
                }
            }
        };
        let known = timeout(&*self.clock, WAIT, known).await;
        known.unwrap_or_else(|_| Arc::new(Presented::Unknown))
    }

    /// The one token of a request. The kernel vouches for callers on Unix sockets, whatever they
    /// show.
    fn presented(&self, peer: &Peer, headers: &HeaderMap) -> Arc<Presented> {
        if peer.transport() == Transport::Unix {
            return Presented::nothing();
        }
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let presented = self
            .tokens
            .presented(values.next().map(HeaderValue::as_bytes));
        match values.next() {
            None => presented,
            Some(_) => Arc::new(Presented::Unknown),
        }
    }
}

fn may_be_leased(headers: &HeaderMap) -> bool {
    headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .is_some_and(Tokens::is_well_formed)
}
