//! What all identities hold, for whoever keeps it beyond this process, and what an earlier process
//! has left for them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::held::Held;
use crate::clock::{BootInstant, SharedClock, Timestamp, timeout};
use crate::environment::Environment;
use crate::identity::IdentityName;
use crate::providers::definition::Definition;
use crate::state::{KeptSet, Mark, Marker};

/// Files that say who somebody is may be on a network that hangs; then nothing is kept or restored.
const DEFINING: Duration = Duration::from_secs(5);

/// None where nothing outlasts the process.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Option<Arc<Book>>);

#[derive(Debug)]
struct Book {
    marker: Arc<Marker>,
    entries: Mutex<Entries>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    /// By the number of the page.
    held: BTreeMap<u64, KeptSet>,
    /// Of an earlier process, whose identities have not been opened yet in this one.
    left: Vec<KeptSet>,
    /// The pages whose sets come from there.
    taken: BTreeSet<u64>,
    pages: u64,
}

impl Ledger {
    pub fn lasting(marker: Arc<Marker>, left: Vec<KeptSet>) -> Self {
        let entries = Entries {
            left,
            ..Entries::default()
        };
        Self(Some(Arc::new(Book {
            marker,
            entries: Mutex::new(entries),
            changed: Notify::new(),
        })))
    }

    /// What is to outlast the process.
    pub fn kept(&self, now: Timestamp) -> Vec<KeptSet> {
        let Some(book) = &self.0 else {
            return Vec::new();
        };
        let entries = book.lock();
        let all = entries.held.values().chain(&entries.left);
        all.filter(|set| set.is_usable(now)).cloned().collect()
    }

    /// Completes when what is kept has changed since it last did.
    pub async fn changed(&self) {
        match &self.0 {
            Some(book) => book.changed.notified().await,
            None => std::future::pending().await,
        }
    }

    /// The page of an identity that is about to be refreshed, of a config that is in force as told
    /// there.
    pub(super) fn page(
        &self,
        definition: Definition,
        environment: Arc<Environment>,
        is_in_force: Arc<AtomicBool>,
    ) -> Page {
        Page(self.0.clone().map(|book| Written {
            number: book.number(),
            book,
            definition,
            environment,
            is_in_force,
        }))
    }
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self) -> u64 {
        let mut entries = self.lock();
        entries.pages += 1;
        entries.pages
    }

    fn identity(&self, name: Option<&IdentityName>) -> Option<Mark> {
        name.map(|name| self.marker.mark(&("identity", name)))
    }
}

impl Entries {
    /// Drops what an earlier process has left for one that has a name.
    fn drop_left(&mut self, identity: Option<Mark>) {
        if identity.is_some() {
            self.left.retain(|set| set.identity != identity);
        }
    }

    /// Empties a page, and says what was on it.
    fn release(&mut self, page: u64) -> Option<KeptSet> {
        self.taken.remove(&page);
        self.held.remove(&page)
    }
}

/// One identity's entry. It goes when this does.
#[derive(Debug, Default)]
pub(super) struct Page(Option<Written>);

#[derive(Debug)]
struct Written {
    book: Arc<Book>,
    number: u64,
    definition: Definition,
    environment: Arc<Environment>,
    /// Whether the config is that defines the identity so. One that is refused leaves no trace.
    is_in_force: Arc<AtomicBool>,
}

impl Written {
    fn name(&self) -> Option<Mark> {
        self.book.identity(self.definition.name.as_ref())
    }

    /// Whose set of an earlier process goes, now that it has another.
    fn supersedes(&self) -> Option<Mark> {
        let is_in_force = self.is_in_force.load(Ordering::Relaxed);
        self.name().filter(|_| is_in_force)
    }
}

impl Page {
    /// What decides which set the identity has, as of now. None where nothing outlasts the process,
    /// and where nobody can tell.
    pub(super) async fn definition(&self, clock: &SharedClock) -> Option<Mark> {
        let Written {
            book,
            definition,
            environment,
            ..
        } = self.0.as_ref()?;
        let marking = definition.mark(&book.marker, environment);
        timeout(&**clock, DEFINING, marking).await.ok().flatten()
    }

    /// The files that decide it, besides the config.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let written = self.0.as_ref();
        written.map_or_else(Vec::new, |it| it.definition.files(&it.environment))
    }

    /// What an earlier process has left for the identity, if it is still what that stands for. What
    /// it left for another meaning of the same name goes. Where nobody can tell it stays.
    pub(super) fn take(&self, definition: Option<Mark>) -> Option<KeptSet> {
        let written = self.0.as_ref()?;
        let definition = definition?;
        let mut entries = written.book.lock();
        let is_it = |set: &KeptSet| set.definition == definition;
        let at = entries.left.iter().position(is_it);
        let set = at.map(|at| entries.left.swap_remove(at));
        entries.drop_left(written.supersedes());
        if let Some(set) = &set {
            entries.held.insert(written.number, set.clone());
            entries.taken.insert(written.number);
        }
        set
    }

    /// Enters what the identity holds now. Nothing where it would be of no use later: without an
    /// end, or where nobody can tell what it stands for.
    pub(super) fn hold(&self, held: &Held, definition: Option<Mark>, due: Option<BootInstant>) {
        let Some(written) = &self.0 else {
            return;
        };
        let Written { book, number, .. } = written;
        let set = definition.and_then(|definition| held.kept(written.name(), definition, due));
        let mut entries = book.lock();
        entries.drop_left(written.supersedes());
        let before = match set.clone() {
            Some(set) => entries.held.insert(*number, set),
            None => entries.held.remove(number),
        };
        drop(entries);
        let is_same = match (&before, &set) {
            (None, None) => true,
            (Some(before), Some(set)) => {
                before.definition == set.definition && held.is_same_set(&before.credentials)
            }
            _ => false,
        };
        if !is_same {
            book.changed.notify_one();
        }
    }

    /// The identity is to hold nothing, also of an earlier process's.
    pub(super) fn forget(&self) {
        self.release();
        if let Some(written) = &self.0 {
            written.book.lock().drop_left(written.name());
            written.book.changed.notify_one();
        }
    }

    /// The identity holds nothing any more.
    pub(super) fn release(&self) {
        let Some(Written { book, number, .. }) = &self.0 else {
            return;
        };
        if book.lock().release(*number).is_some() {
            book.changed.notify_one();
        }
    }
}

/// What an earlier process has left is there for the next config, where this one was refused.
impl Drop for Page {
    fn drop(&mut self) {
        let Some(written) = &self.0 else { return };
        let mut entries = written.book.lock();
        let was_left = entries.taken.contains(&written.number);
        let Some(set) = entries.release(written.number) else {
            return;
        };
        if was_left && !written.is_in_force.load(Ordering::Relaxed) {
            entries.left.push(set);
        }
        drop(entries);
        written.book.changed.notify_one();
    }
}
