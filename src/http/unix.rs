//! Requests to a daemon on this host, over its Unix socket.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use tokio::net::UnixStream;

use super::exchange::exchange;
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

/// Sends `request`, whose URI is a path, to the socket at `path`.
pub async fn send(
    clock: &dyn Clock,
    path: &Path,
    request: Request<Bytes>,
) -> Result<Response, HttpError> {
    let run = async {
        let stream = UnixStream::connect(path).await.map_err(Stage::Connect)?;
        exchange(clock, stream, request, LIMITS).await
    };
    timeout(clock, LIMITS.total, run)
        .await
        .unwrap_or(Err(Stage::Deadline("answer")))
        .map_err(|stage| HttpError {
            asked: path.display().to_string(),
            stage,
        })
}
