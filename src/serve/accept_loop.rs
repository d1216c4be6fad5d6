//! The loop that takes connections from a listener.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{SendFlags, send};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::limited::Limited;
use super::limits::Holder;
use super::listener::{Accepted, Reach, is_the_clients};
use super::{Connections, Endpoint, Listener, Peer, Refusal, Witness, connection};
use crate::authz::ListenerName;
use crate::clock::Clock;
use crate::metrics::ListenerCounts;

/// After running out of descriptors or memory: long enough not to spin, short enough not to be
/// noticed by an SDK that waits a second.
const PAUSE: Duration = Duration::from_millis(100);

/// Between two complaints about that.
const COMPLAINTS: Duration = Duration::from_mins(1);

/// Takes connections, which callers know by `name`, until `stop` says so; then those who have
/// connected by then, unless somebody else holds the socket, too; and waits for all to drain.
pub async fn serve(
    listener: Arc<Listener>,
    name: ListenerName,
    endpoint: Arc<dyn Endpoint>,
    connections: Arc<Connections>,
    mut stop: watch::Receiver<bool>,
) {
    let clock = Arc::clone(&connections.clock);
    let mut complain_at = clock.boot();
    let what = format!("the listener {}", name.as_str());
    let mut heart = connections.pulse.heart(what);
    let mut reception = Reception {
        reach: listener.reach(),
        too_many: Refusal::too_many().into_bytes(),
        counts: connections.metrics.listener(name.as_str()),
        under_way: JoinSet::new(),
        name,
        endpoint,
        connections,
        stop: stop.clone(),
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = heart.beat() => continue,
            _ = stop.wait_for(|&stop| stop) => break,
        };
        let received = accepted.and_then(|accepted| reception.receive(accepted));
        if let Err(error) = received
            && !is_the_clients(&error)
        {
            let now = clock.boot();
            if complain_at <= now {
                tracing::error!(%error, "cannot take connections; trying on");
                complain_at = now.after(COMPLAINTS);
            }
            clock.deadline(PAUSE).await;
        }
    }
    drop(heart);
    // Where another loop takes connections from the same socket, it takes these, too.
    let waiting = Arc::into_inner(listener).map_or_else(Vec::new, Listener::close);
    for accepted in waiting {
        let _ = reception.receive(accepted);
    }
    while reception.under_way.join_next().await.is_some() {}
}

/// Whoever comes in by one listener.
struct Reception {
    name: ListenerName,
    reach: Reach,
    endpoint: Arc<dyn Endpoint>,
    connections: Arc<Connections>,
    counts: Arc<ListenerCounts>,
    under_way: JoinSet<()>,
    /// What is said to those for whom there is no room.
    too_many: Vec<u8>,
    stop: watch::Receiver<bool>,
}

impl Reception {
    /// Has the connection served, unless it is somebody's from elsewhere or one too many.
    fn receive(&mut self, accepted: Accepted) -> io::Result<()> {
        while self.under_way.try_join_next().is_some() {}
        let connections = &self.connections;
        let peer = accepted.peer(&self.reach, &self.name, &connections.witness)?;
        let Some(peer) = peer else {
            return Ok(());
        };
        let clock = Arc::clone(&connections.clock);
        // Whoever has enough of them is told so and let go at once: what is not taken would stand
        // before others in the kernel's queue.
        let holder = Holder::of(peer.connected());
        let Some(place) = connections.ledger.place(holder, clock.boot()) else {
            self.counts.refused.add();
            accepted.tell(&self.too_many);
            return Ok(());
        };
        let beginners = place.beginners();
        let endpoint = Arc::new(Limited {
            endpoint: Arc::clone(&self.endpoint),
            place,
            clock: Arc::clone(&clock),
        });
        let (ended, stop) = (connections.ended(), self.stop.clone());
        let open = Open::of(&self.counts);
        self.under_way.spawn(async move {
            dispatch(
                accepted,
                Arc::new(peer),
                endpoint,
                beginners,
                clock,
                &open,
                stop,
            )
            .await;
            drop(open);
            ended.notify_one();
        });
        Ok(())
    }
}

/// A connection as it is counted, until it is dropped.
struct Open(Arc<ListenerCounts>);

impl Open {
    fn of(counts: &Arc<ListenerCounts>) -> Self {
        counts.open.up();
        Self(Arc::clone(counts))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.down();
    }
}

impl Accepted {
    /// Who it is, asked before a byte is read. Nobody where it is somebody from elsewhere.
    fn peer(
        &self,
        reach: &Reach,
        name: &ListenerName,
        witness: &Witness,
    ) -> io::Result<Option<Peer>> {
        match self {
            Self::Unix(stream) => Peer::of_unix(stream, name.clone(), witness).map(Some),
            Self::Tcp(stream, address) => Ok(reach
                .has(address.ip())
                .then(|| Peer::of_tcp(stream, *address, name.clone(), witness))),
        }
    }

    /// Says one thing to a client that is not listened to, if its socket takes it at once.
    fn tell(&self, answer: &[u8]) {
        // tokio does not know yet that a new socket can be written to.
        let at_once = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let _ = match self {
            Self::Unix(stream) => send(stream, answer, at_once),
            Self::Tcp(stream, _) => send(stream, answer, at_once),
        };
    }
}

async fn dispatch(
    accepted: Accepted,
    peer: Arc<Peer>,
    endpoint: Arc<dyn Endpoint>,
    beginners: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    open: &Open,
    stop: watch::Receiver<bool>,
) {
    let counts = Arc::clone(&open.0);
    match accepted {
        Accepted::Unix(stream) => {
            connection::serve(stream, peer, endpoint, beginners, clock, counts, stop).await;
        }
        Accepted::Tcp(stream, _) => {
            connection::serve(stream, peer, endpoint, beginners, clock, counts, stop).await;
        }
    }
}
