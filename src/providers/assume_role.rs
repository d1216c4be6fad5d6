//! A role, assumed with the credentials of another identity.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::session_name::SessionName;
use super::source::{News, Source, SourceIdentity};
use super::sts::{Settings, Sts};
use super::{Context, Provider, Providing, Unprovided, providing};
use crate::aws::arn::Arn;
use crate::aws::sts::limit::CHAINED_LIFETIME;
use crate::aws::sts::{AssumeRole, Request};
use crate::credentials::{Credentials, Failure, Principal, Provided, Renewal};
use crate::os::{files, process};

/// Of an inline policy. STS takes 2,048 characters of most, and may take more.
const POLICY_BYTES: usize = 20 * 1024;

/// What is assumed, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Config {
    pub from: SourceIdentity,
    pub role_arn: Arn,
    pub external_id: Option<String>,
    /// One hour if absent, as AWS has it.
    pub lifetime: Option<Duration>,
    pub session_name: Option<SessionName>,
    /// The file of a policy that narrows the role.
    pub session_policy: Option<PathBuf>,
    /// Managed policies that narrow the role.
    pub policy_arns: Vec<Arn>,
    pub tags: Vec<(String, String)>,
    pub transitive_tags: Vec<String>,
    /// Stays with all sessions derived from this one: `SourceIdentity` of STS.
    pub source_identity: Option<String>,
    pub settings: Settings,
}

impl Config {
    /// `role_arn` and nothing more.
    pub fn of(from: SourceIdentity, role_arn: Arn) -> Self {
        Self {
            from,
            role_arn,
            external_id: None,
            lifetime: None,
            session_name: None,
            session_policy: None,
            policy_arns: Vec::new(),
            tags: Vec::new(),
            transitive_tags: Vec::new(),
            source_identity: None,
            settings: Settings::default(),
        }
    }
}

pub(super) struct AssumeRoleProvider {
    config: Config,
    context: Context,
    source: Box<dyn Source>,
    sts: Sts,
    /// Said once: it is so at each refresh.
    is_cut_told: bool,
}

impl AssumeRoleProvider {
    pub(super) fn new(config: Config, context: Context) -> Self {
        Self {
            source: context.sources.open(&config.from, &context.identity),
            sts: Sts::new(&config.settings, &context),
            config,
            context,
            is_cut_told: false,
        }
    }

    async fn attempt(&mut self) -> Result<Provided, Unprovided> {
        let signer = self.source.credentials().await?;
        let request = Request::AssumeRole(self.request(&signer).await?);
        match self.sts.mint(&request, Some(&signer)).await {
            Ok(credentials) => Ok(Provided {
                credentials,
                renewal: Renewal::Mint,
                issued: Some(self.sts.upstream_now()),
                source: format!("role {}", self.config.role_arn.role_name()).into(),
            }),
            Err(unanswered) => {
                if unanswered.is_expired_signer() {
                    self.source.reject();
                }
                Err(unanswered.failure.into())
            }
        }
    }

    async fn request(&mut self, signer: &Credentials) -> Result<AssumeRole, Failure> {
        let session_policy = match &self.config.session_policy {
            Some(path) => Some(policy(path).await?),
            None => None,
        };
        let lifetime = self.lifetime(signer);
        let config = &self.config;
        let session_name = config.session_name.clone().unwrap_or_default();
        Ok(AssumeRole {
            role_arn: config.role_arn.clone(),
            role_session_name: session_name
                .filled(&process::host_name(), self.context.identity.base()),
            duration: lifetime,
            external_id: config.external_id.clone(),
            policy: session_policy,
            policy_arns: config.policy_arns.clone(),
            tags: config.tags.clone(),
            transitive_tag_keys: config.transitive_tags.clone(),
            source_identity: config.source_identity.clone(),
            mfa: None,
        })
    }

    /// AWS refuses what is too long for a chain, so it is cut here.
    fn lifetime(&mut self, signer: &Credentials) -> Option<Duration> {
        let asked = self.config.lifetime?;
        let longest = *CHAINED_LIFETIME.end();
        if signer.principal != Principal::Role || asked <= longest {
            return Some(asked);
        }
        if !self.is_cut_told {
            self.is_cut_told = true;
            tracing::warn!(
                identity = %self.context.identity,
                role = %self.config.role_arn,
                asked_seconds = asked.as_secs(),
                "a role that is assumed with another role's session lives for an hour at most \
                 (role chaining), so an hour is asked for; assume it with a user's keys or session \
                 for more, or set a lifetime of 1 hour"
            );
        }
        Some(longest)
    }
}

/// Read anew at each refresh, so that a change of it counts from then on.
async fn policy(path: &Path) -> Result<String, Failure> {
    let text = files::read_owned_text(path.to_owned(), POLICY_BYTES)
        .await
        .map_err(|error| {
            let path = path.display();
            Failure::misconfigured(format!("cannot read the session policy {path}: {error}"))
        })?;
    if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_err() {
        let path = path.display();
        let problem = format!("the session policy {path} is not JSON; correct it");
        return Err(Failure::misconfigured(problem));
    }
    Ok(text.to_string())
}

impl Provider for AssumeRoleProvider {
    fn provide(&mut self) -> Providing<'_> {
        providing(self.attempt())
    }

    fn files(&self) -> Vec<PathBuf> {
        self.config.session_policy.iter().cloned().collect()
    }

    fn news(&mut self) -> News<'_> {
        self.source.news()
    }

    fn renew(&mut self) {
        self.source.refresh();
    }

    fn forget(&mut self) {
        self.source.forget_unnamed();
    }

    fn draws_on_shared_quota(&self) -> bool {
        true
    }
}
