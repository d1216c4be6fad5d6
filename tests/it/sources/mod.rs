//! The chain and its providers, end to end through real sockets.

mod container;
mod instance;
mod keys;
mod metadata;
mod order;
mod process;
mod survey;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use credd::clock::SharedClock;
use credd::credentials::{Failure, Provided};
use credd::environment::Environment;
use credd::http::{Client, Roots};
use credd::providers::chain::{self, Chain, Link};
use credd::providers::{Context, Provider, Surroundings, Unprovided};

use crate::support::clock::TestClock;

/// A chain, and all that it looks at.
struct Sources {
    clock: Arc<TestClock>,
    variables: Vec<(String, String)>,
    own: Vec<SocketAddr>,
    roots: Roots,
}

impl Sources {
    fn new(clock: &Arc<TestClock>) -> Self {
        Self {
            clock: Arc::clone(clock),
            variables: Vec::new(),
            own: Vec::new(),
            roots: Roots::System,
        }
    }

    fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// The chain that a daemon without a config uses.
    fn chain(&self) -> Chain {
        self.links(&chain::default_chain())
    }

    fn links(&self, links: &[Link]) -> Chain {
        chain::build(links, &self.context())
    }

    fn context(&self) -> Context {
        let environment: Environment = self.variables.iter().cloned().collect();
        let clock = Arc::clone(&self.clock) as SharedClock;
        let client = Client::new(Arc::clone(&clock), self.own.clone(), self.roots.clone());
        Context::alone(Surroundings::new(
            Arc::new(environment),
            Arc::new(client),
            clock,
        ))
    }

    async fn provided(&self) -> Provided {
        provided(&mut self.chain()).await
    }

    async fn failure(&self) -> Failure {
        failure(&mut self.chain()).await
    }
}

async fn provided(provider: &mut dyn Provider) -> Provided {
    provider.provide().await.unwrap()
}

async fn failure(provider: &mut dyn Provider) -> Failure {
    match provider.provide().await {
        Err(Unprovided::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

fn key(provided: &Provided) -> &str {
    provided.credentials.access_key_id.expose()
}

const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
const IMDS_ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const IMDS_DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
