//! What clients get of an identity: never long-lived keys, but the session that STS makes of them.

use super::source::News;
use super::sts::{Settings, Sts};
use super::{Context, Provider, Providing, Unprovided, providing};
use crate::aws::sts::{GetSessionToken, Request};
use crate::credentials::{Credentials, Principal, Provided, Renewal};

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
        let request = Request::GetSessionToken(GetSessionToken {
            duration: None,
            mfa: None,
        });
        let keys = &provided.credentials;
        let credentials = self
            .sts
            .mint(&request, Some(keys))
            .await
            .map_err(|unanswered| unanswered.failure)?;
        Ok(Provided {
            credentials: Credentials {
                account_id: keys.account_id.clone(),
                principal: Principal::User,
                ..credentials
            },
            renewal: Renewal::Mint,
            issued: None,
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

    fn refresh_sources(&mut self) {
        self.provider.refresh_sources();
    }

    fn forget(&mut self) {
        self.provider.forget();
    }

    fn draws_on_shared_quota(&self) -> bool {
        self.provider.draws_on_shared_quota()
    }
}
