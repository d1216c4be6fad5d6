//! What each link of a chain has to give, found out without obtaining any credentials: what a
//! person is shown who asks why an identity is the one that it is.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::chain::Link;
use super::source::SourceIdentity;
use super::{
    Context, Surroundings, Unprovided, container, environment, imds, profile, web_identity,
};
use crate::clock::timeout;
use crate::identity::IdentityName;

/// What a look at one link has shown. Names of variables, files and roles; never a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It has credentials to give, as far as can be seen without asking for them.
    Found(Found),
    /// It is passed over; says what would configure it.
    NotConfigured(String),
    /// It ends the chain, since it is configured and cannot work.
    Broken(String),
}

/// What a link has to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// `AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY`, `role app`.
    pub what: String,
    /// How to make the chain pass the link over, as an order.
    pub removal: String,
    /// Whether keys that no expiry ends are at the bottom of it.
    pub is_long_lived: bool,
    /// The device whose code it takes, on the way there.
    pub mfa_serial: Option<String>,
}

impl From<Unprovided> for Finding {
    fn from(unprovided: Unprovided) -> Self {
        match unprovided {
            Unprovided::NotConfigured(why) => Self::NotConfigured(why),
            Unprovided::Failed(failure) => Self::Broken(failure.message),
        }
    }
}

/// One link of a chain, and what a look at it has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    /// `instance metadata`
    pub link: &'static str,
    /// What credd.toml calls it: `imds`.
    pub provider: &'static str,
    pub finding: Finding,
}

impl Surveyed {
    pub fn found(&self) -> Option<&Found> {
        match &self.finding {
            Finding::Found(found) => Some(found),
            Finding::NotConfigured(_) | Finding::Broken(_) => None,
        }
    }
}

/// Looks at the chains of all identities.
#[derive(Debug)]
pub struct Surveyor {
    named: BTreeMap<IdentityName, Vec<Link>>,
    surroundings: Surroundings,
}

/// What one link is given. Files may hang, and metadata services that are not there take their
/// time to say so.
const LINK_TIME: Duration = Duration::from_secs(3);

/// Nobody derives identities through more hops than this.
const DEEPEST: usize = 16;

impl Surveyor {
    pub fn new(named: BTreeMap<IdentityName, Vec<Link>>, surroundings: Surroundings) -> Self {
        Self {
            named,
            surroundings,
        }
    }

    /// Looks at every link of these identities, also at those that the chain does not come to.
    pub async fn survey<'a>(
        &self,
        identities: impl Iterator<Item = &'a IdentityName>,
    ) -> BTreeMap<IdentityName, Vec<Surveyed>> {
        let sources = self.named.values().flatten().filter_map(Link::built_on);
        let mut survey = Survey {
            surveyor: self,
            sources: sources.collect(),
            instance: Vec::new(),
        };
        let mut all = BTreeMap::new();
        for name in identities {
            let mut surveyed = Vec::new();
            for link in self.links(name) {
                surveyed.push(Surveyed {
                    link: link.name(),
                    provider: link.provider(),
                    finding: survey.of_identity(name, link, DEEPEST).await,
                });
            }
            all.insert(name.clone(), surveyed);
        }
        all
    }

    pub fn is_on_ec2(&self) -> bool {
        self.surroundings.is_on_ec2
    }

    fn links(&self, name: &IdentityName) -> &[Link] {
        self.named.get(name).map_or(&[], Vec::as_slice)
    }
}

/// One look at everything.
struct Survey<'a> {
    surveyor: &'a Surveyor,
    sources: BTreeSet<&'a IdentityName>,
    /// Asked once, however many identities come to it.
    instance: Vec<(imds::Config, Finding)>,
}

type Looking<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Survey<'_> {
    async fn of_identity(&mut self, name: &IdentityName, link: &Link, depth: usize) -> Finding {
        // As it is run: keys of others' sources stay as they are.
        if self.sources.contains(name) {
            self.bounded(link, depth).await
        } else {
            self.bounded(&link.served(), depth).await
        }
    }

    async fn bounded(&mut self, link: &Link, depth: usize) -> Finding {
        let clock = &*self.surveyor.surroundings.clock;
        let slow = |_| Finding::Broken("it did not answer within 3 s".to_owned());
        let finding = timeout(clock, LINK_TIME, self.link(link, depth)).await;
        finding.unwrap_or_else(slow)
    }

    fn link<'s>(&'s mut self, link: &'s Link, depth: usize) -> Looking<'s, Finding> {
        Box::pin(async move {
            let environment = &self.surveyor.surroundings.environment;
            match link {
                Link::Environment => environment::survey(environment),
                Link::Profile(config) => match profile::survey(config, environment).await {
                    Ok(meaning) => self.profile(meaning, depth).await,
                    Err(unprovided) => unprovided.into(),
                },
                Link::ProfileKeys(keys) => match profile::survey_keys(keys).await {
                    Ok(is_long_lived) => found(
                        format!("{} of profile {}", kind(is_long_lived), keys.profile),
                        is_long_lived,
                    ),
                    Err(unprovided) => unprovided.into(),
                },
                Link::Keys(config) => {
                    let is_long_lived = config.session_token.is_none();
                    let (kind, id) = (kind(is_long_lived), &config.access_key_id);
                    found(format!("{kind} {id}"), is_long_lived)
                }
                Link::Process(config) => found(
                    format!("process {}, which was not run", config.command.name()),
                    false,
                ),
                Link::SessionToken(config) => {
                    let mfa = config.mfa.as_ref();
                    let what = mfa.map_or_else(
                        || "session".to_owned(),
                        |mfa| format!("session with a code of MFA device {}", mfa.serial),
                    );
                    let serial = mfa.map(|mfa| mfa.serial.clone());
                    self.derived(&what, serial, &config.from, depth).await
                }
                Link::AssumeRole(config) => {
                    let what = format!("role {}", config.role_arn.role_name());
                    self.derived(&what, None, &config.from, depth).await
                }
                Link::WebIdentity(config) => web_identity::survey(config, environment).await,
                Link::Container(config) => container::survey(config, environment),
                Link::InstanceMetadata(config) => self.instance(config).await,
            }
        })
    }

    async fn profile(&mut self, meaning: profile::Meaning, depth: usize) -> Finding {
        let profile::Meaning {
            profile,
            files,
            hop,
            is_long_lived,
        } = meaning;
        let hop = match &hop {
            None => found(kind(is_long_lived).to_owned(), is_long_lived),
            Some(link) => self.link(link, depth).await,
        };
        match hop {
            Finding::Found(found) => Finding::Found(Found {
                what: format!("{profile}: {}", found.what),
                removal: format!("take its credentials out of profile `{profile}` in {files}"),
                ..found
            }),
            // The profile is configured, whatever it builds on.
            Finding::NotConfigured(why) | Finding::Broken(why) => {
                Finding::Broken(format!("{profile}: {why}"))
            }
        }
    }

    async fn derived(
        &mut self,
        what: &str,
        mfa_serial: Option<String>,
        from: &SourceIdentity,
        depth: usize,
    ) -> Finding {
        match self.source(from, depth.saturating_sub(1)).await {
            Ok(source) => Finding::Found(Found {
                what: format!("{what} ← {}", source.what),
                mfa_serial: mfa_serial.or(source.mfa_serial),
                ..alone(String::new(), source.is_long_lived)
            }),
            Err(why) => Finding::Broken(format!("{what} ← {why}")),
        }
    }

    /// The link of the source that its chain comes to, with its own sources.
    fn source<'s>(
        &'s mut self,
        from: &'s SourceIdentity,
        depth: usize,
    ) -> Looking<'s, Result<Found, String>> {
        Box::pin(async move {
            if depth == 0 {
                return Err("…".to_owned());
            }
            let (prefix, links) = match from {
                SourceIdentity::Named(name) => {
                    (format!("identity {name}: "), self.surveyor.links(name))
                }
                SourceIdentity::Unnamed(links) => (String::new(), links.as_slice()),
            };
            for link in links {
                match self.link(link, depth).await {
                    Finding::NotConfigured(_) => {}
                    Finding::Found(found) => {
                        let what = match link {
                            Link::ProfileKeys(_) => found.what.clone(),
                            _ => titled(link.name(), &found.what),
                        };
                        return Ok(Found {
                            what: format!("{prefix}{what}"),
                            ..found
                        });
                    }
                    Finding::Broken(why) => {
                        return Err(format!("{prefix}{}", titled(link.name(), &why)));
                    }
                }
            }
            Err(format!("{prefix}no source of credentials is configured"))
        })
    }

    async fn instance(&mut self, config: &imds::Config) -> Finding {
        let mut known = self.instance.iter();
        if let Some((_, finding)) = known.find(|(it, _)| it == config) {
            return finding.clone();
        }
        let context = Context::alone(self.surveyor.surroundings.clone());
        let finding = imds::survey(config.clone(), context).await;
        self.instance.push((config.clone(), finding.clone()));
        finding
    }
}

/// `instance metadata (role app)`; what says itself where it comes from stays as it is.
pub fn titled(link: &str, what: &str) -> String {
    match link {
        "role" | "session token" | "process" | "keys" => what.to_owned(),
        _ => format!("{link} ({what})"),
    }
}

/// For links that stand alone: nothing is hidden by them, so nothing is gained by their removal.
fn alone(what: String, is_long_lived: bool) -> Found {
    Found {
        what,
        removal: "give the identity another provider".to_owned(),
        is_long_lived,
        mfa_serial: None,
    }
}

fn found(what: String, is_long_lived: bool) -> Finding {
    Finding::Found(alone(what, is_long_lived))
}

fn kind(is_long_lived: bool) -> &'static str {
    if is_long_lived {
        "long-lived keys"
    } else {
        "keys of a session"
    }
}

/// Whether any of it comes from keys that no expiry ends: of the link that a chain comes to.
pub fn rests_on_long_lived_keys(surveyed: &[Surveyed]) -> bool {
    let found = chosen(surveyed).and_then(Surveyed::found);
    found.is_some_and(|found| found.is_long_lived)
}

/// The link that a chain comes to: the first one that is configured, whether or not it works.
pub fn chosen(surveyed: &[Surveyed]) -> Option<&Surveyed> {
    let mut surveyed = surveyed.iter();
    surveyed.find(|it| !matches!(it.finding, Finding::NotConfigured(_)))
}
