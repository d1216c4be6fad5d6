//! An endpoint as one connection sees it: with no more requests than its caller may make.

use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;

use super::limits::Place;
use super::{Endpoint, Peer, Refusal, Responding};
use crate::clock::Clock;

/// Before a caller is told that it asks too much. It cannot ask again on this connection until it
/// has been, and so takes less time from others by asking more.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Limited {
    pub(super) endpoint: Arc<dyn Endpoint>,
    pub(super) place: Place,
    pub(super) clock: Arc<dyn Clock>,
}

impl Endpoint for Limited {
    fn respond(self: Arc<Self>, request: Request<Incoming>, peer: Arc<Peer>) -> Responding {
        if self.place.request(self.clock.boot()) {
            return Arc::clone(&self.endpoint).respond(request, peer);
        }
        Box::pin(async move {
            self.clock.deadline(PAUSE).await;
            Refusal::too_many().into_response()
        })
    }
}
