//! A daemon on a thread of the test's own process.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use credd::api::StatusReport;
use credd::audit::Outlets;
use credd::clock::SharedClock;
use credd::config::{Config, Located, Trust, load};
use credd::daemon::{ConfigFile, Daemon, Parts, runtime_directory};
use credd::environment::Environment;
use credd::identity::IdentityName;
use credd::os::files;
use credd::providers::chain::Link;
use credd::providers::container;
use credd::random::SystemDraws;
use credd::serve::{self, Site};
use rustix::fs::FlockOperation;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::eventually;
use crate::support::sinks;

pub(crate) struct InProcess {
    pub(crate) address: SocketAddr,
    /// Of the IMDS endpoint.
    pub(crate) imds: Vec<SocketAddr>,
    /// Of what monitors credd.
    pub(crate) metrics: Vec<SocketAddr>,
    /// What opens every identity.
    pub(crate) token: String,
    site: Arc<Site>,
    directory: Arc<TempDir>,
    audited: Audited,
    /// Ends the daemon when dropped.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl InProcess {
    /// Serves `identities`, each from the container endpoint at its URI.
    pub(crate) fn start(clock: SharedClock, identities: &[(&str, String)]) -> Self {
        Self::listening_on(clock, identities, "127.0.0.1:0")
    }

    /// Listens on `address` instead of any port of 127.0.0.1.
    pub(crate) fn listening_on(
        clock: SharedClock,
        identities: &[(&str, String)],
        address: &str,
    ) -> Self {
        let config = config(self::identities(identities), address);
        Self::with(clock, config, Environment::default())
    }

    /// Serves one identity from environment variables.
    pub(crate) fn from_environment(clock: SharedClock, variables: &[(&str, &str)]) -> Self {
        let variables = variables
            .iter()
            .map(|&(name, value)| (name.into(), value.into()));
        let identities = [(IdentityName::default(), vec![Link::Environment])].into();
        Self::with(
            clock,
            config(identities, "127.0.0.1:0"),
            variables.collect(),
        )
    }

    /// Serves what `config` says.
    pub(crate) fn with(clock: SharedClock, config: Config, environment: Environment) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        Self::within(directory, clock, config, environment)
    }

    /// The same in a directory that others share, or that an earlier daemon has left.
    pub(crate) fn within(
        directory: Arc<TempDir>,
        clock: SharedClock,
        config: Config,
        environment: Environment,
    ) -> Self {
        wait_for_lock(directory.path());
        Self::audited(directory, clock, config, environment, None)
    }

    /// Serves what is said in the first file that is there, and reads it anew when told to.
    pub(crate) fn located(clock: SharedClock, located: Located) -> Self {
        let (found, config) = load(&located, Trust::Owned).unwrap();
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let file = Some(ConfigFile { located, found });
        Self::audited(directory, clock, config, Environment::default(), file)
    }

    /// With an audit log that a test reads.
    fn audited(
        directory: Arc<TempDir>,
        clock: SharedClock,
        config: Config,
        environment: Environment,
        config_file: Option<ConfigFile>,
    ) -> Self {
        let audited = Audited::default();
        Self::leaving_by(
            Outlets::to(audited.clone()),
            audited,
            directory,
            clock,
            config,
            environment,
            config_file,
        )
    }

    /// The same with an audit log that goes elsewhere.
    pub(crate) fn audited_by(outlets: Outlets, clock: SharedClock, config: Config) -> Self {
        let nothing = Audited::default();
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let environment = Environment::default();
        Self::leaving_by(
            outlets,
            nothing,
            directory,
            clock,
            config,
            environment,
            None,
        )
    }

    fn leaving_by(
        outlets: Outlets,
        audited: Audited,
        directory: Arc<TempDir>,
        clock: SharedClock,
        config: Config,
        environment: Environment,
        config_file: Option<ConfigFile>,
    ) -> Self {
        let parts = Parts {
            config,
            environment: Arc::new(environment),
            outlets,
            runtime_directory: directory.path().to_owned(),
            config_file,
            confinement: credd::daemon::sandbox::Confinement::default(),
            inherited: credd::systemd::Inherited::default(),
            is_on_ec2: false,
            clock,
            draws: |_| Box::new(SystemDraws),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let (started, site) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let daemon = Daemon::start(parts).await.unwrap();
                let addresses = (daemon.imds_addresses(), daemon.metrics_addresses());
                started
                    .send((Arc::clone(daemon.site()), addresses))
                    .unwrap();
                daemon
                    .run(async {
                        let _ = stopped.await;
                    })
                    .await
                    .unwrap();
            });
        });
        let (site, (imds, metrics)) = site.recv().unwrap();
        let url = site.terms.load().url.clone();
        let url = url.as_deref().unwrap();
        let token_file = runtime_directory::token_file(directory.path());
        let token = files::read_text_now(&token_file, 1024).unwrap();
        sinks::secret(&token);
        Self {
            address: url.strip_prefix("http://").unwrap().parse().unwrap(),
            imds,
            metrics,
            token: token.to_string(),
            site,
            directory,
            audited,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn status(&self) -> StatusReport {
        self.site.status()
    }

    /// Waits until every identity has credentials.
    pub(crate) fn warm(self) -> Self {
        eventually("every identity is served", || {
            let identities = self.status().identities;
            identities.iter().all(|it| it.is_served).then_some(())
        });
        self
    }

    pub(crate) fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        runtime_directory::public_socket(self.directory.path())
    }

    pub(crate) fn unix(&self) -> UnixStream {
        UnixStream::connect(self.socket()).unwrap()
    }

    pub(crate) fn admin(&self) -> UnixStream {
        UnixStream::connect(runtime_directory::admin_socket(self.directory.path())).unwrap()
    }

    /// Tells the daemon to end.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Ends it, and waits until it has.
    pub(crate) fn end(mut self) {
        self.stop();
        self.thread.take().unwrap().join().unwrap();
    }

    /// The whole audit log, and the end of the daemon.
    pub(crate) fn audit_log(mut self) -> Vec<Value> {
        self.stop();
        self.thread.take().unwrap().join().unwrap();
        let lines = self.audited.0.lock().unwrap();
        let lines = std::str::from_utf8(&lines).unwrap().lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Whether it has.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

/// What an audit log holds that goes to stderr.
#[derive(Debug, Clone, Default)]
struct Audited(Arc<Mutex<Vec<u8>>>);

impl Write for Audited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One identity from each container endpoint.
pub(crate) fn identities(identities: &[(&str, String)]) -> BTreeMap<IdentityName, Vec<Link>> {
    let link = |uri: &String| {
        Link::Container(container::Config {
            uri: Some(uri.clone()),
            ..container::Config::default()
        })
    };
    identities
        .iter()
        .map(|(name, uri)| (IdentityName::parse(name).unwrap(), vec![link(uri)]))
        .collect()
}

/// Waits a moment for the lock of an earlier daemon to be free: a program that another test of this
/// process has just forked has it until it is another program.
pub(crate) fn wait_for_lock(directory: &Path) {
    let Ok(lock) = std::fs::File::open(directory.join("lock")) else {
        return;
    };
    let take = FlockOperation::NonBlockingLockExclusive;
    for _ in 0..200_000 {
        if rustix::fs::flock(&lock, take).is_ok() {
            return;
        }
        thread::yield_now();
    }
}

pub(crate) fn config(identities: BTreeMap<IdentityName, Vec<Link>>, address: &str) -> Config {
    Config {
        serve: serve::Config {
            http: vec![address.parse().unwrap()],
            ..serve::Config::default()
        },
        identities,
        ..Config::default()
    }
}
