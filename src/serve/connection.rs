//! One client's connection, from its first byte to its end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Either;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::activity::{Activity, INTERVAL, Watch, Watched};
use super::{Endpoint, Peer};
use crate::authz::Transport;
use crate::clock::Clock;

/// Of a request's head, all headers together; 431 beyond. The longest that a client sends is a
/// web identity token in `Authorization`.
const HEAD_BYTES: usize = 16 * 1024;

/// A stopping daemon gives answers under way this long. None may wait for longer than 800 ms.
const DRAIN: Duration = Duration::from_secs(1);

/// Serves until the client leaves, does nothing for too long, or `stop` says so.
pub(super) async fn serve<S>(
    stream: S,
    peer: Arc<Peer>,
    endpoint: Arc<dyn Endpoint>,
    clock: Arc<dyn Clock>,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let activity = Activity::new();
    let service = service_fn(|request: Request<Incoming>| {
        let activity = Arc::clone(&activity);
        activity.serving();
        let responding = Arc::clone(&endpoint).respond(request, Arc::clone(&peer));
        async move {
            let response = responding.await;
            match response.body() {
                Either::Left(_) => activity.served(),
                Either::Right(_) => activity.leased(),
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        // Needs a timer per request; the watch below does without.
        .header_read_timeout(None)
        // Watching for the client to leave before its answer costs a second buffer at each
        // request. A lease needs that; what TCP gets takes 800 ms at the longest.
        .half_close(peer.transport() == Transport::Tcp)
        .serve_connection(
            TokioIo::new(Watched::new(stream, Arc::clone(&activity))),
            service,
        );
    tokio::pin!(connection);
    let mut watch = Watch::default();
    let mut look = clock.deadline(INTERVAL);
    loop {
        tokio::select! {
            _ = &mut connection => return,
            () = &mut look => {
                if watch.is_over(&activity) {
                    return;
                }
                look = clock.deadline(INTERVAL);
            }
            _ = stop.wait_for(|&stop| stop) => break,
        }
    }
    // Nothing of a lease is still to come: its holder leases again from the next daemon.
    if activity.is_leased() {
        return;
    }
    connection.as_mut().graceful_shutdown();
    let _ = crate::clock::timeout(&*clock, DRAIN, connection).await;
}
