//! Every identity that is kept: those that the config names, and those that they are derived
//! from, each with one refresher however many need it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{mpsc, oneshot, watch};

use super::snapshot::{SnapshotReader, Usable};
use super::task::{Refresher, refresher};
use crate::clock::SharedClock;
use crate::credentials::Failure;
use crate::identity::IdentityName;
use crate::providers::chain::{self, Link};
use crate::providers::source::{Current, News, Source, SourceIdentity, Sources};
use crate::providers::{Context, Surroundings};
use crate::random::Draws;

/// What identities are made with.
#[derive(Debug)]
pub struct Parts {
    pub surroundings: Surroundings,
    /// Chance for one identity.
    pub draws: fn(&IdentityName) -> Box<dyn Draws>,
}

/// Who is kept.
#[derive(Debug, Clone)]
pub struct Identities(Arc<Keeping>);

#[derive(Debug)]
struct Keeping {
    named: BTreeMap<IdentityName, Vec<Link>>,
    /// Those that others are derived from.
    sources: BTreeSet<IdentityName>,
    parts: Parts,
    kept: Mutex<Vec<(Recipe, Weak<Node>)>>,
    begun: mpsc::UnboundedSender<Kept>,
}

/// All that makes one kept identity another than the next.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Recipe {
    links: Vec<Link>,
    /// Whether long-lived keys are turned into a session, as they are before anybody gets them.
    is_served: bool,
}

/// A refresher that runs as long as this lives.
#[derive(Debug)]
struct Node {
    reader: SnapshotReader,
    clock: SharedClock,
    _needed: oneshot::Sender<()>,
}

/// A refresher to be run by somebody.
#[derive(Debug)]
pub struct Kept {
    refresher: Refresher,
    needed: oneshot::Receiver<()>,
}

impl Kept {
    /// Ends only once nobody needs the identity any more.
    pub async fn run(self) {
        tokio::select! {
            biased;
            _ = self.needed => {}
            () = self.refresher.run() => {}
        }
    }
}

/// The named identities, kept for as long as this lives.
#[derive(Debug)]
pub struct Opened(BTreeMap<IdentityName, Arc<Node>>);

impl Opened {
    pub fn readers(&self) -> BTreeMap<IdentityName, SnapshotReader> {
        let nodes = self.0.iter();
        nodes
            .map(|(name, node)| (name.clone(), node.reader.clone()))
            .collect()
    }
}

impl Identities {
    /// Opens all that `named` says. They are at work once what comes out of the receiver is run.
    pub fn open_all(
        named: BTreeMap<IdentityName, Vec<Link>>,
        parts: Parts,
    ) -> (Opened, mpsc::UnboundedReceiver<Kept>) {
        let (begun, to_run) = mpsc::unbounded_channel();
        let sources = named.values().flatten().filter_map(Link::from);
        let sources = sources.filter_map(SourceIdentity::named).cloned().collect();
        let identities = Self(Arc::new(Keeping {
            named,
            sources,
            parts,
            kept: Mutex::default(),
            begun,
        }));
        let opened = identities.0.named.keys().map(|name| {
            let node = identities.node(&SourceIdentity::Named(name.clone()), name);
            (name.clone(), node)
        });
        (Opened(opened.collect()), to_run)
    }

    fn node(&self, source: &SourceIdentity, on_behalf: &IdentityName) -> Arc<Node> {
        let keeping = &*self.0;
        let (name, recipe) = keeping.recipe(source, on_behalf);
        let known = |kept: &[(Recipe, Weak<Node>)]| {
            let mut kept = kept.iter();
            kept.find_map(|(it, node)| node.upgrade().filter(|_| *it == recipe))
        };
        if let Some(node) = known(&keeping.lock()) {
            return node;
        }
        // Not under the lock: a provider opens its own source.
        let context = Context {
            identity: name.clone(),
            surroundings: keeping.parts.surroundings.clone(),
            sources: Arc::new(self.clone()),
        };
        let provider = if recipe.is_served {
            chain::build_served(&recipe.links, &context)
        } else {
            Box::new(chain::build(&recipe.links, &context))
        };
        let clock = Arc::clone(&keeping.parts.surroundings.clock);
        let draws = (keeping.parts.draws)(&name);
        let (refresher, reader) = refresher(name, provider, Arc::clone(&clock), draws);
        let (needed, is_needed) = oneshot::channel();
        let node = Arc::new(Node {
            reader,
            clock,
            _needed: needed,
        });
        let _ = keeping.begun.send(Kept {
            refresher,
            needed: is_needed,
        });
        let mut kept = keeping.lock();
        kept.retain(|(_, node)| node.strong_count() > 0);
        kept.push((recipe, Arc::downgrade(&node)));
        node
    }
}

impl Keeping {
    fn recipe(&self, source: &SourceIdentity, on_behalf: &IdentityName) -> (IdentityName, Recipe) {
        match source {
            SourceIdentity::Named(name) => {
                let links = self.named.get(name).cloned().unwrap_or_default();
                let is_served = chain::may_be_long_lived(&links) && !self.sources.contains(name);
                (name.clone(), Recipe { links, is_served })
            }
            SourceIdentity::Unnamed(links) => {
                let name = IdentityName::parse(&format!("{on_behalf}.from"));
                let recipe = Recipe {
                    links: links.clone(),
                    is_served: false,
                };
                (name.unwrap_or_else(|_| on_behalf.clone()), recipe)
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Recipe, Weak<Node>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sources for Identities {
    fn open(&self, source: &SourceIdentity, on_behalf: &IdentityName) -> Box<dyn Source> {
        let node = self.node(source, on_behalf);
        Box::new(View {
            published: node.reader.published(),
            node,
        })
    }
}

/// A kept identity as what is derived from it sees it.
#[derive(Debug)]
struct View {
    node: Arc<Node>,
    published: watch::Receiver<u64>,
}

impl Source for View {
    fn name(&self) -> &str {
        self.node.reader.identity().as_str()
    }

    fn credentials(&mut self) -> Current<'_> {
        Box::pin(async {
            loop {
                self.published.borrow_and_update();
                match self.node.reader.load().usable(self.node.clock.now()) {
                    Usable::Credentials(credentials) => return Ok(Arc::clone(credentials)),
                    Usable::Unavailable(failure) => {
                        let name = self.node.reader.identity();
                        return Err(Failure {
                            message: format!("its source, {name}: {}", failure.message),
                            retry_after: None,
                            ..failure.clone()
                        });
                    }
                    Usable::Wait => self.node.reader.demand(),
                }
                if self.published.changed().await.is_err() {
                    return Err(Failure::transient("its source has ended"));
                }
            }
        })
    }

    fn changed(&mut self) -> News<'_> {
        Box::pin(async {
            if self.published.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    fn reject(&mut self) {
        self.node.reader.replace();
    }
}
