//! Finding the daemon, and asking it.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::{Failed, Place};
use crate::api;
use crate::aws::formats::{Answer, error_message};
use crate::clock::Clock;
use crate::credentials::Credentials;
use crate::daemon::runtime_directory;
use crate::environment::Environment;
use crate::http::Response;
use crate::http::unix::{self, Held};
use crate::identity::IdentityName;

/// The two sockets of a daemon.
#[derive(Debug)]
pub(super) struct DaemonSockets {
    directories: Vec<PathBuf>,
}

/// How long a command goes on asking a daemon that is warming up. SDKs give a
/// `credential_process` a minute.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it goes on looking for one that is not there: a restart takes less.
const RESTART: Duration = Duration::from_secs(3);

const PAUSE: Duration = Duration::from_millis(100);

impl DaemonSockets {
    /// Those in the directory named, or else in this user's own or in the system's.
    pub(super) fn locate(place: &Place, environment: &Environment) -> Self {
        let own = runtime_directory::locate(place.runtime_dir.clone(), environment);
        let system = PathBuf::from(runtime_directory::SYSTEM);
        let mut directories: Vec<PathBuf> = own.into_iter().collect();
        if place.runtime_dir.is_none() && !directories.contains(&system) {
            directories.push(system);
        }
        Self { directories }
    }

    /// The public socket of the first daemon that answers.
    fn public(&self) -> Result<PathBuf, Failed> {
        self.find(runtime_directory::public_socket)
    }

    fn admin(&self) -> Result<PathBuf, Failed> {
        self.find(runtime_directory::admin_socket)
    }

    fn find(&self, socket: impl Fn(&std::path::Path) -> PathBuf) -> Result<PathBuf, Failed> {
        let mut looked_at = Vec::new();
        for directory in &self.directories {
            let socket = socket(directory);
            // Asked, not looked at: a daemon that was killed leaves its socket behind.
            match UnixStream::connect(&socket) {
                Ok(_) => return Ok(socket),
                Err(error) => looked_at.push(format!("{}: {error}", socket.display())),
            }
        }
        Err(Failed::new(format!(
            "no credd answers here ({}); start it with `credd serve`, say where it is with \
             --runtime-dir, or run this as its user or root",
            looked_at.join("; ")
        )))
    }

    /// Asks the public socket, patiently: through a restart of the daemon and while it warms up.
    pub(super) async fn ask(&self, clock: &dyn Clock, path: &str) -> Result<Response, Failed> {
        let begun = clock.boot();
        loop {
            let outcome = self.ask_once(clock, path).await;
            let waited = begun.until(clock.boot());
            let may_better = match &outcome {
                Ok(response) => {
                    response.status == StatusCode::SERVICE_UNAVAILABLE && waited < PATIENCE
                }
                Err(_) => waited < RESTART,
            };
            if !may_better {
                return outcome.and_then(successful);
            }
            clock.deadline(PAUSE).await;
        }
    }

    /// Asks the public socket for an answer that stays open, through a restart of the daemon.
    /// Says which socket it was.
    pub(super) async fn hold(
        &self,
        clock: &dyn Clock,
        request: impl Fn() -> Request<Bytes>,
    ) -> Result<(PathBuf, Held), Failed> {
        let begun = clock.boot();
        loop {
            let outcome = async {
                let socket = self.public()?;
                let held = unix::hold(clock, &socket, request()).await;
                Ok((socket, held.map_err(Failed::new)?))
            }
            .await;
            if outcome.is_ok() || begun.until(clock.boot()) >= RESTART {
                return outcome;
            }
            clock.deadline(PAUSE).await;
        }
    }

    /// The credentials of `identity`, or of the only or default one.
    pub(super) async fn credentials(
        &self,
        clock: &dyn Clock,
        identity: Option<&IdentityName>,
    ) -> Result<Credentials, Failed> {
        let response = self
            .ask(clock, &daemon_path(api::CREDENTIALS, identity))
            .await?;
        match Answer::parse(&response.body) {
            Ok(Answer::Credentials { credentials, .. }) => Ok(credentials),
            _ => Err(Failed::new("the daemon's answer holds no credentials")),
        }
    }

    async fn ask_once(&self, clock: &dyn Clock, path: &str) -> Result<Response, Failed> {
        let socket = self.public()?;
        let request = request(Method::GET, path, Bytes::new());
        unix::send(clock, &socket, request)
            .await
            .map_err(Failed::new)
    }

    /// Asks the admin socket for a report.
    pub(super) async fn report<T: DeserializeOwned>(
        &self,
        clock: &dyn Clock,
        path: &str,
    ) -> Result<T, Failed> {
        let socket = self.admin()?;
        let request = request(Method::GET, path, Bytes::new());
        let response = unix::send(clock, &socket, request)
            .await
            .map_err(Failed::new)?;
        parse(&successful(response)?)
    }

    /// Asks the admin socket, whatever the answer is.
    pub(super) async fn probe(&self, clock: &dyn Clock, path: &str) -> Result<Response, Failed> {
        let socket = self.admin()?;
        let request = request(Method::GET, path, Bytes::new());
        let response = unix::send(clock, &socket, request).await;
        response.map_err(Failed::new)
    }

    /// Has the daemon do something that may take as long as AWS does.
    pub(super) async fn order<T: DeserializeOwned>(
        &self,
        clock: &dyn Clock,
        path: &str,
        question: &impl Serialize,
    ) -> Result<T, Failed> {
        let socket = self.admin()?;
        let body = serde_json::to_vec(question).map_err(Failed::new)?;
        let body = Bytes::from_owner(Zeroizing::new(body));
        let response = unix::send_patiently(clock, &socket, request(Method::POST, path, body))
            .await
            .map_err(Failed::new)?;
        parse(&successful(response)?)
    }
}

/// The path below which the daemon has something for each identity: for this one, or for the only
/// or default one.
pub(super) fn daemon_path(below: &str, identity: Option<&IdentityName>) -> String {
    match identity {
        Some(identity) => format!("{below}/{identity}"),
        None => below.to_owned(),
    }
}

/// A request to the daemon.
pub(super) fn request(method: Method, path: &str, body: Bytes) -> Request<Bytes> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    // Identity names need no escaping, and the other paths are constants.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request
        .headers_mut()
        .insert(HOST, HeaderValue::from_static("localhost"));
    request
}

/// Makes the daemon's refusal this command's error.
pub(super) fn successful(response: Response) -> Result<Response, Failed> {
    if response.status.is_success() {
        return Ok(response);
    }
    Err(Failed::refused(refusal(&response.body, response.status)))
}

/// What a refusal says to a person; its code is for programs.
pub(super) fn refusal(body: &[u8], status: StatusCode) -> String {
    error_message(body).unwrap_or_else(|| format!("the daemon answered {status}"))
}

pub(super) fn parse<T: DeserializeOwned>(response: &Response) -> Result<T, Failed> {
    serde_json::from_slice(&response.body).map_err(|_| {
        Failed::new("the daemon's answer makes no sense to this `credd`; are both of one version?")
    })
}
