//! The composition root: it alone knows how the parts fit together.

mod announcer;
mod doors;
mod folder;
mod handover;
mod herald;
pub mod runtime_directory;
pub mod sandbox;
pub mod signals;
mod standing;
mod state_keeper;
mod supervision;
mod token_file;
mod token_keeper;
mod unusable;
pub mod watchdog;

use std::fmt;
use std::future::Future;
use std::mem::take;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::audit;
use crate::authz::Policy;
use crate::challenge::{Challenges, UsedCodes};
use crate::clock::{SharedClock, timeout};
use crate::config::{self, Config};
use crate::environment::Environment;
use crate::http::{Client, Proxies, Roots};
use crate::identity::IdentityName;
use crate::os::{memory, process};
use crate::providers::Surroundings;
use crate::random::{self, Draws};
use crate::refresh::{self, Identities, Kept, Opened};
use crate::serve::{
    Admin, BindError, Connections, Imds, ImdsConfig, ImdsTerms, InForce, Limits, Monitoring,
    Public, Site, Terms, TokenOrders, Untold, Witness,
};
use crate::systemd::Inherited;
use announcer::Announcer;
use doors::{Doors, Endpoints};
use handover::{HandedOver, Mismatch};
use runtime_directory::RuntimeDirectory;
use state_keeper::{Outlasting, StateKeeper};
use supervision::Supervision;
use token_keeper::TokenKeeper;

pub use unusable::Unusable;

/// What is left of the audit log at the end may take this long to write.
const AUDIT_END: Duration = Duration::from_secs(1);

/// All that a daemon is made from.
#[derive(Debug)]
pub struct Parts {
    pub config: Config,
    pub environment: Arc<Environment>,
    /// The ends that the audit log may leave by.
    pub outlets: audit::Outlets,
    pub runtime_directory: PathBuf,
    /// What the service manager has handed over.
    pub inherited: Inherited,
    /// Whether this host is an EC2 instance.
    pub is_on_ec2: bool,
    pub clock: SharedClock,
    /// Chance for one identity.
    pub draws: fn(&IdentityName) -> Box<dyn Draws>,
}

/// A daemon whose sockets are bound and whose identities are about to be refreshed.
pub struct Daemon {
    site: Arc<Site>,
    imds: Arc<Imds>,
    surroundings: Surroundings,
    identities: Opened,
    begun: mpsc::UnboundedReceiver<Kept>,
    doors: Doors,
    limits: Limits,
    witness: Witness,
    announcer: Announcer,
    supervision: Supervision,
    audit_writer: audit::Writer,
    clock: SharedClock,
    token_keeper: TokenKeeper,
    token_orders: TokenOrders,
    state_keeper: StateKeeper,
    /// Keeps the directory ours.
    _directory: RuntimeDirectory,
}

/// Why a daemon cannot start. Nothing of another instance has been touched then.
#[derive(Debug)]
pub enum StartError {
    RuntimeDirectory(Unusable),
    Audit(audit::Unusable),
    HandedOver(Mismatch),
    Bind(BindError),
    /// The rules ask for more about callers than the kernel tells here.
    Callers(Untold),
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RuntimeDirectory(error) => error.fmt(formatter),
            Self::Audit(error) => error.fmt(formatter),
            Self::HandedOver(error) => error.fmt(formatter),
            Self::Bind(error) => error.fmt(formatter),
            Self::Callers(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for StartError {}

impl From<Unusable> for StartError {
    fn from(error: Unusable) -> Self {
        Self::RuntimeDirectory(error)
    }
}

impl From<audit::Unusable> for StartError {
    fn from(error: audit::Unusable) -> Self {
        Self::Audit(error)
    }
}

impl From<Mismatch> for StartError {
    fn from(error: Mismatch) -> Self {
        Self::HandedOver(error)
    }
}

impl From<BindError> for StartError {
    fn from(error: BindError) -> Self {
        Self::Bind(error)
    }
}

impl From<Untold> for StartError {
    fn from(error: Untold) -> Self {
        Self::Callers(error)
    }
}

impl Daemon {
    /// Claims everything that only one instance may have, in the order in which a failure does
    /// the least harm: the directory, the ports, then the names of the sockets.
    pub async fn start(parts: Parts) -> Result<Self, StartError> {
        let Parts {
            mut config,
            environment,
            outlets,
            runtime_directory,
            mut inherited,
            is_on_ec2,
            clock,
            draws,
        } = parts;
        let handed_over = HandedOver::into(&mut config.serve, &runtime_directory, &mut inherited)?;
        let witness = Witness::default();
        witness.suffices_for(&config.allow, &config.serve.tcp_addresses())?;
        let policy = policy(&mut config);
        let directory = RuntimeDirectory::claim(runtime_directory)?;
        let (audit, audit_writer) = audit::open(&config.audit, outlets, random::bytes())?;
        let doors = Doors::open(&config, &directory, &policy, handed_over).await?;
        let (token_keeper, token_orders) =
            TokenKeeper::open(&directory, config.tokens, Arc::clone(&clock))?;
        let outlasting = Outlasting::open(&mut inherited, &environment, &clock);
        let challenges = challenges(&config.challenges, &directory, &clock);
        let announcer = Announcer::new(&challenges, config.challenges.hook, &environment, &clock);
        let supervision = Supervision::by(&environment);
        let surroundings = Surroundings {
            is_on_ec2,
            ..outlasting.known_to(surroundings(
                environment,
                doors.addresses(),
                Arc::clone(&clock),
            ))
        }
        .with_challenges(Arc::clone(&challenges));
        let links = config.identities.clone();
        let parts = refresh::Parts {
            surroundings: surroundings.clone(),
            draws,
            pulse: supervision.pulse.clone(),
            ledger: outlasting.ledger,
        };
        let (identities, begun) = Identities::open_all(config.identities, parts);
        supervision.tell_of(identities.readers());
        let site = Arc::new(Site {
            began: clock.boot(),
            clock: Arc::clone(&clock),
            terms: InForce::new(Terms {
                identities: identities.readers(),
                links,
                policy,
                admins: doors.admins,
                url: doors.url(),
                token_files: token_keeper.files(),
                imds: config.serve.imds.map(|imds| imds_terms(imds, &doors)),
            }),
            tokens: token_keeper.tokens(),
            audit,
            metrics: Arc::clone(&surroundings.metrics),
            started: clock.now(),
            challenges,
        });
        let imds = Arc::new(Imds::new(Arc::clone(&site), &outlasting.keys.imds));
        Ok(Self {
            site,
            imds,
            surroundings,
            identities,
            begun,
            doors,
            limits: config.serve.limits,
            witness,
            announcer,
            supervision,
            audit_writer,
            clock,
            token_keeper,
            token_orders,
            state_keeper: outlasting.keeper,
            _directory: directory,
        })
    }

    /// What is served, for whoever runs the daemon inside a program of their own.
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Where the IMDS endpoint listens.
    pub fn imds_addresses(&self) -> Vec<SocketAddr> {
        self.doors.imds()
    }

    /// Where what monitors credd is listened to.
    pub fn metrics_addresses(&self) -> Vec<SocketAddr> {
        self.doors.monitoring()
    }

    /// Runs until `stop` completes, then drains.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), TaskEnded> {
        let (stopping, stopped) = watch::channel(false);
        let connections = Connections::new(Arc::clone(&self.clock), self.limits, self.witness)
            .knowing(self.site.terms.load().policy.known_users())
            .watched_by(self.supervision.pulse.clone())
            .counted(Arc::clone(&self.site.metrics));
        let connections = Arc::new(connections);
        let site = || Arc::clone(&self.site);
        let endpoints = Endpoints {
            public: Arc::new(Public { site: site() }),
            imds: self.imds,
            monitoring: Arc::new(Monitoring {
                site: site(),
                beyond_this_host: self.doors.may_be_monitored_from_beyond,
            }),
            admin: Arc::new(Admin {
                site: site(),
                surroundings: self.surroundings,
                tokens: self.token_orders,
            }),
        };
        let ended = connections.ended();
        let mut listening = JoinSet::new();
        let _locks = self
            .doors
            .attend(&mut listening, &endpoints, &connections, &stopped);

        let mut keeping = JoinSet::new();
        keeping.spawn(give_memory_back(Arc::clone(&self.clock), ended));
        keeping.spawn(self.announcer.run());
        self.supervision
            .begin(&mut keeping, &self.site.challenges, &self.clock);
        let mut auditing = JoinSet::new();
        auditing.spawn(self.audit_writer.run(Arc::clone(&self.clock)));
        keeping.spawn(self.token_keeper.run());
        keeping.spawn(self.state_keeper.run(stopped));
        let _identities = self.identities;
        keeping.spawn(keep(self.begun));
        tracing::info!(
            url = self.site.terms.load().url,
            identities = self.site.terms.load().identities.len(),
            version = env!("CARGO_PKG_VERSION"),
            "ready to serve"
        );

        // None of these tasks ends of itself, so one that does has panicked. Whoever supervises
        // the process should start it again, rather than let credentials run out unseen.
        let outcome = tokio::select! {
            () = stop => Ok(()),
            _ = keeping.join_next() => Err(TaskEnded),
            _ = auditing.join_next() => Err(TaskEnded),
            _ = listening.join_next() => Err(TaskEnded),
        };
        tracing::info!("stopping: answers under way are finished");
        let _ = self.supervision.notifier.stopping();
        let _ = stopping.send(true);
        while listening.join_next().await.is_some() {}
        self.site.audit.close();
        let written = timeout(&*self.clock, AUDIT_END, auditing.join_next()).await;
        if written.is_err() {
            tracing::error!("the end of the audit log is lost: it takes too long to write");
        }
        tracing::info!("stopped");
        outcome
    }
}

/// The rules of `config`, which has them no more.
fn policy(config: &mut Config) -> Policy {
    let names = config.identities.keys();
    let names = names.filter(|name| !name.is_narrowed()).cloned().collect();
    Policy::new(take(&mut config.allow), process::effective_uid(), names)
}

fn imds_terms(imds: ImdsConfig, doors: &Doors) -> ImdsTerms {
    ImdsTerms {
        identity: imds.identity,
        region: imds.region,
        hosts: doors.imds().iter().map(SocketAddr::ip).collect(),
    }
}

/// What only a person can answer, and what of it is used up since an earlier run.
fn challenges(
    config: &config::Challenges,
    directory: &RuntimeDirectory,
    clock: &SharedClock,
) -> Arc<Challenges> {
    let used = UsedCodes::load(
        runtime_directory::used_codes(directory.path()),
        random::bytes(),
        clock.boot(),
    );
    Challenges::new(used, Arc::clone(clock), config.warnings)
}

/// What providers look at, the network as `environment` describes it included. None of `own`, the
/// addresses that this process listens on, is ever asked.
pub fn surroundings(
    environment: Arc<Environment>,
    own: Vec<SocketAddr>,
    clock: SharedClock,
) -> Surroundings {
    let roots = match environment.variable("AWS_CA_BUNDLE") {
        Some(path) => Roots::File(path.into()),
        None => Roots::System,
    };
    let client = Client::new(Arc::clone(&clock), own, roots);
    let transport = Arc::new(client.through(Proxies::of(&environment)));
    Surroundings::new(environment, transport, clock)
}

/// A task that should run as long as the daemon has ended.
#[derive(Debug)]
pub struct TaskEnded;

impl fmt::Display for TaskEnded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(
            "a part of the daemon has ended, which is a bug: please report the panic logged before",
        )
    }
}

impl std::error::Error for TaskEnded {}

impl fmt::Debug for Daemon {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Daemon")
            .field("site", &self.site)
            .finish_non_exhaustive()
    }
}

/// Runs each refresher as it is begun. Ends only when one of them has panicked.
pub async fn keep(mut begun: mpsc::UnboundedReceiver<Kept>) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            Some(kept) = begun.recv() => {
                running.spawn(kept.run());
            }
            Some(ended) = running.join_next() => if ended.is_err() {
                return;
            },
            // None runs, and none will.
            else => std::future::pending().await,
        }
    }
}

/// Once connections have ended, and at most once a second.
async fn give_memory_back(clock: SharedClock, ended: Arc<tokio::sync::Notify>) {
    const PAUSE: Duration = Duration::from_secs(1);
    loop {
        ended.notified().await;
        clock.deadline(PAUSE).await;
        memory::give_back();
    }
}
