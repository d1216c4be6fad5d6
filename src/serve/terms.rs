//! What one config says about serving, and the look at it that a request is judged by.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::{Admins, Site, TokenFile};
use crate::authz::Policy;
use crate::aws::region::Region;
use crate::identity::IdentityName;
use crate::providers::chain::Link;
use crate::refresh::SnapshotReader;

/// Immutable; replaced whole by a reload.
#[derive(Debug)]
pub struct Terms {
    pub identities: BTreeMap<IdentityName, SnapshotReader>,
    /// What each identity is made of.
    pub links: BTreeMap<IdentityName, Vec<Link>>,
    pub policy: Arc<Policy>,
    pub admins: Admins,
    /// `http://127.0.0.1:9169`, where there is a TCP listener.
    pub url: Option<String>,
    pub token_files: Vec<TokenFile>,
    pub imds: Option<ImdsTerms>,
    /// Whether what monitors credd may do so from other hosts, by whatever name they have for this.
    pub may_be_monitored_from_beyond: bool,
}

/// What the IMDS endpoint answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImdsTerms {
    /// The caller's only or default identity if absent.
    pub identity: Option<IdentityName>,
    /// What `placement/region` answers.
    pub region: Option<Region>,
    /// The addresses that it is reached by.
    pub hosts: Vec<IpAddr>,
}

/// The terms that hold now, which every request loads once and without a lock.
#[derive(Debug)]
pub struct InForce {
    terms: ArcSwap<Terms>,
    replaced: watch::Sender<()>,
}

impl InForce {
    pub fn new(terms: Terms) -> Self {
        Self {
            terms: ArcSwap::from_pointee(terms),
            replaced: watch::Sender::default(),
        }
    }

    /// Those that hold now. Hold them for the length of a look.
    pub fn load(&self) -> Guard<Arc<Terms>> {
        self.terms.load()
    }

    /// From the next request on, others hold.
    pub fn replace(&self, terms: Terms) {
        self.terms.store(Arc::new(terms));
        self.replaced.send_replace(());
    }
}

/// A site under the terms that held when the request came: one request sees one config.
pub(super) struct Visit<'a> {
    site: &'a Site,
    pub(super) terms: Guard<Arc<Terms>>,
}

impl Deref for Visit<'_> {
    type Target = Site;

    fn deref(&self) -> &Site {
        self.site
    }
}

impl Visit<'_> {
    /// Whether other terms hold by now.
    pub(super) fn is_over(&self) -> bool {
        !Arc::ptr_eq(&self.terms, &self.site.terms.load())
    }

    /// A subscription to the replacements from now on.
    pub(super) fn replaced(&self) -> watch::Receiver<()> {
        self.site.terms.replaced.subscribe()
    }
}

impl Site {
    pub(super) fn visit(&self) -> Visit<'_> {
        Visit {
            site: self,
            terms: self.terms.load(),
        }
    }
}
