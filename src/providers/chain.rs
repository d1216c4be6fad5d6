//! The chain: providers tried in order, first as data, then run.

use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;

use super::environment::EnvironmentProvider;
use super::served::Served;
use super::session_token::CodeSource;
use super::{
    Context, Heeding, News, Provider, Providing, SourceIdentity, Unprovided, assume_role,
    container, imds, keys, process, profile, providing, session_token, web_identity,
};
use crate::credentials::{Failure, Provided};
use crate::identity::IdentityName;
use crate::secret_place::SecretPlace;

/// One link of a chain, as configured.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Link {
    Environment,
    Profile(profile::Config),
    ProfileKeys(profile::ProfileKeys),
    Keys(keys::Config),
    Process(process::Config),
    SessionToken(session_token::Config),
    AssumeRole(assume_role::Config),
    WebIdentity(web_identity::Config),
    Container(container::Config),
    InstanceMetadata(imds::Config),
}

impl Link {
    /// What it is derived from.
    pub fn from(&self) -> Option<&SourceIdentity> {
        match self {
            Self::SessionToken(config) => Some(&config.from),
            Self::AssumeRole(config) => Some(&config.from),
            Self::Environment
            | Self::Profile(_)
            | Self::ProfileKeys(_)
            | Self::Keys(_)
            | Self::Process(_)
            | Self::WebIdentity(_)
            | Self::Container(_)
            | Self::InstanceMetadata(_) => None,
        }
    }

    /// The named identity that it is derived from, by way of however many unnamed ones.
    pub fn built_on(&self) -> Option<&IdentityName> {
        match self.from()? {
            SourceIdentity::Named(name) => Some(name),
            SourceIdentity::Unnamed(links) => links.iter().find_map(Self::built_on),
        }
    }

    /// Where the secrets are kept that it takes, if the config names places for them.
    pub fn secret_places(&self) -> impl Iterator<Item = &SecretPlace> {
        fn device(code: &CodeSource) -> Option<&SecretPlace> {
            match code {
                CodeSource::Totp(place) => Some(place),
                CodeSource::Ask | CodeSource::Command(_) => None,
            }
        }
        let places = match self {
            Self::Keys(config) => [
                Some(&config.secret_access_key),
                config.session_token.as_ref(),
            ],
            Self::Profile(config) => [device(&config.mfa_code), None],
            Self::SessionToken(config) => {
                [config.mfa.as_ref().and_then(|mfa| device(&mfa.code)), None]
            }
            _ => [None, None],
        };
        places.into_iter().flatten()
    }

    /// Whether people may be asked for codes for it.
    pub fn asks_people(&self) -> bool {
        match self {
            Self::Profile(config) => config.mfa_code == CodeSource::Ask,
            Self::SessionToken(config) => {
                let mfa = config.mfa.as_ref();
                mfa.is_some_and(|mfa| mfa.code == CodeSource::Ask)
            }
            Self::Environment
            | Self::ProfileKeys(_)
            | Self::Keys(_)
            | Self::Process(_)
            | Self::AssumeRole(_)
            | Self::WebIdentity(_)
            | Self::Container(_)
            | Self::InstanceMetadata(_) => false,
        }
    }

    /// Whether a program may be run for it.
    pub fn runs_programs(&self) -> bool {
        let by_code = |code: &CodeSource| matches!(code, CodeSource::Command(_));
        let by_source = match self.from() {
            Some(SourceIdentity::Unnamed(links)) => links.iter().any(Self::runs_programs),
            Some(SourceIdentity::Named(_)) | None => false,
        };
        by_source
            || match self {
                Self::Process(_) => true,
                Self::Profile(config) => config.may_run_programs || by_code(&config.mfa_code),
                Self::SessionToken(config) => {
                    config.mfa.as_ref().is_some_and(|mfa| by_code(&mfa.code))
                }
                Self::Environment
                | Self::ProfileKeys(_)
                | Self::Keys(_)
                | Self::AssumeRole(_)
                | Self::WebIdentity(_)
                | Self::Container(_)
                | Self::InstanceMetadata(_) => false,
            }
    }

    /// A profile says itself which STS makes a session of its keys.
    pub(super) fn served(&self) -> Self {
        match self {
            Self::Profile(config) => Self::Profile(profile::Config {
                makes_sessions: true,
                ..config.clone()
            }),
            other => other.clone(),
        }
    }

    fn may_be_long_lived(&self) -> bool {
        match self {
            Self::Profile(config) => !config.makes_sessions,
            Self::Environment | Self::ProfileKeys(_) | Self::Keys(_) | Self::Process(_) => true,
            Self::SessionToken(_)
            | Self::AssumeRole(_)
            | Self::WebIdentity(_)
            | Self::Container(_)
            | Self::InstanceMetadata(_) => false,
        }
    }

    /// Its name in messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Profile(_) | Self::ProfileKeys(_) => "profile",
            Self::Keys(_) => "keys",
            Self::Process(_) => "process",
            Self::SessionToken(_) => "session token",
            Self::AssumeRole(_) => "role",
            Self::WebIdentity(_) => "web identity",
            Self::Container(_) => "container endpoint",
            Self::InstanceMetadata(_) => "instance metadata",
        }
    }

    /// The `provider` that makes an identity of this link alone.
    pub(super) fn provider(&self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Profile(_) | Self::ProfileKeys(_) => "profile",
            Self::Keys(_) => "keys",
            Self::Process(_) => "process",
            Self::SessionToken(_) => "session-token",
            Self::AssumeRole(_) => "assume-role",
            Self::WebIdentity(_) => "web-identity",
            Self::Container(_) => "container",
            Self::InstanceMetadata(_) => "imds",
        }
    }
}

/// The chain of every AWS SDK.
pub fn default_chain() -> Vec<Link> {
    vec![
        Link::Environment,
        Link::Profile(profile::Config::default()),
        Link::WebIdentity(web_identity::Config::Environment),
        Link::Container(container::Config::default()),
        Link::InstanceMetadata(imds::Config::default()),
    ]
}

/// Whether what the chain finds may be keys that no expiry ends.
pub fn may_be_long_lived(links: &[Link]) -> bool {
    links.iter().any(Link::may_be_long_lived)
}

/// Makes a chain's providers, for an identity that clients get.
pub fn build_served(links: &[Link], context: &Context) -> Box<dyn Provider> {
    let links: Vec<Link> = links.iter().map(Link::served).collect();
    let chain = Box::new(build(&links, context));
    if may_be_long_lived(&links) {
        Box::new(Served::new(chain, context))
    } else {
        chain
    }
}

/// Makes a chain's providers. Nothing is asked yet.
pub fn build(links: &[Link], context: &Context) -> Chain {
    let build = |link: &Link| -> Box<dyn Provider> {
        let context = context.clone();
        match link {
            Link::Environment => Box::new(EnvironmentProvider {
                environment: Arc::clone(&context.environment),
            }),
            Link::Profile(config) => {
                Box::new(profile::ProfileProvider::new(config.clone(), context))
            }
            Link::ProfileKeys(keys) => Box::new(profile::ProfileKeysProvider(keys.clone())),
            Link::Keys(config) => Box::new(keys::KeysProvider::new(config.clone(), context)),
            Link::Process(config) => {
                Box::new(process::ProcessProvider::new(config.clone(), context))
            }
            Link::SessionToken(config) => Box::new(session_token::SessionTokenProvider::new(
                config.clone(),
                context,
            )),
            Link::AssumeRole(config) => Box::new(assume_role::AssumeRoleProvider::new(
                config.clone(),
                context,
            )),
            Link::WebIdentity(config) => Box::new(web_identity::WebIdentityProvider::new(
                config.clone(),
                context,
            )),
            Link::Container(config) => {
                Box::new(container::ContainerProvider::new(config.clone(), context))
            }
            Link::InstanceMetadata(config) => {
                Box::new(imds::ImdsProvider::new(config.clone(), context))
            }
        }
    };
    let providers = links.iter().map(|link| (link.name(), build(link)));
    let chain = Chain::new(providers.collect());
    if context.is_on_ec2 {
        chain.advising(context.identity.clone())
    } else {
        chain
    }
}

/// Providers in order. Only *not configured* goes on to the next one: any other failure ends the
/// chain, since a silent change to another identity is the worst outcome.
pub struct Chain {
    links: Vec<(&'static str, Box<dyn Provider>)>,
    /// How many of them the last attempt has come to: what is news to the others changes nothing.
    reached: usize,
    /// Whose long-lived keys are to be spoken of, until they have been.
    advises: Option<IdentityName>,
}

/// What to do about long-lived keys on an EC2 instance.
pub const INSTANCE_ADVICE: &str = "long-lived keys on an EC2 instance: give the instance a role (an \
     instance profile), which needs no keys on this host, and delete these keys; for access to \
     another account let that role assume one there";

impl Chain {
    /// Links with the names that messages call them by.
    pub fn new(links: Vec<(&'static str, Box<dyn Provider>)>) -> Self {
        Self {
            links,
            advises: None,
            reached: 0,
        }
    }

    fn advising(mut self, identity: IdentityName) -> Self {
        self.advises = Some(identity);
        self
    }

    fn advise(&mut self, provided: &Provided) {
        if !provided.credentials.is_long_lived() {
            return;
        }
        if let Some(identity) = self.advises.take() {
            tracing::warn!(%identity, source = %provided.source, "{INSTANCE_ADVICE}");
        }
    }

    async fn attempt(&mut self) -> Result<Provided, Unprovided> {
        let mut skipped = Vec::new();
        for (index, (name, provider)) in self.links.iter_mut().enumerate() {
            self.reached = index + 1;
            tracing::Span::current().record("provider", *name);
            match provider.provide().await {
                Err(Unprovided::NotConfigured(why)) => skipped.push(format!("{name}: {why}")),
                Ok(provided) => {
                    self.advise(&provided);
                    return Ok(provided);
                }
                Err(Unprovided::Failed(failure)) => {
                    return Err(Unprovided::Failed(after_skipping(&skipped, failure)));
                }
            }
        }
        let message = format!(
            "no source of credentials is configured ({})",
            skipped.join("; ")
        );
        Err(Unprovided::Failed(Failure::misconfigured(message)))
    }
}

fn after_skipping(skipped: &[String], failure: Failure) -> Failure {
    if skipped.is_empty() {
        return failure;
    }
    let message = format!(
        "{} (skipped before: {})",
        failure.message,
        skipped.join("; ")
    );
    Failure { message, ..failure }
}

impl Provider for Chain {
    fn provide(&mut self) -> Providing<'_> {
        providing(self.attempt())
    }

    fn news(&mut self) -> News<'_> {
        let mut all: Vec<News<'_>> = self
            .links
            .iter_mut()
            .take(self.reached)
            .map(|(_, provider)| provider.news())
            .collect();
        Box::pin(poll_fn(move |context| {
            if all
                .iter_mut()
                .any(|news| news.as_mut().poll(context).is_ready())
            {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }))
    }

    fn files(&self) -> Vec<PathBuf> {
        let links = self.links.iter();
        links.flat_map(|(_, provider)| provider.files()).collect()
    }

    /// Those that the last attempt has not come to have nothing to say.
    fn heeds_files(&mut self) -> Heeding<'_> {
        Box::pin(async {
            for (_, provider) in self.links.iter_mut().take(self.reached) {
                if !provider.files().is_empty() && provider.heeds_files().await {
                    return true;
                }
            }
            false
        })
    }

    fn renew(&mut self) {
        for (_, provider) in &mut self.links {
            provider.renew();
        }
    }

    fn forget(&mut self) {
        for (_, provider) in &mut self.links {
            provider.forget();
        }
    }

    fn draws_on_shared_quota(&self) -> bool {
        self.links
            .iter()
            .any(|(_, provider)| provider.draws_on_shared_quota())
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_list()
            .entries(self.links.iter().map(|(name, _)| name))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_chain_keeps_the_order_of_the_sdks() {
        let names: Vec<_> = default_chain().iter().map(Link::name).collect();
        let order = [
            "environment",
            "profile",
            "web identity",
            "container endpoint",
            "instance metadata",
        ];
        assert_eq!(names, order);
    }
}
