//! What clients get of an identity: never long-lived keys, but the session that STS makes of them.

use std::path::PathBuf;

use super::source::News;
use super::sts::{Settings, Sts};
use super::{Context, Heeding, Provider, Providing, Unprovided, providing};
use crate::credentials::{Provided, Renewal};

/// A provider whose long-lived keys, should it have any, are turned into a session.
pub(super) struct Served {
    provider: Box<dyn Provider>,
    sts: Sts,
}

impl Served {
    pub(super) fn new(provider: Box<dyn Provider>, context: &Context) -> Self {
        Self {
            provider,
            sts: Sts::new(&Settings::default(), context),
        }
    }

    async fn attempt(&mut self) -> Result<Provided, Unprovided> {
        let provided = self.provider.provide().await?;
        if !provided.credentials.is_long_lived() {
            return Ok(provided);
        }
        let credentials = self
            .sts
            .session(&provided.credentials, None, None)
            .await
            .map_err(|unanswered| unanswered.failure)?;
        Ok(Provided {
            credentials,
            renewal: Renewal::Mint,
            issued: Some(self.sts.upstream_now()),
            source: format!("session of {}", provided.source).into(),
        })
    }
}

impl Provider for Served {
    fn provide(&mut self) -> Providing<'_> {
        providing(self.attempt())
    }

    fn news(&mut self) -> News<'_> {
        self.provider.news()
    }

    fn files(&self) -> Vec<PathBuf> {
        self.provider.files()
    }

    fn heeds_files(&mut self) -> Heeding<'_> {
        self.provider.heeds_files()
    }

    fn renew(&mut self) {
        self.provider.renew();
    }

    fn forget(&mut self) {
        self.provider.forget();
    }

    fn draws_on_shared_quota(&self) -> bool {
        self.provider.draws_on_shared_quota()
    }
}
