//! How the daemon is told to read its config anew.

use hyper::Response;
use tokio::sync::{mpsc, oneshot};

use super::admin::report;
use super::{Body, Refusal};
use crate::api::ReloadReport;

/// An order to whoever keeps the config.
#[derive(Debug)]
pub struct ReloadOrder {
    /// Told what has come of it, where somebody waits for that.
    pub done: Option<oneshot::Sender<ReloadReport>>,
}

/// The way to whoever keeps the config. What is ordered while a reload is under way causes one
/// more, however many order it.
#[derive(Debug, Clone)]
pub struct ReloadOrders(mpsc::UnboundedSender<ReloadOrder>);

impl ReloadOrders {
    pub fn new() -> (Self, mpsc::UnboundedReceiver<ReloadOrder>) {
        let (orders, received) = mpsc::unbounded_channel();
        (Self(orders), received)
    }

    /// Orders a reload, and does not wait for it.
    pub fn order(&self) {
        // Fails only while the daemon ends.
        let _ = self.0.send(ReloadOrder { done: None });
    }

    pub(super) async fn reload(&self) -> Result<Response<Body>, Refusal> {
        let (done, outcome) = oneshot::channel();
        let _ = self.0.send(ReloadOrder { done: Some(done) });
        match outcome.await {
            Ok(outcome) => Ok(report(&outcome)),
            Err(_) => Err(Refusal::warming()),
        }
    }
}
