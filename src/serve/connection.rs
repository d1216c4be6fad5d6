//! One client's connection, from its first byte to its end.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http_body_util::Either;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::activity::{Activity, Watch, Watched};
use super::{Endpoint, Peer};
use crate::authz::Transport;
use crate::clock::Clock;
use crate::metrics::{Code, ListenerCounts};

/// Of a request's head, all headers together; 431 beyond. The longest that a client sends is a
/// web identity token in `Authorization`.
const HEAD_BYTES: usize = 16 * 1024;

/// A stopping daemon gives questions and answers under way this long each. No answer may wait for
/// longer than 800 ms.
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

/// Serves until the client leaves, does nothing for too long, or `stop` says so. Nothing is read
/// before there is room among the `beginners`, which is given back with the first request.
pub async fn serve<S: Stream>(
    stream: S,
    peer: Arc<Peer>,
    endpoint: Arc<dyn Endpoint>,
    beginners: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    counts: Arc<ListenerCounts>,
    mut stop: watch::Receiver<bool>,
) {
    let mut watch = Watch::new(Activity::new(), clock);
    let begun = async {
        let _ = stream.readable().await;
        beginners.acquire_owned().await.ok()
    };
    let room = tokio::select! {
        biased;
        room = begun => room,
        () = watch.until_over(&peer) => return,
        // What is on its way is still answered.
        _ = stop.wait_for(|&stop| stop) => None,
    };
    // Boxed, so that a client that says nothing takes no room for what it might say.
    Box::pin(converse(stream, peer, endpoint, room, watch, counts, stop)).await;
}

async fn converse<S: Stream>(
    stream: S,
    peer: Arc<Peer>,
    endpoint: Arc<dyn Endpoint>,
    room: Option<OwnedSemaphorePermit>,
    mut watch: Watch,
    counts: Arc<ListenerCounts>,
    mut stop: watch::Receiver<bool>,
) {
    let (room, activity, asking) = (Cell::new(room), watch.activity(), Arc::clone(&peer));
    let clock = watch.clock();
    let service = service_fn(move |request: Request<Incoming>| {
        drop(room.take());
        let activity = Arc::clone(&activity);
        activity.serving();
        let begun = clock.boot();
        let (clock, counts) = (Arc::clone(&clock), Arc::clone(&counts));
        let responding = Arc::clone(&endpoint).respond(request, Arc::clone(&asking));
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
    let (activity, clock) = (watch.activity(), watch.clock());
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
        // What has arrived is read, even at the last moment.
        biased;
        _ = &mut connection => return,
        () = watch.until_over(&peer) => return,
        _ = stop.wait_for(|&stop| stop) => {}
    }
    // Nothing of a lease is still to come: its holder leases again from the next daemon.
    if activity.is_leased() {
        return;
    }
    // hyper would close one on which nothing has come yet: who has just connected is about to ask.
    let asked = poll_fn(|context| match connection.as_mut().poll(context) {
        Poll::Pending if activity.is_receiving() => Poll::Pending,
        progress => Poll::Ready(progress.is_pending()),
    });
    let is_asked = crate::clock::timeout(&*clock, DRAIN, asked).await;
    if !is_asked.unwrap_or(false) {
        return;
    }
    connection.as_mut().graceful_shutdown();
    let _ = crate::clock::timeout(&*clock, DRAIN, connection).await;
}
