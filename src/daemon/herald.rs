//! The task that tells the service manager how the identities do, when that is good enough to be
//! called ready, and while a config is read anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::standing;
use crate::challenge::Challenges;
use crate::clock::{BootInstant, SharedClock};
use crate::identity::IdentityName;
use crate::refresh::SnapshotReader;
use crate::systemd::Notifier;

/// Units that are ordered after credd wait no longer than that for identities that cannot be had:
/// far below a unit's usual start timeout of 90 s (`DefaultTimeoutStartSec=`, systemd-system.conf(5)).
const PATIENCE: Duration = Duration::from_secs(20);

/// Until what the service manager did not take is said again.
const AGAIN: Duration = Duration::from_secs(1);

/// Whom the service manager is told of.
#[derive(Debug, Clone, Default)]
pub(super) struct Subjects {
    pub(super) identities: BTreeMap<IdentityName, SnapshotReader>,
    /// What else an operator should see.
    pub(super) note: Option<&'static str>,
    /// Since when the config is being read anew, by
    /// [`clock::monotonic`](crate::clock::monotonic).
    pub(super) reloading_since: Option<Duration>,
}

pub(super) struct Herald {
    pub(super) subjects: watch::Receiver<Subjects>,
    pub(super) challenges: Arc<Challenges>,
    pub(super) notifier: Arc<Notifier>,
    pub(super) clock: SharedClock,
}

impl Herald {
    /// Never ends.
    pub(super) async fn run(mut self) {
        if !self.notifier.is_heard() {
            return std::future::pending().await;
        }
        let mut jumps = self.clock.jumps();
        let mut announcements = self.challenges.announcements();
        let mut readiness = Readiness::by(self.clock.boot().after(PATIENCE));
        let mut shown = String::new();
        let news = Arc::new(Notify::new());
        let mut watching = watching(&self.subjects.borrow_and_update().identities, &news);
        loop {
            let wake = self.tell(&mut readiness, &mut shown);
            tokio::select! {
                () = news.notified() => {}
                // Behind, or at the end: what is asked is looked up in any case.
                _ = announcements.recv() => {}
                Ok(()) = self.subjects.changed() => {
                    watching = self::watching(&self.subjects.borrow_and_update().identities, &news);
                }
                () = jumps.next() => {}
                () = self.clock.sleep_until(wake) => {}
                Some(_) = watching.join_next() => {}
            }
        }
    }

    /// Says what is new, and when to look again if nothing happens.
    fn tell(&self, readiness: &mut Readiness, shown: &mut String) -> BootInstant {
        let (now, boot) = (self.clock.now(), self.clock.boot());
        let subjects = self.subjects.borrow();
        let snapshots: Vec<_> = subjects
            .identities
            .iter()
            .map(|(name, reader)| (name, reader.load()))
            .collect();
        let identities = snapshots.iter().map(|(name, it)| (*name, &***it));
        let identities: Vec<_> = identities.collect();
        let line = standing::line(&identities, &self.challenges.list(), now);
        let line = match subjects.note {
            Some(note) => format!("{line}; {note}"),
            None => line,
        };
        if line != *shown {
            self.notifier.status(&line);
            *shown = line;
        }
        let are_settled = || {
            snapshots
                .iter()
                .all(|(_, it)| standing::is_settled(it, now))
        };
        let reloading = subjects.reloading_since;
        let again = readiness.look(boot, are_settled, reloading, &self.notifier);
        let changes = snapshots.iter().filter_map(|(_, it)| it.changes_at(now));
        let change = changes.min().map(|at| boot.after(now.until(at)));
        change
            .into_iter()
            .chain(again)
            .min()
            .unwrap_or(BootInstant::NEVER)
    }
}

/// What the service manager takes credd for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Until then it hears of no reload: the word that ends one is the word that ends the start.
    Starting,
    Ready,
    Reloading,
}

/// Whether the service manager knows that credd is ready.
struct Readiness {
    said: Said,
    /// When it is so in any case.
    by: BootInstant,
}

impl Readiness {
    fn by(by: BootInstant) -> Self {
        let said = Said::Starting;
        Self { said, by }
    }

    /// Says what is new, and when to look again.
    fn look(
        &mut self,
        boot: BootInstant,
        are_settled: impl Fn() -> bool,
        reloading_since: Option<Duration>,
        notifier: &Notifier,
    ) -> Option<BootInstant> {
        if self.said == Said::Starting
            && let Some(again) = self.start(boot, are_settled, notifier)
        {
            return Some(again);
        }
        match (self.said, reloading_since) {
            (Said::Ready, Some(since)) => {
                // Lost, it is as if that took no time.
                let _ = notifier.reloading(since);
                self.said = Said::Reloading;
            }
            (Said::Reloading, None) => {
                if notifier.ready().is_err() {
                    return Some(boot.after(AGAIN));
                }
                self.said = Said::Ready;
            }
            _ => {}
        }
        None
    }

    /// Says that credd is ready once it is; else when to look again.
    fn start(
        &mut self,
        boot: BootInstant,
        are_settled: impl Fn() -> bool,
        notifier: &Notifier,
    ) -> Option<BootInstant> {
        let are_settled = are_settled();
        if !are_settled && boot < self.by {
            return Some(self.by);
        }
        if notifier.ready().is_err() {
            return Some(boot.after(AGAIN));
        }
        self.said = Said::Ready;
        if are_settled {
            tracing::info!("ready: every identity is served, or waits for a person");
        } else {
            tracing::warn!("called ready although not every identity is served yet");
        }
        None
    }
}

/// Has `news` told of whatever one of them publishes.
fn watching(
    identities: &BTreeMap<IdentityName, SnapshotReader>,
    news: &Arc<Notify>,
) -> JoinSet<()> {
    let mut watching = JoinSet::new();
    for reader in identities.values() {
        let (mut published, news) = (reader.published(), Arc::clone(news));
        watching.spawn(async move {
            while published.changed().await.is_ok() {
                news.notify_one();
            }
        });
    }
    watching
}
