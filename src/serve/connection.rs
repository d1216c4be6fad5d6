//! One client's connection, from its first byte to its end.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Either;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;

use super::activity::{Activity, Watch, Watched};
use super::{Endpoint, Peer};
use crate::authz::Transport;
use crate::clock::Clock;
use crate::metrics::{Code, ListenerCounts};

/// Of a request's head, all headers together; 431 beyond. The longest that a client sends is a
/// web identity token in `Authorization`.
const HEAD_BYTES: usize = 16 * 1024;

/// A stopping daemon gives answers under way this long. None may wait for longer than 800 ms.
const DRAIN: Duration = Duration::from_secs(1);

/// What a client is connected by.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {
    /// Waits until there is something to read, without any place to put it.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;
}

impl Stream for TcpStream {
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send {
        self.readable()
    }
}

impl Stream for UnixStream {
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send {
        self.readable()
    }
}

/// Serves until the client leaves, does nothing for too long, or `stop` says so.
pub async fn serve<S: Stream>(
    stream: S,
    peer: Arc<Peer>,
    endpoint: Arc<dyn Endpoint>,
    clock: Arc<dyn Clock>,
    counts: Arc<ListenerCounts>,
    mut stop: watch::Receiver<bool>,
) {
    let activity = Activity::new();
    let mut watch = Watch::new(Arc::clone(&clock));
    tokio::select! {
        biased;
        _ = stream.readable() => {}
        () = watch.until_over(&activity, &peer) => return,
        // What is on its way is still answered.
        _ = stop.wait_for(|&stop| stop) => {}
    }
    // Boxed, so that a client that says nothing takes no room for what it might say.
    Box::pin(converse(
        stream, peer, endpoint, activity, watch, clock, counts, stop,
    ))
    .await;
}

#[expect(
    clippy::too_many_arguments,
    reason = "one connection's all, taken apart"
)]
async fn converse<S: Stream>(
    stream: S,
    peer: Arc<Peer>,
    endpoint: Arc<dyn Endpoint>,
    activity: Arc<Activity>,
    mut watch: Watch,
    clock: Arc<dyn Clock>,
    counts: Arc<ListenerCounts>,
    mut stop: watch::Receiver<bool>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let activity = Arc::clone(&activity);
        activity.serving();
        let begun = clock.boot();
        let (clock, counts) = (&clock, &counts);
        let responding = Arc::clone(&endpoint).respond(request, Arc::clone(&peer));
        async move {
            let response = responding.await;
            counts.took.observe(begun.until(clock.boot()));
            counts.answered.add(Code::of(response.status().as_u16()));
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
    tokio::select! {
        _ = &mut connection => return,
        () = watch.until_over(&activity, &peer) => return,
        _ = stop.wait_for(|&stop| stop) => {}
    }
    // Nothing of a lease is still to come: its holder leases again from the next daemon.
    if activity.is_leased() {
        return;
    }
    connection.as_mut().graceful_shutdown();
    let _ = crate::clock::timeout(&*clock, DRAIN, connection).await;
}
