//! A session of a user's long-lived keys, with or without the code of an MFA device.

use std::time::Duration;

use super::source::{News, Source, SourceIdentity};
use super::sts::{Settings, Sts};
use super::{Context, Provider, Providing, Unprovided, providing};
use crate::aws::sts::{GetSessionToken, Request};
use crate::credentials::{Credentials, Failure, Principal, Provided, Renewal};
use crate::program::Command;
use crate::secret_place::SecretPlace;

/// Whose session, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub from: SourceIdentity,
    pub mfa: Option<Mfa>,
    /// Twelve hours if absent, as AWS has it.
    pub lifetime: Option<Duration>,
    pub settings: Settings,
}

/// A device, and how its codes are come by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mfa {
    /// Serial number, or ARN of a virtual device.
    pub serial: String,
    pub code: CodeSource,
}

/// How the codes of a device are come by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CodeSource {
    /// A person types them in.
    #[default]
    Ask,
    /// They are computed from the secret of a virtual device (RFC 6238).
    Totp(SecretPlace),
    /// A program prints them.
    Command(Command),
}

pub(super) struct SessionTokenProvider {
    config: Config,
    source: Box<dyn Source>,
    sts: Sts,
    /// Whether nothing but a change of the source can better the last outcome.
    waits_for_source: bool,
}

impl SessionTokenProvider {
    pub(super) fn new(config: Config, context: &Context) -> Self {
        Self {
            source: context.sources.open(&config.from, &context.identity),
            sts: Sts::new(&config.settings, context),
            config,
            waits_for_source: false,
        }
    }

    async fn attempt(&mut self) -> Result<Provided, Unprovided> {
        let keys = self.source.credentials().await;
        self.waits_for_source = keys.is_err();
        let keys = keys?;
        if !keys.is_long_lived() {
            let problem = format!(
                "a session is made of long-lived keys, and {} has a session itself; build on that \
                 one instead",
                self.source.name()
            );
            return Err(Failure::misconfigured(problem).into());
        }
        let request = Request::GetSessionToken(GetSessionToken {
            duration: self.config.lifetime,
            mfa: None,
        });
        let minted = self.sts.mint(&request, Some(&keys)).await;
        let credentials = minted.map_err(|unanswered| unanswered.failure)?;
        Ok(Provided {
            credentials: Credentials {
                account_id: keys.account_id.clone(),
                principal: Principal::User,
                ..credentials
            },
            renewal: Renewal::Mint,
            issued: None,
            source: format!("session of {}", self.source.name()).into(),
        })
    }
}

impl Provider for SessionTokenProvider {
    fn provide(&mut self) -> Providing<'_> {
        providing(self.attempt())
    }

    fn news(&mut self) -> News<'_> {
        if self.waits_for_source {
            self.source.changed()
        } else {
            Box::pin(std::future::pending())
        }
    }

    fn refresh_sources(&mut self) {
        self.source.refresh();
    }

    fn draws_on_shared_quota(&self) -> bool {
        true
    }
}
