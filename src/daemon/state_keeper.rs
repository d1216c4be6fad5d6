//! What outlasts the daemon, taken over from the one before and left for the next.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::SharedClock;
use crate::os::host;
use crate::providers::Surroundings;
use crate::providers::shared_session::SharedSessions;
use crate::providers::sts::UpstreamTime;
use crate::refresh::Ledger;
use crate::state::{self, Contents, Keys, Marker, Store};
use crate::systemd::{Inherited, Notifier};

/// Sets are written down this often at most. MFA sessions, which cost a person something, are
/// written down as they come, before that person hears of it.
const PAUSE: Duration = Duration::from_millis(20);

/// What the parts of the daemon share with it. Where nothing outlasts the daemon, they are those of
/// any other.
#[derive(Debug)]
pub(super) struct Outlasting {
    pub(super) ledger: Ledger,
    sessions: SharedSessions,
    upstream_time: UpstreamTime,
    pub(super) keys: Arc<Keys>,
    pub(super) keeper: StateKeeper,
}

/// Writes all of it down as it changes.
#[derive(Debug)]
pub(super) struct StateKeeper {
    /// None where nobody keeps anything for the next start.
    store: Option<Store>,
    boot: Option<String>,
    keys: Arc<Keys>,
    ledger: Ledger,
    sessions: SharedSessions,
    upstream_time: UpstreamTime,
    clock: SharedClock,
}

impl Outlasting {
    /// Takes over what the service manager has kept, as far as it can be read, and has it keep what
    /// is written down from now on.
    pub(super) fn open(
        inherited: &mut Inherited,
        notifier: &Notifier,
        clock: &SharedClock,
    ) -> Self {
        let stored = inherited.take_stored(state::NAME);
        let (store, contents, is_kept) = match taken_over(stored, notifier) {
            Some((store, contents)) => (Some(store), contents, Some(true)),
            None => (begun(notifier), None, notifier.keeps_descriptors()),
        };
        let Contents {
            keys,
            upstream_at_boot,
            sets,
            sessions,
            ..
        } = contents.unwrap_or_else(|| Contents::of(Keys::random()));
        let (ledger, sessions) = if let Some(store) = &store {
            say(store, sets.len(), sessions.len(), is_kept);
            let marker = Arc::new(Marker::new(&keys.marks));
            let ledger = Ledger::lasting(Arc::clone(&marker), sets);
            (ledger, SharedSessions::lasting(marker, sessions))
        } else {
            (Ledger::default(), SharedSessions::default())
        };
        let upstream_time = UpstreamTime::lasting(upstream_at_boot, &**clock);
        let keys = Arc::new(keys);
        let mut keeper = StateKeeper {
            store,
            boot: host::boot_id(),
            keys: Arc::clone(&keys),
            ledger: ledger.clone(),
            sessions: sessions.clone(),
            upstream_time: upstream_time.clone(),
            clock: Arc::clone(clock),
        };
        // The keys are those of the next start, whatever becomes of this one.
        keeper.save();
        Self {
            ledger,
            sessions,
            upstream_time,
            keys,
            keeper,
        }
    }

    /// Surroundings of providers that share it.
    pub(super) fn known_to(&self, surroundings: Surroundings) -> Surroundings {
        Surroundings {
            shared_sessions: self.sessions.clone(),
            upstream_time: self.upstream_time.clone(),
            ..surroundings
        }
    }
}

/// Says what becomes of sessions with a restart, as far as it is known. That an earlier run's memory
/// is here proves that it is kept.
fn say(store: &Store, sets: usize, mfa_sessions: usize, is_kept: Option<bool>) {
    let memory = store.kind();
    match is_kept {
        Some(true) => {
            tracing::info!(%memory, sets, mfa_sessions, "sessions are kept through restarts");
        }
        None => tracing::info!(
            %memory,
            "sessions are handed to the service manager; it does not say whether it keeps them \
             through restarts, which takes FileDescriptorStoreMax= in the unit"
        ),
        Some(false) => tracing::warn!(
            "the service manager keeps nothing for this unit: a restart costs MFA codes and calls to \
             AWS; set FileDescriptorStoreMax=16 in the unit"
        ),
    }
}

/// The first that can be read, alone of those that are kept.
fn taken_over(stored: Vec<OwnedFd>, notifier: &Notifier) -> Option<(Store, Option<Contents>)> {
    let count = stored.len();
    let mut taken = None;
    for descriptor in stored {
        match Store::open(&descriptor) {
            Ok((store, contents)) if taken.is_none() => taken = Some((descriptor, store, contents)),
            Ok(_) => {
                tracing::warn!("the service manager has kept more than one state; one is dropped");
            }
            Err(why) => {
                tracing::warn!(%why, "what the service manager has kept cannot be used, and is dropped");
            }
        }
    }
    if count > usize::from(taken.is_some()) {
        // By name, so that all of them go.
        let _ = notifier.discard(state::NAME);
        if let Some((descriptor, ..)) = &taken {
            let _ = notifier.store(state::NAME, descriptor);
        }
    }
    taken.map(|(_, store, contents)| (store, contents))
}

/// Memory that the service manager keeps from now on, if there is a service manager.
fn begun(notifier: &Notifier) -> Option<Store> {
    if !notifier.is_heard() {
        return None;
    }
    let begun = Store::new().and_then(|(store, descriptor)| {
        notifier.store(state::NAME, &descriptor)?;
        Ok(store)
    });
    begun
        .inspect_err(|error| {
            tracing::warn!(
                %error,
                "cannot keep sessions through restarts: a restart costs MFA codes; if memory cannot \
                 be locked, raise RLIMIT_MEMLOCK (LimitMEMLOCK= of the unit) to 8 MiB"
            );
        })
        .ok()
}

impl StateKeeper {
    /// Never ends. When it is dropped all is written down, but for what has changed since it was
    /// last polled.
    pub(super) async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        if self.store.is_none() {
            std::future::pending::<()>().await;
        }
        loop {
            tokio::select! {
                biased;
                () = self.sessions.changed() => {}
                () = self.ledger.changed() => {}
            }
            self.save();
            tokio::select! {
                biased;
                () = self.sessions.changed() => self.save(),
                // There may be no time left for pauses.
                _ = stopping.wait_for(|is_stopping| *is_stopping) => {}
                () = self.clock.deadline(PAUSE) => {}
            }
        }
    }

    fn save(&mut self) {
        let now = self.clock.now();
        if let Some(store) = &mut self.store {
            store.save(Contents {
                boot: self.boot.clone(),
                keys: (*self.keys).clone(),
                upstream_at_boot: self.upstream_time.at_boot(&*self.clock),
                sets: self.ledger.kept(now),
                sessions: self.sessions.kept(now),
            });
        }
    }
}
