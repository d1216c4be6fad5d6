//! Everything that goes to the service manager, and the tasks that send it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::herald::{Herald, Subjects};
use super::watchdog;
use crate::challenge::Challenges;
use crate::clock::{self, SharedClock};
use crate::environment::Environment;
use crate::identity::IdentityName;
use crate::pulse::Pulse;
use crate::refresh::SnapshotReader;
use crate::systemd::{self, Notifier};

pub(super) struct Supervision {
    pub(super) notifier: Arc<Notifier>,
    /// What every listener and every refresher answers.
    pub(super) pulse: Pulse,
    /// How often the service manager wants to hear that they do.
    interval: Option<Duration>,
    subjects: watch::Sender<Subjects>,
}

impl Supervision {
    pub(super) fn by(environment: &Environment) -> Self {
        Self {
            notifier: Arc::new(Notifier::of(environment)),
            pulse: Pulse::default(),
            interval: systemd::watchdog(environment),
            subjects: watch::Sender::default(),
        }
    }

    /// Whom the service manager is told of from now on, and what else an operator should see.
    pub(super) fn tell_of(
        &self,
        identities: BTreeMap<IdentityName, SnapshotReader>,
        note: Option<&'static str>,
    ) {
        self.subjects.send_replace(Subjects {
            identities,
            note,
            reloading_since: None,
        });
    }

    /// The config is being read anew, until it is said [whom to tell of](Self::tell_of).
    pub(super) fn reloading(&self) {
        let since = clock::monotonic();
        self.subjects
            .send_modify(|subjects| subjects.reloading_since = Some(since));
    }

    /// Runs the tasks, which never end, among `tasks`.
    pub(super) fn begin(
        &self,
        tasks: &mut JoinSet<()>,
        challenges: &Arc<Challenges>,
        clock: &SharedClock,
    ) {
        let herald = Herald {
            subjects: self.subjects.subscribe(),
            challenges: Arc::clone(challenges),
            notifier: Arc::clone(&self.notifier),
            clock: Arc::clone(clock),
        };
        tasks.spawn(herald.run());
        if let Some(interval) = self.interval {
            let (notifier, clock) = (Arc::clone(&self.notifier), Arc::clone(clock));
            let pulse = self.pulse.clone();
            tasks.spawn(async move {
                watchdog::watch(&pulse, &notifier, interval, &*clock).await;
            });
        }
    }
}
