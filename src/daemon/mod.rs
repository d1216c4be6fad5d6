//! The composition root: it alone knows how the parts fit together.

mod announcer;
mod doors;
mod folder;
mod handover;
mod herald;
mod reload;
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
use crate::http::{Client, OwnAddresses, Proxies, Roots};
use crate::identity::IdentityName;
use crate::os::{memory, process};
use crate::providers::Surroundings;
use crate::random::{self, Draws};
use crate::refresh::{self, Identities, Kept, Opened};
use crate::serve::{
    Admin, Admins, BindError, Connections, ImdsTerms, InForce, ReloadOrder, ReloadOrders, Site,
    Terms, TokenFile, TokenOrders, Untold, Witness,
};
use crate::systemd::Inherited;
use announcer::{Announcer, Duties};
use doors::{Admitted, Doors, Endpoints, Prepared};
use handover::{HandedOver, Mismatch};
use reload::Reloader;
use runtime_directory::RuntimeDirectory;
use sandbox::Confinement;
use state_keeper::{Outlasting, StateKeeper};
use supervision::Supervision;
use token_keeper::TokenKeeper;

pub use reload::ConfigFile;
pub use unusable::Unusable;

/// What is left of the audit log at the end may take this long to write.
const AUDIT_END: Duration = Duration::from_secs(1);

/// All that a daemon is made from.
#[derive(Debug)]
pub struct Parts {
    pub config: Config,
    /// Where the config is read anew, if it is in a file.
    pub config_file: Option<ConfigFile>,
    pub environment: Arc<Environment>,
    /// The ends that the audit log may leave by.
    pub outlets: audit::Outlets,
    pub runtime_directory: PathBuf,
    /// What the process has given up for good.
    pub confinement: Confinement,
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
    reloader: Reloader,
    /// Bound, and not served from yet.
    doors: Prepared,
    begun: mpsc::UnboundedReceiver<Kept>,
    announcer: Announcer,
    audit_writer: audit::Writer,
    token_keeper: TokenKeeper,
    state_keeper: StateKeeper,
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

/// Everything that only one instance may have, and what says whether it may.
struct Claimed {
    witness: Witness,
    policy: Policy,
    directory: Arc<RuntimeDirectory>,
    audit: (audit::Audit, audit::Writer),
    handed_over: HandedOver,
    admitted: Admitted,
    doors: Prepared,
}

impl Claimed {
    /// In the order in which a failure does the least harm: the directory, the ports, then the
    /// names of the sockets. What is handed over is taken into `config`.
    async fn by(
        config: &mut Config,
        directory: PathBuf,
        inherited: &mut Inherited,
        outlets: audit::Outlets,
    ) -> Result<Self, StartError> {
        let handed_over = HandedOver::of(inherited);
        handed_over.is_meant_by(&mut config.serve, &directory)?;
        let witness = Witness::asking_by(inherited.sock_diag.take());
        witness.suffices_for(&config.allow, &config.serve.tcp_addresses())?;
        let policy = policy_of(config);
        let directory = Arc::new(RuntimeDirectory::claim(directory)?);
        let audit = audit::open(&config.audit, outlets, random::bytes())?;
        let admitted = Admitted::to(
            &directory,
            &config.serve,
            &policy,
            &config.tokens,
            &handed_over,
        )
        .await?;
        directory.let_in(admitted.passage)?;
        let wanted = doors::wanted(&config.serve, &directory, admitted);
        Ok(Self {
            doors: Doors::default().prepare(wanted, &handed_over).await?,
            handed_over,
            witness,
            policy,
            directory,
            audit,
            admitted,
        })
    }
}

impl Daemon {
    /// Binds all that the config wants. Nobody is served before [`Self::run`].
    #[expect(
        clippy::too_many_lines,
        reason = "one line after the other, each part is made of those before it"
    )]
    pub async fn start(parts: Parts) -> Result<Self, StartError> {
        let Parts {
            mut config,
            config_file: file,
            environment,
            outlets,
            runtime_directory,
            confinement,
            mut inherited,
            is_on_ec2,
            clock,
            draws,
        } = parts;
        let ours = Claimed::by(&mut config, runtime_directory, &mut inherited, outlets).await?;
        let supervision = Supervision::by(&environment);
        let (audit, audit_writer) = ours.audit;
        let own = OwnAddresses::from(ours.doors.addresses());
        let (token_keeper, token_orders, tokens) =
            TokenKeeper::open(&ours.directory, config.tokens.clone(), &clock)?;
        let challenges = challenges(&config.challenges, &ours.directory, &clock);
        let (announcer, duties) =
            Announcer::new(&challenges, Duties::of(&config), &environment, &clock);
        let outlasting = Outlasting::open(&mut inherited, &supervision.notifier, &clock);
        let surroundings = surroundings(environment, own.clone(), Arc::clone(&clock))
            .with_challenges(Arc::clone(&challenges));
        let mut surroundings = outlasting.known_to(surroundings);
        surroundings.is_on_ec2 = is_on_ec2;
        let parts = refresh::Parts {
            surroundings: surroundings.clone(),
            draws,
            pulse: supervision.pulse.clone(),
            ledger: outlasting.ledger,
        };
        let (identities, begun) = Identities::open_all(config.identities.clone(), parts);
        supervision.tell_of(identities.readers(), None);
        let connections = Connections::new(Arc::clone(&clock), config.serve.limits, ours.witness)
            .watched_by(supervision.pulse.clone())
            .counted(Arc::clone(&surroundings.metrics));
        connections.change(config.serve.limits, ours.policy.known_users());
        let files = token_keeper.files();
        let terms = terms_of(
            &config,
            ours.policy,
            &identities,
            ours.admitted,
            &ours.doors,
            files,
        );
        let site = Arc::new(Site {
            began: clock.boot(),
            started: clock.now(),
            clock,
            terms: InForce::new(terms),
            tokens: token_keeper.tokens(),
            audit,
            metrics: Arc::clone(&surroundings.metrics),
            challenges,
        });
        let (admin, orders) = admin(&site, surroundings, token_orders);
        Ok(Self {
            reloader: Reloader {
                endpoints: Endpoints::of(&site, &outlasting.keys.imds, admin, connections),
                site,
                file,
                config,
                directory: ours.directory,
                confinement,
                admitted: ours.admitted,
                doors: Doors::default(),
                identities,
                tokens,
                audit: audit_writer.redirection(),
                own,
                supervision,
                handed_over: ours.handed_over,
                duties,
                orders,
            },
            doors: ours.doors,
            begun,
            announcer,
            audit_writer,
            token_keeper,
            state_keeper: outlasting.keeper,
        })
    }

    /// What is served, for whoever runs the daemon inside a program of their own.
    pub fn site(&self) -> &Arc<Site> {
        &self.reloader.site
    }

    /// Where the IMDS endpoint listens.
    pub fn imds_addresses(&self) -> Vec<SocketAddr> {
        self.doors.imds()
    }

    /// Where what monitors credd is listened to.
    pub fn metrics_addresses(&self) -> Vec<SocketAddr> {
        self.doors.monitoring()
    }

    /// The way to order reloads.
    pub fn reloads(&self) -> ReloadOrders {
        self.reloader.endpoints.admin.reloads.clone()
    }

    /// Runs until `stop` completes, then drains.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), TaskEnded> {
        self.run_until(stop, std::future::pending()).await
    }

    /// The same, but no longer drains once `hurry` completes as well.
    pub async fn run_until(
        self,
        stop: impl Future<Output = ()>,
        hurry: impl Future<Output = ()>,
    ) -> Result<(), TaskEnded> {
        let mut reloader = self.reloader;
        let site = Arc::clone(&reloader.site);
        let clock = Arc::clone(&site.clock);
        reloader.doors.replace(self.doors, &reloader.endpoints);
        let ended = reloader.endpoints.connections.ended();
        let mut keeping = JoinSet::new();
        keeping.spawn(give_memory_back(Arc::clone(&clock), ended));
        keeping.spawn(self.announcer.run());
        let supervision = &reloader.supervision;
        supervision.begin(&mut keeping, &site.challenges, &clock);
        let mut auditing = JoinSet::new();
        auditing.spawn(self.audit_writer.run(Arc::clone(&clock)));
        keeping.spawn(self.token_keeper.run());
        let (stopping, stopped) = watch::channel(false);
        keeping.spawn(self.state_keeper.run(stopped));
        keeping.spawn(keep(self.begun));
        tracing::info!(
            url = site.terms.load().url,
            identities = site.terms.load().identities.len(),
            version = env!("CARGO_PKG_VERSION"),
            "ready to serve"
        );

        // None of these tasks ends of itself, so one that does has panicked. Whoever supervises
        // the process should start it again, rather than let credentials run out unseen.
        let outcome = tokio::select! {
            () = stop => Ok(()),
            () = reloader.run() => Err(TaskEnded),
            _ = keeping.join_next() => Err(TaskEnded),
            _ = auditing.join_next() => Err(TaskEnded),
        };
        tracing::info!("stopping: answers under way are finished");
        let _ = reloader.supervision.notifier.stopping();
        let _ = stopping.send(true);
        let drained = async {
            reloader.doors.close().await;
            site.audit.close();
            let written = timeout(&*clock, AUDIT_END, auditing.join_next()).await;
            if written.is_err() {
                tracing::error!("the end of the audit log is lost: it takes too long to write");
            }
        };
        tokio::select! {
            biased;
            () = drained => tracing::info!("stopped"),
            () = hurry => tracing::warn!("stopped at once, as a second signal asks"),
        }
        outcome
    }
}

/// What operators look at, and what they order reloads by.
fn admin(
    site: &Arc<Site>,
    surroundings: Surroundings,
    tokens: TokenOrders,
) -> (Admin, mpsc::UnboundedReceiver<ReloadOrder>) {
    let (reloads, orders) = ReloadOrders::new();
    let admin = Admin {
        site: Arc::clone(site),
        surroundings,
        tokens,
        reloads,
    };
    (admin, orders)
}

/// Who may have what, by the config.
fn policy_of(config: &Config) -> Policy {
    let names = config.identities.keys().filter(|name| !name.is_narrowed());
    let owner = process::effective_uid();
    Policy::new(config.allow.clone(), owner, names.cloned().collect())
}

/// What the config says about serving.
fn terms_of(
    config: &Config,
    policy: Policy,
    identities: &Opened,
    admitted: Admitted,
    doors: &Prepared,
    token_files: Vec<TokenFile>,
) -> Terms {
    Terms {
        identities: identities.readers(),
        links: config.identities.clone(),
        policy: Arc::new(policy),
        admins: Admins {
            owner: process::effective_uid(),
            group: admitted.admins,
        },
        url: doors.url(),
        token_files,
        imds: config.serve.imds.as_ref().map(|imds| ImdsTerms {
            identity: imds.identity.clone(),
            region: imds.region.clone(),
            hosts: doors.imds().iter().map(SocketAddr::ip).collect(),
        }),
        may_be_monitored_from_beyond: config.serve.metrics.beyond_this_host,
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
    own: impl Into<OwnAddresses>,
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
            .field("site", &self.reloader.site)
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
