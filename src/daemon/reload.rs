//! Reading the config anew: all of it is resolved while the one before is in force, and then takes
//! its place at once, or not at all.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::StartError;
use super::admitted::Admitted;
use super::announcer::Duties;
use super::doors::{Doors, Endpoints, Prepared};
use super::handover::HandedOver;
use super::runtime_directory::RuntimeDirectory;
use super::sandbox::{Confinement, GivenUp, Needs};
use super::supervision::Supervision;
use super::terms::{policy_of, terms_of};
use super::token_keeper::{Adopted, TokenReloads};
use super::wanted::wanted;
use crate::api::{IdentityChanges, ReloadReport, Unresolved};
use crate::audit::{self, Redirection};
use crate::authz::Policy;
use crate::clock::timeout;
use crate::config::{self, Config, LoadError, Located, Trust};
use crate::credentials::described;
use crate::http::OwnAddresses;
use crate::identity::IdentityName;
use crate::metrics::ReloadOutcome;
use crate::refresh::{self, Opened, Usable};
use crate::serve::{ReloadOrder, Site};

/// New and changed identities are given this long to come by credentials while the config before
/// is served from.
const RESOLVING: Duration = Duration::from_secs(10);

/// A file server that hangs must not keep all later reloads waiting.
const READING: Duration = Duration::from_secs(10);

/// Where the config is read anew.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    pub located: Located,
    /// The file that it was found in.
    pub found: Option<PathBuf>,
}

/// Whoever keeps the config, and all that follows from it.
pub(super) struct Reloader {
    pub(super) site: Arc<Site>,
    /// Absent where the config is in no file.
    pub(super) file: Option<ConfigFile>,
    /// The config in force.
    pub(super) config: Config,
    pub(super) directory: Arc<RuntimeDirectory>,
    pub(super) confinement: Confinement,
    pub(super) admitted: Admitted,
    pub(super) doors: Doors,
    pub(super) endpoints: Endpoints,
    pub(super) identities: Opened,
    pub(super) tokens: TokenReloads,
    pub(super) audit: Redirection,
    pub(super) own: OwnAddresses,
    pub(super) duties: watch::Sender<Duties>,
    pub(super) supervision: Supervision,
    /// Each config has to mean it.
    pub(super) handed_over: HandedOver,
    pub(super) orders: mpsc::UnboundedReceiver<ReloadOrder>,
}

/// Why the config before stays in force.
#[derive(Debug)]
enum Refused {
    NoFile,
    Gone(PathBuf),
    Unread(LoadError),
    GivenUp(GivenUp),
    /// What would keep a daemon from starting.
    Unusable(StartError),
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile => {
                formatter.write_str("this daemon has its config from no file; restart it instead")
            }
            Self::Gone(path) => write!(
                formatter,
                "the config {} is gone; put it back, or restart credd to have it go without",
                path.display()
            ),
            Self::Unread(LoadError::Problems(problems)) => problems.fmt(formatter),
            Self::Unread(error) => formatter.write_str(&described(error)),
            Self::GivenUp(error) => error.fmt(formatter),
            Self::Unusable(error) => error.fmt(formatter),
        }
    }
}

impl<E: Into<StartError>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Unusable(error.into())
    }
}

/// All that another config needs, bound, opened and checked. Nothing is served by it yet.
struct Resolved {
    policy: Policy,
    admitted: Admitted,
    doors: Prepared,
    /// Absent where lines go where they went before.
    audit: Option<audit::Way>,
    identities: Opened,
    tokens: Adopted,
}

impl Reloader {
    /// Serves by the config, and by another one whenever that is ordered. Completes only when one
    /// of those who take connections has panicked.
    pub(super) async fn run(&mut self) {
        loop {
            let order = tokio::select! {
                biased;
                () = self.doors.broken() => return,
                Some(order) = self.orders.recv() => order,
            };
            // Those who have ordered the same in the meantime are content with this one.
            let mut orders = vec![order];
            while let Ok(order) = self.orders.try_recv() {
                orders.push(order);
            }
            let report = self.reload().await;
            for waiting in orders.into_iter().filter_map(|order| order.done) {
                // Whoever asked may have left.
                let _ = waiting.send(report.clone());
            }
        }
    }

    async fn reload(&mut self) -> ReloadReport {
        self.supervision.reloading();
        let (report, note) = match self.attempt().await {
            Ok(report) => {
                self.site.metrics.reloads.add(ReloadOutcome::Applied);
                let changes = &report.identities;
                tracing::info!(
                    started = ?changes.started,
                    restarted = ?changes.restarted,
                    ended = ?changes.ended,
                    kept = changes.kept.len(),
                    opened = ?report.listeners.opened,
                    closed = ?report.listeners.closed,
                    settings = ?report.settings,
                    "reloaded"
                );
                (report, None)
            }
            Err(refused) => {
                self.site.metrics.reloads.add(ReloadOutcome::Refused);
                let problem = refused.to_string();
                tracing::error!(
                    %problem,
                    "the config cannot be used, and the one before stays in force"
                );
                let report = ReloadReport {
                    problem: Some(problem),
                    ..ReloadReport::default()
                };
                let note = "the last reload failed, and the config before stays in force: see \
                            `credd check`";
                (report, Some(note))
            }
        };
        self.duties.send_replace(Duties::of(&self.config));
        self.supervision.tell_of(self.identities.readers(), note);
        report
    }

    async fn attempt(&mut self) -> Result<ReloadReport, Refused> {
        let (found, mut config) = self.read().await?;
        self.handed_over
            .is_meant_by(&mut config.serve, self.directory.path())?;
        self.confinement
            .allows(&Needs::of(&config, self.directory.path()))
            .map_err(Refused::GivenUp)?;
        let (passage, admins) = (self.admitted.passage, self.admitted.admins);
        match self.resolve(&config).await {
            Ok(resolved) => Ok(self.apply(found, config, resolved).await),
            Err(refused) => {
                self.own.replace(self.doors.addresses());
                self.site.challenges.warn(self.config.challenges.warnings);
                let restored = if self.handed_over.has_admin() {
                    Ok(())
                } else {
                    self.directory.let_in_admins(admins)
                };
                if let Err(error) = restored.and_then(|()| self.directory.let_in(passage)) {
                    tracing::error!(%error, "cannot give the runtime directory back its mode");
                }
                Err(refused)
            }
        }
    }

    /// Reads everything anew that the config says, where it may block.
    async fn read(&self) -> Result<(Option<PathBuf>, Config), Refused> {
        let file = self.file.as_ref().ok_or(Refused::NoFile)?;
        let located = file.located.clone();
        let reading = tokio::task::spawn_blocking(move || config::load(&located, Trust::Owned));
        let unread = |source| {
            Refused::Unread(LoadError::Unreadable {
                path: file.found.clone().unwrap_or_default(),
                source,
            })
        };
        match timeout(&*self.site.clock, READING, reading).await {
            // Another one may mean other identities, and other callers.
            Ok(Ok(Ok((found, _))))
                if let Some(path) = &file.found
                    && file.located.has_lost(path, found.as_deref()) =>
            {
                Err(Refused::Gone(path.clone()))
            }
            Ok(Ok(loaded)) => loaded.map_err(Refused::Unread),
            // The daemon ends, or the reader has panicked, and that is logged.
            Ok(Err(error)) => Err(unread(std::io::Error::other(error))),
            Err(_) => Err(unread(std::io::ErrorKind::TimedOut.into())),
        }
    }

    /// Makes every check that a start makes, binds and opens what is new, and lets new identities
    /// come by their credentials. What this changes is taken back by whoever drops it.
    async fn resolve(&self, config: &Config) -> Result<Resolved, Refused> {
        let witness = self.endpoints.connections.witness();
        witness.suffices_for(&config.allow, &config.serve.tcp_addresses())?;
        let policy = policy_of(config);
        let is_elsewhere = config.audit != self.config.audit;
        let audit = is_elsewhere.then(|| self.audit.open(&config.audit));
        let audit = audit.transpose()?;
        let admitted = Admitted::to(
            &self.directory,
            &config.serve,
            &policy,
            &config.tokens,
            &self.handed_over,
        )
        .await?;
        let passage = admitted.passage.and(self.admitted.passage);
        self.directory.let_in(passage)?;
        let wanted = wanted(&config.serve, &self.directory, admitted);
        let doors = self.doors.prepare(wanted, &self.handed_over).await?;
        // Neither those of before nor the new ones are anybody's upstream.
        let mut own = self.doors.addresses();
        own.extend(doors.addresses());
        self.own.replace(own);
        self.site.challenges.warn(config.challenges.warnings);
        let identities = self.identities.reopened(config.identities.clone());
        let changes = identities.changes_from(&self.identities);
        let new = changes.started.iter().chain(&changes.restarted);
        // Whoever takes longer goes on after that.
        let _ = timeout(&*self.site.clock, RESOLVING, identities.resolved(new)).await;
        let tokens = self.tokens.adopt(config.tokens.clone()).await?;
        if let Err(error) = self.doors.admit(&doors) {
            let before = self.config.tokens.clone();
            if let Err(error) = self.tokens.adopt(before).await {
                tracing::error!(%error, "cannot keep the tokens as before");
            }
            self.tokens
                .retain(&self.site.terms.load().token_files)
                .await;
            return Err(error.into());
        }
        Ok(Resolved {
            policy,
            admitted,
            doors,
            audit,
            identities,
            tokens,
        })
    }

    /// Puts all of it in force. Nothing of this can fail.
    async fn apply(
        &mut self,
        found: Option<PathBuf>,
        config: Config,
        resolved: Resolved,
    ) -> ReloadReport {
        let Resolved {
            policy,
            admitted,
            doors,
            audit,
            identities,
            tokens,
        } = resolved;
        let changes = identities.changes_from(&self.identities);
        let settings = self.settings_changed_by(&config);
        let known = policy.known_users();
        let files = tokens.files;
        let terms = terms_of(
            &config,
            policy,
            &identities,
            admitted,
            &doors,
            files.clone(),
        );
        let report = ReloadReport {
            applied: true,
            problem: None,
            unresolved: self.unresolved(&identities, &changes),
            identities: of_identities(&changes),
            listeners: self.doors.changes(&doors),
            tokens: tokens.changes,
            settings,
        };
        identities.put_in_force();
        // No await before the last of these: no request sees anything in between.
        self.site.terms.replace(terms);
        self.endpoints
            .connections
            .change(config.serve.limits, known);
        self.doors.replace(doors, &self.endpoints);
        self.own.replace(self.doors.addresses());
        if let Some(way) = audit {
            self.audit.to(way);
        }
        self.identities = identities;
        self.admitted = admitted;
        self.config = config;
        if let Some(file) = &mut self.file {
            file.found = found;
        }
        if let Err(error) = self.directory.let_in(admitted.passage) {
            tracing::error!(%error, "cannot shut out those who have nothing more to seek");
        }
        self.tokens.retain(&files).await;
        report
    }

    fn settings_changed_by(&self, config: &Config) -> Vec<String> {
        let before = &self.config;
        let changed = [
            ("rules", before.allow != config.allow),
            ("limits", before.serve.limits != config.serve.limits),
            ("imds", before.serve.imds != config.serve.imds),
            ("metrics", before.serve.metrics != config.serve.metrics),
            ("mfa", before.challenges != config.challenges),
            ("audit", before.audit != config.audit),
        ];
        let changed = changed.into_iter().filter(|(_, is_changed)| *is_changed);
        changed.map(|(name, _)| name.to_owned()).collect()
    }

    fn unresolved(&self, identities: &Opened, changes: &refresh::Changes) -> Vec<Unresolved> {
        let now = self.site.clock.now();
        let readers = identities.readers();
        let new = changes.started.iter().chain(&changes.restarted);
        let unresolved = new.filter_map(|name| {
            let snapshot = readers.get(name)?.load();
            let why = match snapshot.usable(now) {
                Usable::Credentials(_) => return None,
                Usable::Unavailable(failure) => failure.message.clone(),
                Usable::Wait => "its first attempt is still under way".to_owned(),
            };
            Some(Unresolved {
                identity: name.to_string(),
                why,
            })
        });
        unresolved.collect()
    }
}

fn of_identities(changes: &refresh::Changes) -> IdentityChanges {
    let names = |names: &[IdentityName]| names.iter().map(ToString::to_string).collect();
    IdentityChanges {
        started: names(&changes.started),
        restarted: names(&changes.restarted),
        kept: names(&changes.kept),
        ended: names(&changes.ended),
    }
}
