//! What operators do with tokens: look, replace, take back.

use std::path::PathBuf;

use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use tokio::sync::{mpsc, oneshot};

use super::admin::report;
use super::{Body, Refusal, Site, question};
use crate::api::{TokensReport, WhichToken};
use crate::authz::TokenName;

/// Where a token is read, and by whom, for those who ask how to reach the endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile {
    pub name: TokenName,
    pub path: PathBuf,
    pub group: Option<u32>,
    /// Permission bits.
    pub mode: u32,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenAction {
    Look,
    /// A new one now; the one before is honoured for the overlap.
    Rotate(TokenName),
    /// A new one now; those before are refused from now on.
    Revoke(TokenName),
}

/// Why it was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenFailure {
    NoSuchToken,
    /// For people.
    Unwritable(String),
}

/// An order to whoever keeps the tokens.
#[derive(Debug)]
pub struct TokenOrder {
    pub action: TokenAction,
    /// Told once it is done: of the tokens that are meant.
    pub done: oneshot::Sender<Result<TokensReport, TokenFailure>>,
}

/// The way to whoever keeps the tokens.
#[derive(Debug, Clone)]
pub struct TokenOrders(mpsc::Sender<TokenOrder>);

impl TokenOrders {
    pub fn new() -> (Self, mpsc::Receiver<TokenOrder>) {
        let (orders, received) = mpsc::channel(1);
        (Self(orders), received)
    }

    pub(super) async fn look(&self) -> Result<Response<Body>, Refusal> {
        self.order(TokenAction::Look).await
    }

    pub(super) async fn change(
        &self,
        site: &Site,
        body: Incoming,
        action: fn(TokenName) -> TokenAction,
    ) -> Result<Response<Body>, Refusal> {
        let which: WhichToken = question::read(site, body).await?;
        let name = TokenName::parse(&which.token).map_err(|_| no_such_token())?;
        self.order(action(name)).await
    }

    async fn order(&self, action: TokenAction) -> Result<Response<Body>, Refusal> {
        let (done, outcome) = oneshot::channel();
        // Neither fails but when the daemon is on its way out.
        let _ = self.0.send(TokenOrder { action, done }).await;
        match outcome.await {
            Ok(Ok(tokens)) => Ok(report(&tokens)),
            Ok(Err(TokenFailure::NoSuchToken)) => Err(no_such_token()),
            Ok(Err(TokenFailure::Unwritable(message))) => Err(Refusal {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                code: "TokenUnwritable",
                message: message.into(),
                request: None,
            }),
            Err(_) => Err(Refusal::warming()),
        }
    }
}

fn no_such_token() -> Refusal {
    Refusal {
        status: StatusCode::NOT_FOUND,
        code: "TokenNotFound",
        message: "credd keeps no token of this name; `credd token` lists them".into(),
        request: None,
    }
}
