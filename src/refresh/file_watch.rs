//! Looks at the files that a provider reads, so that a change of them counts soon. By polling:
//! Kubernetes swaps links above a file, and network file systems tell nobody of changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::clock::{BootInstant, SharedClock};
use crate::os::files::{Stamp, stamp};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(5);

/// What each file was like, where there was one.
type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

pub(super) struct FileWatch {
    clock: SharedClock,
    files: Vec<PathBuf>,
    seen: Stamps,
    next: BootInstant,
    /// A look under way. It may hang, on a dead file server, and is not begun twice then.
    looking: Option<JoinHandle<Stamps>>,
}

impl FileWatch {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self {
            next: clock.boot(),
            clock,
            files: Vec::new(),
            seen: Stamps::new(),
            looking: None,
        }
    }

    /// From now on, these are looked at.
    pub(super) fn watch(&mut self, files: Vec<PathBuf>) {
        if files != self.files {
            self.files = files;
            self.next = self.clock.boot();
        }
    }

    /// Completes when one of the files is other than at the look before. Dropping it loses nothing.
    pub(super) async fn changed(&mut self) {
        loop {
            if self.files.is_empty() {
                std::future::pending::<()>().await;
            }
            if self.looking.is_none() {
                self.clock.sleep_until(self.next).await;
            }
            let files = &self.files;
            let looking = self.looking.get_or_insert_with(|| {
                let files = files.clone();
                tokio::task::spawn_blocking(move || look(files))
            });
            let found = looking.await;
            self.looking = None;
            self.next = self.clock.boot().after(INTERVAL);
            let Ok(found) = found else { continue };
            let is_other = |(path, stamp): (&PathBuf, &Option<Stamp>)| {
                self.seen.get(path).is_some_and(|seen| seen != stamp)
            };
            let is_changed = found.iter().any(is_other);
            self.seen = found;
            if is_changed {
                return;
            }
        }
    }
}

fn look(files: Vec<PathBuf>) -> Stamps {
    let look = |path: PathBuf| {
        let stamp = stamp(&path);
        (path, stamp)
    };
    files.into_iter().map(look).collect()
}
