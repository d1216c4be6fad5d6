//! What one identity is derived from: the credentials of another, which has a refresher of its
//! own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::chain::Link;
use crate::credentials::{Credentials, Failure};
use crate::identity::IdentityName;

/// The identity that another is derived from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SourceIdentity {
    Named(IdentityName),
    /// One that nobody named, as each hop of a profile's chain is.
    Unnamed(Vec<Link>),
}

/// Opens source identities. Equal ones are one, however many are derived from it.
pub trait Sources: Send + Sync + std::fmt::Debug {
    /// `on_behalf` is the identity that needs it, and lends an unnamed one its name in logs.
    fn open(&self, source: &SourceIdentity, on_behalf: &IdentityName) -> Box<dyn Source>;
}

/// A source identity as the providers of derived ones see it. It is kept fresh for as long as
/// somebody holds this.
pub trait Source: Send + std::fmt::Debug {
    /// What to call it in messages.
    fn name(&self) -> &str;

    /// A set that can be used now, or why there is none. Waits only while the first attempt at
    /// one is still under way.
    fn credentials(&mut self) -> Current<'_>;

    /// Completes once the source has published something after a look that gave nothing, or whose
    /// set was rejected, and once it has other long-lived keys: never while its set is good. Dropping it loses nothing.
    fn news(&mut self) -> News<'_>;

    /// Has a source that fails make an attempt now, for which the next [`Self::credentials`] waits.
    fn refresh(&mut self);

    /// Says that AWS takes the set that was last given no longer, whatever its expiry says. It is
    /// not given again.
    fn reject(&mut self);

    /// Drops what it holds, where nobody could have that done by its name.
    fn forget_unnamed(&mut self);
}

/// The outcome of a look at a source.
pub type Current<'a> = Pin<Box<dyn Future<Output = Result<Arc<Credentials>, Failure>> + Send + 'a>>;

/// Completes when an attempt that was not worth making before is worth making now.
pub type News<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// For chains that stand alone.
#[derive(Debug)]
pub struct NoSources;

impl Sources for NoSources {
    fn open(&self, _source: &SourceIdentity, _on_behalf: &IdentityName) -> Box<dyn Source> {
        Box::new(Self)
    }
}

impl Source for NoSources {
    fn name(&self) -> &'static str {
        "nothing"
    }

    fn credentials(&mut self) -> Current<'_> {
        let failure = Failure::misconfigured("nothing can be derived from other identities here");
        Box::pin(std::future::ready(Err(failure)))
    }

    fn news(&mut self) -> News<'_> {
        Box::pin(std::future::pending())
    }

    fn refresh(&mut self) {}

    fn reject(&mut self) {}

    fn forget_unnamed(&mut self) {}
}
