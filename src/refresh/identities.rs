//! Every identity that is kept: those that the config names, and those that they are derived
//! from, each with one refresher however many need it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{mpsc, oneshot, watch};

use super::ledger::Ledger;
use super::snapshot::{SnapshotReader, Usable};
use super::task::{Refresher, refresher};
use crate::clock::SharedClock;
use crate::credentials::{Credentials, Failure};
use crate::identity::IdentityName;
use crate::providers::chain::{self, Link};
use crate::providers::definition::Definition;
use crate::providers::source::{Current, News, Source, SourceIdentity, Sources};
use crate::providers::{Context, Surroundings};
use crate::pulse::Pulse;
use crate::random::Draws;

/// What identities are made with.
#[derive(Debug)]
pub struct Parts {
    pub surroundings: Surroundings,
    /// Chance for one identity.
    pub draws: fn(&IdentityName) -> Box<dyn Draws>,
    /// What every refresher answers.
    pub pulse: Pulse,
    /// What outlasts the process.
    pub ledger: Ledger,
}

/// Who is kept, as one config has it.
#[derive(Debug, Clone)]
pub struct Identities {
    generation: Arc<Generation>,
    keeping: Arc<Keeping>,
}

/// What one config says.
#[derive(Debug)]
struct Generation {
    named: BTreeMap<IdentityName, Vec<Link>>,
    /// Those that others are derived from.
    sources: BTreeSet<IdentityName>,
    /// Until then it may be refused, and is to leave no trace.
    is_in_force: Arc<AtomicBool>,
}

/// What outlasts it.
#[derive(Debug)]
struct Keeping {
    parts: Parts,
    /// Equal ones are one, also where a config that is on its way means the same as the one in
    /// force.
    kept: Mutex<Vec<(Definition, Weak<Node>)>>,
    begun: mpsc::UnboundedSender<Kept>,
}

/// A refresher that runs as long as this lives.
#[derive(Debug)]
struct Node {
    reader: SnapshotReader,
    is_named: bool,
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
pub struct Opened {
    named: BTreeMap<IdentityName, Arc<Node>>,
    identities: Identities,
}

/// What becomes of identities when another config takes the place of the one in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    pub started: Vec<IdentityName>,
    /// Made anew, since their definitions have changed or those of what they are derived from.
    pub restarted: Vec<IdentityName>,
    pub kept: Vec<IdentityName>,
    pub ended: Vec<IdentityName>,
}

impl Opened {
    pub fn readers(&self) -> BTreeMap<IdentityName, SnapshotReader> {
        let nodes = self.named.iter();
        nodes
            .map(|(name, node)| (name.clone(), node.reader.clone()))
            .collect()
    }

    /// Opens what another config says. Identities that both define alike are the same, with all
    /// that they hold; the others are made anew, beside those of before.
    #[must_use]
    pub fn reopened(&self, named: BTreeMap<IdentityName, Vec<Link>>) -> Self {
        Identities::of(named, Arc::clone(&self.identities.keeping)).open_named()
    }

    /// Says that the config is in force by which these were opened, and will not be refused.
    pub fn put_in_force(&self) {
        let generation = &self.identities.generation;
        generation.is_in_force.store(true, Ordering::Relaxed);
    }

    /// What this changes in what was open `before`.
    pub fn changes_from(&self, before: &Self) -> Changes {
        let mut changes = Changes::default();
        for (name, node) in &self.named {
            let list = match before.named.get(name) {
                None => &mut changes.started,
                Some(earlier) if Arc::ptr_eq(node, earlier) => &mut changes.kept,
                Some(_) => &mut changes.restarted,
            };
            list.push(name.clone());
        }
        let names = before.named.keys();
        let ended = names.filter(|name| !self.named.contains_key(*name));
        changes.ended = ended.cloned().collect();
        changes
    }

    /// Waits until it is clear of each of these what becomes of it: it has credentials, or fails
    /// in a way that no waiting mends.
    pub async fn resolved(&self, names: impl Iterator<Item = &IdentityName>) {
        for node in names.filter_map(|name| self.named.get(name)) {
            node.reader.demand();
            let now = || node.clock.now();
            node.reader
                .until(|snapshot| match snapshot.usable(now()) {
                    Usable::Credentials(_) => true,
                    Usable::Unavailable(failure) => !failure.class.may_pass(),
                    Usable::Wait => false,
                })
                .await;
        }
    }
}

impl Identities {
    /// Opens all that `named` says. They are at work once what comes out of the receiver is run.
    pub fn open_all(
        named: BTreeMap<IdentityName, Vec<Link>>,
        parts: Parts,
    ) -> (Opened, mpsc::UnboundedReceiver<Kept>) {
        let (begun, to_run) = mpsc::unbounded_channel();
        let keeping = Keeping {
            parts,
            kept: Mutex::default(),
            begun,
        };
        let opened = Self::of(named, Arc::new(keeping)).open_named();
        opened.put_in_force();
        (opened, to_run)
    }

    fn of(named: BTreeMap<IdentityName, Vec<Link>>, keeping: Arc<Keeping>) -> Self {
        let sources = named.values().flatten().filter_map(Link::built_on);
        let sources = sources.cloned().collect();
        Self {
            generation: Arc::new(Generation {
                named,
                sources,
                is_in_force: Arc::default(),
            }),
            keeping,
        }
    }

    fn open_named(self) -> Opened {
        let open = |name: &IdentityName| {
            let node = self.node(&SourceIdentity::Named(name.clone()), name);
            (name.clone(), node)
        };
        Opened {
            named: self.generation.named.keys().map(open).collect(),
            identities: self,
        }
    }

    fn node(&self, source: &SourceIdentity, on_behalf: &IdentityName) -> Arc<Node> {
        let keeping = &*self.keeping;
        let warnings = keeping.parts.surroundings.challenges.warnings();
        let Generation {
            named,
            sources,
            is_in_force,
        } = &*self.generation;
        let definition = Definition::of(source, named, sources, warnings);
        if let Some(node) = keeping.known(&definition) {
            return node;
        }
        let is_named = definition.name.is_some();
        let name = definition.name.clone().unwrap_or_else(|| {
            let name = IdentityName::parse(&format!("{on_behalf}.from"));
            name.unwrap_or_else(|_| on_behalf.clone())
        });
        let environment = Arc::clone(&keeping.parts.surroundings.environment);
        let ledger = &keeping.parts.ledger;
        let page = ledger.page(definition.clone(), environment, Arc::clone(is_in_force));
        // Not under the lock: a provider opens its own source.
        let context = Context {
            identity: name.clone(),
            surroundings: keeping.parts.surroundings.clone(),
            sources: Arc::new(self.clone()),
        };
        let provider = if definition.is_served {
            chain::build_served(&definition.links, &context)
        } else {
            Box::new(chain::build(&definition.links, &context))
        };
        let clock = Arc::clone(&keeping.parts.surroundings.clock);
        let draws = (keeping.parts.draws)(&name);
        let counts = keeping.parts.surroundings.metrics.refreshes(&name);
        let (refresher, reader) = refresher(name, provider, Arc::clone(&clock), draws);
        let refresher = refresher.counting(counts).watched_by(&keeping.parts.pulse);
        let (needed, is_needed) = oneshot::channel();
        let node = Arc::new(Node {
            reader,
            is_named,
            clock,
            _needed: needed,
        });
        let _ = keeping.begun.send(Kept {
            refresher: refresher.lasting(page),
            needed: is_needed,
        });
        let mut kept = keeping.lock();
        kept.retain(|(_, node)| node.strong_count() > 0);
        kept.push((definition, Arc::downgrade(&node)));
        node
    }
}

impl Keeping {
    fn known(&self, definition: &Definition) -> Option<Arc<Node>> {
        let kept = self.lock();
        let mut alike = kept.iter().filter(|(it, _)| it == definition);
        // One that has ended may stand before one that lives.
        alike.find_map(|(_, node)| node.upgrade())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Definition, Weak<Node>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sources for Identities {
    fn open(&self, source: &SourceIdentity, on_behalf: &IdentityName) -> Box<dyn Source> {
        let node = self.node(source, on_behalf);
        Box::new(View {
            published: node.reader.published(),
            node,
            given: None,
            rejected: None,
            outdated: None,
            is_waited_for: false,
        })
    }
}

/// A kept identity as what is derived from it sees it.
#[derive(Debug)]
struct View {
    node: Arc<Node>,
    published: watch::Receiver<u64>,
    /// The last set that was used.
    given: Option<Arc<Credentials>>,
    /// One that AWS takes no longer.
    rejected: Option<Arc<Credentials>>,
    /// How many attempts there had been when another was ordered.
    outdated: Option<u64>,
    /// Whether nothing but a change can better the last look, or one that was cut off.
    is_waited_for: bool,
}

impl View {
    /// Nothing where something is about to come.
    fn look(&mut self) -> Option<Result<Arc<Credentials>, Failure>> {
        let snapshot = self.node.reader.load();
        match snapshot.usable(self.node.clock.now()) {
            Usable::Credentials(set) if is_same(self.rejected.as_ref(), set) => {
                let no_other = || Failure::transient("AWS takes its session no longer");
                let trouble = snapshot.trouble.as_ref();
                let why = trouble.map_or_else(no_other, |it| it.failure.clone());
                Some(Err(self.failure(&why)))
            }
            Usable::Credentials(set) => {
                self.given = Some(Arc::clone(set));
                Some(Ok(Arc::clone(set)))
            }
            Usable::Unavailable(_) if self.outdated == Some(snapshot.attempts) => None,
            Usable::Unavailable(why) => Some(Err(self.failure(why))),
            Usable::Wait => None,
        }
    }

    /// Whether somebody has put other keys in the place of those that were given. Sessions come
    /// and go, and one that was made of the last is as good.
    fn has_other_keys(&self) -> bool {
        let snapshot = self.node.reader.load();
        let given = self.given.as_ref().filter(|given| given.is_long_lived());
        match (given, snapshot.usable(self.node.clock.now())) {
            (Some(given), Usable::Credentials(set)) => !given.is_same(set),
            _ => false,
        }
    }

    fn failure(&self, why: &Failure) -> Failure {
        let name = self.node.reader.identity();
        Failure {
            message: format!("its source, {name}: {}", why.message),
            retry_after: None,
            ..why.clone()
        }
    }
}

impl Source for View {
    fn name(&self) -> &str {
        self.node.reader.identity().as_str()
    }

    fn credentials(&mut self) -> Current<'_> {
        Box::pin(async {
            self.is_waited_for = true;
            loop {
                self.published.borrow_and_update();
                if let Some(outcome) = self.look() {
                    self.is_waited_for = outcome.is_err();
                    // Attempts are counted from the start once a source is forgotten.
                    self.outdated = None;
                    return outcome;
                }
                self.node.reader.demand();
                if self.published.changed().await.is_err() {
                    return Err(Failure::transient("its source has ended"));
                }
            }
        })
    }

    fn news(&mut self) -> News<'_> {
        Box::pin(async {
            loop {
                if self.published.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                if self.is_waited_for || self.has_other_keys() {
                    return;
                }
            }
        })
    }

    fn refresh(&mut self) {
        let snapshot = self.node.reader.load();
        if let Usable::Unavailable(_) = snapshot.usable(self.node.clock.now()) {
            self.outdated = Some(snapshot.attempts);
            self.node.reader.refresh();
        }
    }

    fn reject(&mut self) {
        let given = self.given.take();
        // The source may have another by now.
        match self.node.reader.load().usable(self.node.clock.now()) {
            Usable::Credentials(set) if is_same(given.as_ref(), set) => self.node.reader.replace(),
            _ => {}
        }
        self.rejected = given;
        self.is_waited_for = true;
    }

    fn forget_unnamed(&mut self) {
        if !self.node.is_named {
            self.node.reader.forget();
        }
    }
}

fn is_same(one: Option<&Arc<Credentials>>, other: &Arc<Credentials>) -> bool {
    one.is_some_and(|one| Arc::ptr_eq(one, other))
}
