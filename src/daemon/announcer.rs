//! What is announced about sessions that only a person can renew, on its way out to an operator's
//! hook. The log has it already.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::challenge::{Announcement, Challenges};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::environment::Environment;
use crate::program::{Command, Limits};

/// Of one run of the hook. It is there to send a message, not to wait for an answer.
const HOOK: Limits = Limits {
    deadline: Duration::from_secs(30),
    output_bytes: 64 * 1024,
};

/// Runs of the hook at a time. What is announced meanwhile waits.
const HOOKS: usize = 4;

/// Tells what is announced from when it was made.
pub(super) struct Announcer {
    announcements: Receiver<Announcement>,
    duties: watch::Receiver<Duties>,
    hooks: Hooks,
}

/// What the config says.
#[derive(Debug, Default)]
pub(super) struct Duties {
    pub(super) hook: Option<Arc<Command>>,
}

impl Duties {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            hook: config.challenges.hook.clone().map(Arc::new),
        }
    }
}

struct Hooks {
    environment: Arc<Environment>,
    clock: SharedClock,
    running: JoinSet<()>,
}

impl Announcer {
    pub(super) fn new(
        challenges: &Challenges,
        duties: Duties,
        environment: &Arc<Environment>,
        clock: &SharedClock,
    ) -> (Self, watch::Sender<Duties>) {
        let (others, duties) = watch::channel(duties);
        let announcer = Self {
            announcements: challenges.announcements(),
            duties,
            hooks: Hooks {
                environment: Arc::clone(environment),
                clock: Arc::clone(clock),
                running: JoinSet::new(),
            },
        };
        (announcer, others)
    }

    /// Never ends of itself.
    pub(super) async fn run(mut self) {
        loop {
            let received = tokio::select! {
                received = self.announcements.recv() => received,
                Ok(()) = self.duties.changed() => continue,
            };
            let announcement = match received {
                Ok(announcement) => announcement,
                Err(RecvError::Lagged(count)) => {
                    tracing::warn!(
                        count,
                        "the hook is too slow: it was not run for some events"
                    );
                    continue;
                }
                Err(RecvError::Closed) => return std::future::pending().await,
            };
            let hook = self.duties.borrow().hook.clone();
            if let Some(command) = hook {
                self.hooks.run(command, announcement).await;
            }
        }
    }
}

impl Hooks {
    async fn run(&mut self, command: Arc<Command>, announcement: Announcement) {
        while self.running.len() >= HOOKS {
            self.running.join_next().await;
        }
        while self.running.try_join_next().is_some() {}
        let environment = told(&self.environment, &announcement);
        let clock = Arc::clone(&self.clock);
        self.running.spawn(async move {
            if let Err(error) = command.run(HOOK, &environment, &*clock).await {
                let identity = &announcement.subject.identity;
                tracing::warn!(%identity, event = announcement.kind.as_str(), %error, "the hook failed");
            }
        });
    }
}

/// The environment of the hook.
fn told(environment: &Environment, announcement: &Announcement) -> Environment {
    let Announcement {
        subject,
        ends,
        kind,
    } = announcement;
    let inherited = environment.variables();
    let told = [
        ("CREDD_IDENTITY", Some(subject.identity.to_string())),
        ("CREDD_SERIAL", Some(subject.serial.clone())),
        ("CREDD_EVENT", Some(kind.as_str().to_owned())),
        ("CREDD_ENDS", ends.map(|ends| ends.to_string())),
    ];
    let told = told
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    inherited
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .chain(told)
        .collect()
}
