//! From a request to a decision: who asks, with which token, for what.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::{Peer, Refusal, Site, WAIT};
use crate::authz::{Caller, Decision, Denial, Grant, Presented, Reason, Tokens, Transport};
use crate::clock::timeout;
use crate::refresh::SnapshotReader;

/// How long after its start the daemon waits for leases from before: `credd exec` asks five times
/// a second.
const LEASES_RETURN: Duration = Duration::from_secs(2);

impl Site {
    /// Decides whether `peer` gets the identity `asked`.
    pub(super) async fn authorize(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        asked: Option<&str>,
    ) -> Result<Grant, Refusal> {
        let mut presented = self.presented(peer, headers);
        if presented == Presented::Unknown {
            presented = self.presented_again(peer, headers).await;
        }
        self.decide(peer, &presented, asked)
    }

    /// Decides for whoever has presented that.
    pub(super) fn decide(
        &self,
        peer: &Peer,
        presented: &Presented,
        asked: Option<&str>,
    ) -> Result<Grant, Refusal> {
        self.judge(peer, asked, |caller| {
            match self.policy.decide(caller, presented, asked) {
                Decision::Allow(grant) => Ok(grant),
                Decision::Deny(denial) => Err(denial),
            }
        })
    }

    /// Decides whether `peer` may be told anything at all.
    pub(super) fn admit(&self, peer: &Peer, headers: &HeaderMap) -> Result<(), Refusal> {
        let presented = self.presented(peer, headers);
        self.judge(peer, None, |caller| {
            self.policy.admit(caller, &presented).map(drop)
        })
    }

    /// Finds out who asks now, and has that decided about.
    fn judge<T>(
        &self,
        peer: &Peer,
        asked: Option<&str>,
        decide: impl FnOnce(&Caller) -> Result<T, Denial>,
    ) -> Result<T, Refusal> {
        let caller = peer.caller(&self.policy, &*self.clock);
        let outcome = decide(&caller);
        // Who is there now was there before, too.
        let outcome = if peer.is_there() {
            outcome
        } else {
            Err(Reason::CallerGone.into())
        };
        outcome.map_err(|denial| {
            tracing::debug!(?caller, ?denial, asked, "denied");
            denial.into()
        })
    }

    pub(super) fn reader(&self, grant: &Grant) -> Result<&SnapshotReader, Refusal> {
        self.identities
            .get(grant.served())
            .ok_or_else(|| Denial::from(Reason::UnknownIdentity).into())
    }

    /// Gives a program that `credd exec` runs its token back: after a restart the request that
    /// shows it may come before the one that leases it again. A 403 would be the last word for
    /// most SDKs.
    async fn presented_again(&self, peer: &Peer, headers: &HeaderMap) -> Presented {
        if self.began.until(self.clock.boot()) >= LEASES_RETURN || !may_be_leased(headers) {
            return Presented::Unknown;
        }
        let mut leased = self.tokens.leased();
        let known = async {
            loop {
                let presented = self.presented(peer, headers);
                if presented != Presented::Unknown || leased.changed().await.is_err() {
                    return presented;
                }
            }
        };
        let known = timeout(&*self.clock, WAIT, known).await;
        known.unwrap_or(Presented::Unknown)
    }

    /// The one token of a request. The kernel vouches for callers on Unix sockets, whatever they
    /// show.
    fn presented(&self, peer: &Peer, headers: &HeaderMap) -> Presented {
        if peer.transport() == Transport::Unix {
            return Presented::Nothing;
        }
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Presented::Nothing;
        };
        match self.tokens.bearer_of(value.as_bytes()) {
            Some(bearer) if values.next().is_none() => Presented::Bearer(bearer),
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
