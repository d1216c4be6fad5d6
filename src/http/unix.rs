//! Requests to a daemon on this host, over its Unix socket.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::exchange::{exchange, handshake};
use super::{HttpError, Limits, Response, Stage};
use crate::clock::{Clock, timeout};

/// For commands: longer than the daemon may take (800 ms), and short enough for a person.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(2),
    read: Duration::from_secs(5),
    total: Duration::from_secs(5),
    // A status report of a thousand identities.
    body_bytes: 1024 * 1024,
    plain: |_| true,
};

/// For what waits for AWS: longer than the daemon lets anybody wait for attempts.
const PATIENT: Limits = Limits {
    read: Duration::from_secs(70),
    total: Duration::from_secs(70),
    ..LIMITS
};

/// Sends `request`, whose URI is a path, to the socket at `path`.
pub async fn send(
    clock: &dyn Clock,
    path: &Path,
    request: Request<Bytes>,
) -> Result<Response, HttpError> {
    send_within(clock, path, request, LIMITS).await
}

/// Like [`send`], for an answer that waits for AWS.
pub async fn send_patiently(
    clock: &dyn Clock,
    path: &Path,
    request: Request<Bytes>,
) -> Result<Response, HttpError> {
    send_within(clock, path, request, PATIENT).await
}

async fn send_within(
    clock: &dyn Clock,
    path: &Path,
    request: Request<Bytes>,
    limits: Limits,
) -> Result<Response, HttpError> {
    let run = async {
        let stream = UnixStream::connect(path).await.map_err(Stage::Connect)?;
        exchange(clock, Box::new(stream), request, limits).await
    };
    timeout(clock, limits.total, run)
        .await
        .unwrap_or(Err(Stage::Deadline("answer")))
        .map_err(|stage| HttpError {
            asked: path.display().to_string(),
            stage,
        })
}

/// An exchange whose answer stays open after its first line.
pub struct Held {
    pub status: StatusCode,
    /// Up to the first newline, or the whole body of a short answer.
    pub line: Zeroizing<Vec<u8>>,
    body: Incoming,
    connection: JoinSet<()>,
}

/// Not the line: it holds a token.
impl std::fmt::Debug for Held {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Held")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl Held {
    /// Waits for the other side to end the exchange. Dropping this ends it from ours.
    pub async fn ended(&mut self) {
        while let Some(Ok(_)) = self.body.frame().await {}
        self.connection.shutdown().await;
    }
}

/// Sends `request` like [`send`], and keeps the exchange open.
pub async fn hold(
    clock: &dyn Clock,
    path: &Path,
    request: Request<Bytes>,
) -> Result<Held, HttpError> {
    timeout(clock, LIMITS.total, open(path, request))
        .await
        .unwrap_or(Err(Stage::Deadline("answer")))
        .map_err(|stage| HttpError {
            asked: path.display().to_string(),
            stage,
        })
}

async fn open(path: &Path, request: Request<Bytes>) -> Result<Held, Stage> {
    let stream = UnixStream::connect(path).await.map_err(Stage::Connect)?;
    let (mut sender, driver) = handshake(Box::new(stream)).await?;
    let mut connection = JoinSet::new();
    connection.spawn(async {
        let _ = driver.await;
    });
    let answer = sender
        .send_request(request.map(Full::new))
        .await
        .map_err(Stage::Exchange)?;
    let (status, mut body) = (answer.status(), answer.into_body());
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_BYTES));
    while !line.ends_with(b"\n") {
        let Some(frame) = body.frame().await else {
            break;
        };
        let Ok(piece) = frame.map_err(Stage::Exchange)?.into_data() else {
            continue;
        };
        if line.len() + piece.len() > LINE_BYTES {
            return Err(Stage::BodyTooLarge(LINE_BYTES));
        }
        line.extend_from_slice(&piece);
    }
    Ok(Held {
        status,
        line,
        body,
        connection,
    })
}

/// A lease or a refusal.
const LINE_BYTES: usize = 8 * 1024;
