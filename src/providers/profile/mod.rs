//! Profiles of the shared AWS config and credentials files: keys, or chains of roles.

mod plan;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::chain::{self, Link};
use super::session_token::CodeSource;
use super::source::{News, SourceIdentity};
use super::{Context, Heeding, Provider, Providing, Unprovided, providing};
use crate::aws::profile_file::{self, Location, Locations, Profiles, Section};
use crate::clock::Timestamp;
use crate::credentials::{
    AccessKeyId, Credentials, Failure, Principal, Provided, Renewal, described,
};
use crate::environment::Environment;
use crate::os::files::in_turn;
use crate::os::ownership::check_owned;
use crate::secret::Secret;
use plan::{Plan, Reader};

/// What credd.toml says of the files. What it leaves out comes from the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Config {
    pub profile: Option<String>,
    pub config_file: Option<PathBuf>,
    pub credentials_file: Option<PathBuf>,
    /// How codes of the MFA devices that the files name are come by.
    pub mfa_code: CodeSource,
    /// Whether a `credential_process` of the files is run.
    pub may_run_programs: bool,
    /// Whether long-lived keys are turned into a session, as they are for clients.
    pub makes_sessions: bool,
}

/// The keys of one profile, whatever else it says: what a chain of roles begins with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProfileKeys {
    pub profile: String,
    pub locations: Locations,
}

/// The files as they are now, and what the profile in them means.
struct Read {
    profiles: Profiles,
    locations: Locations,
    plan: Plan,
}

/// What a profile stands for, for those who want to see it.
pub(super) struct Meaning {
    pub(super) profile: String,
    /// Where it is looked for.
    pub(super) files: String,
    /// Absent where its own keys are what it stands for.
    pub(super) hop: Option<Link>,
    /// Of its own keys.
    pub(super) is_long_lived: bool,
}

/// Reads what a profile means, without doing any of it.
pub(super) async fn survey(
    config: &Config,
    environment: &Environment,
) -> Result<Meaning, Unprovided> {
    let Read {
        profiles,
        locations,
        plan,
    } = config.read(environment).await?;
    let (hop, is_long_lived) = match plan {
        Plan::Keys => {
            let keys = provided_keys(&profiles, &locations)?;
            (None, keys.credentials.is_long_lived())
        }
        Plan::Hop(link) => (Some(*link), false),
    };
    Ok(Meaning {
        files: files(&locations),
        profile: locations.profile,
        hop,
        is_long_lived,
    })
}

/// Whether these keys are long-lived.
pub(super) async fn survey_keys(keys: &ProfileKeys) -> Result<bool, Unprovided> {
    let provided = ProfileKeysProvider(keys.clone()).attempt().await?;
    Ok(provided.credentials.is_long_lived())
}

impl Config {
    async fn read(&self, environment: &Environment) -> Result<Read, Unprovided> {
        let locations = self.locations(environment);
        let profiles = load(&locations).await?;
        let name = &locations.profile;
        if profiles.profile(name).is_none() {
            let problem = missing(name, &profiles, &locations);
            return Err(unless_named(&locations, problem));
        }
        let reader = Reader {
            profiles: &profiles,
            locations: &locations,
            environment,
            mfa_code: &self.mfa_code,
            may_run_programs: self.may_run_programs,
            makes_sessions: self.makes_sessions,
        };
        let plan = reader
            .plan(name)
            .map_err(|unclear| Failure::misconfigured(unclear.to_string()))?;
        Ok(Read {
            profiles,
            locations,
            plan,
        })
    }

    pub(super) fn locations(&self, environment: &Environment) -> Locations {
        let mut locations = Locations::of(environment);
        let named = |path: &PathBuf| Location {
            path: path.clone(),
            is_named: true,
        };
        if let Some(path) = &self.config_file {
            locations.config = Some(named(path));
        }
        if let Some(path) = &self.credentials_file {
            locations.credentials = Some(named(path));
        }
        if let Some(profile) = &self.profile {
            locations.profile.clone_from(profile);
            locations.is_profile_named = true;
        }
        locations
    }
}

pub(super) struct ProfileProvider {
    config: Config,
    context: Context,
    /// The last hop of the chain that the profile meant when it was last read.
    chain: Option<(Link, Box<dyn Provider>)>,
    /// Whether the last attempt has come to it: what is news to it changes nothing else.
    has_reached_chain: bool,
    /// Its own keys, where they were what it meant.
    keys: Option<Credentials>,
    /// Whether what its chain holds since before a restart is to be dropped, once it is known what
    /// the chain is.
    is_forgotten: bool,
}

impl ProfileProvider {
    pub(super) fn new(config: Config, context: Context) -> Self {
        Self {
            config,
            context,
            chain: None,
            has_reached_chain: false,
            keys: None,
            is_forgotten: false,
        }
    }

    /// The files are read anew each time: whoever edits them expects it.
    async fn attempt(&mut self) -> Result<Provided, Unprovided> {
        self.has_reached_chain = false;
        self.keys = None;
        let read = self.config.read(&self.context.environment).await?;
        match read.plan {
            Plan::Keys => {
                self.chain = None;
                let provided = provided_keys(&read.profiles, &read.locations)?;
                self.keys = Some(provided.credentials.copy());
                Ok(provided)
            }
            Plan::Hop(link) => {
                if runs_programs(&link) {
                    check_files(&read.locations).await?;
                }
                self.run(*link, &read.locations.profile).await
            }
        }
    }

    /// A program's keys may be long-lived, too.
    fn build(&self, link: &Link) -> Box<dyn Provider> {
        let links = std::slice::from_ref(link);
        if self.config.makes_sessions {
            chain::build_served(links, &self.context)
        } else {
            Box::new(chain::build(links, &self.context))
        }
    }

    async fn run(&mut self, link: Link, name: &str) -> Result<Provided, Unprovided> {
        let chain = match self.chain.take() {
            Some((before, chain)) if before == link => chain,
            _ => self.build(&link),
        };
        let (_, chain) = self.chain.insert((link, chain));
        if std::mem::take(&mut self.is_forgotten) {
            chain.forget();
        }
        self.has_reached_chain = true;
        let provided = chain.provide().await?;
        Ok(Provided {
            source: format!("profile {name}: {}", provided.source).into(),
            ..provided
        })
    }
}

impl Provider for ProfileProvider {
    fn provide(&mut self) -> Providing<'_> {
        providing(self.attempt())
    }

    fn files(&self) -> Vec<PathBuf> {
        let of_chain = self.chain.iter().flat_map(|(_, chain)| chain.files());
        let locations = self.config.locations(&self.context.environment);
        paths(&locations).chain(of_chain).collect()
    }

    /// Whoever edits another profile changes nothing of this one.
    fn heeds_files(&mut self) -> Heeding<'_> {
        Box::pin(async {
            let Ok(read) = self.config.read(&self.context.environment).await else {
                return true;
            };
            match (&read.plan, &mut self.chain) {
                (Plan::Hop(now), Some((before, chain))) if **now == *before => {
                    !chain.files().is_empty() && chain.heeds_files().await
                }
                (Plan::Keys, None) => {
                    let now = provided_keys(&read.profiles, &read.locations);
                    let now = now.ok().map(|provided| provided.credentials);
                    !(self.keys.as_ref().zip(now)).is_some_and(|(before, now)| before.is_same(&now))
                }
                _ => true,
            }
        })
    }

    fn news(&mut self) -> News<'_> {
        match &mut self.chain {
            Some((_, chain)) if self.has_reached_chain => chain.news(),
            _ => Box::pin(std::future::pending()),
        }
    }

    fn renew(&mut self) {
        if let Some((_, chain)) = &mut self.chain {
            chain.renew();
        }
    }

    fn forget(&mut self) {
        if let Some((_, chain)) = &mut self.chain {
            chain.forget();
        } else {
            self.is_forgotten = true;
            self.context.shared_sessions.forget(&self.context.identity);
        }
    }
}

pub(super) struct ProfileKeysProvider(pub(super) ProfileKeys);

impl ProfileKeysProvider {
    async fn attempt(&self) -> Result<Provided, Unprovided> {
        let ProfileKeys { profile, locations } = &self.0;
        let locations = Locations {
            profile: profile.clone(),
            is_profile_named: true,
            ..locations.clone()
        };
        provided_keys(&load(&locations).await?, &locations)
    }
}

impl Provider for ProfileKeysProvider {
    fn provide(&mut self) -> Providing<'_> {
        providing(self.attempt())
    }

    fn files(&self) -> Vec<PathBuf> {
        paths(&self.0.locations).collect()
    }
}

fn paths(locations: &Locations) -> impl Iterator<Item = PathBuf> {
    let files = [&locations.config, &locations.credentials];
    let files = files.into_iter().flatten();
    files.map(|file| file.path.clone())
}

fn runs_programs(link: &Link) -> bool {
    match link.from() {
        Some(SourceIdentity::Unnamed(links)) => links.iter().any(runs_programs),
        _ => matches!(link, Link::Process(_)),
    }
}

/// Whoever can write a file that programs are named in can run what they like as credd.
async fn check_files(locations: &Locations) -> Result<(), Failure> {
    match problem_with_files(locations).await {
        None => Ok(()),
        Some(problem) => Err(Failure::misconfigured(format!(
            "a `credential_process` is run only where nobody but root and credd's user could have \
             written it: {problem}"
        ))),
    }
}

/// Why somebody else could have written one of the files, if so.
async fn problem_with_files(locations: &Locations) -> Option<String> {
    for path in paths(locations) {
        let checked = in_turn(path, |path| {
            Ok(if path.exists() {
                check_owned(path)
            } else {
                Ok(())
            })
        });
        match checked.await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => return Some(problem.to_string()),
            Err(error) => return Some(error.to_string()),
        }
    }
    None
}

/// Says once of each file that others could have written it. It is read all the same, as SDKs do:
/// whoever puts keys there gives theirs away, and gets none.
async fn warn_of_files(locations: &Locations) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let Some(problem) = problem_with_files(locations).await else {
        return;
    };
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.insert(problem.clone()) {
        tracing::warn!(%problem, "others could have written a profile file");
    }
}

async fn load(locations: &Locations) -> Result<Profiles, Failure> {
    warn_of_files(locations).await;
    profile_file::load(locations)
        .await
        .map_err(|error| Failure::misconfigured(described(&error)))
}

fn provided_keys(profiles: &Profiles, locations: &Locations) -> Result<Provided, Unprovided> {
    let name = &locations.profile;
    let Some(section) = profiles.profile(name) else {
        return Err(unless_named(locations, missing(name, profiles, locations)));
    };
    match keys(section, name)? {
        Keys::Whole(credentials) => Ok(Provided {
            credentials,
            renewal: Renewal::Reread,
            issued: None,
            source: format!("profile {name}").into(),
        }),
        Keys::Without(missing) => {
            let problem = format!("profile missing {missing}: add it to profile `{name}`");
            Err(Failure::misconfigured(problem).into())
        }
        Keys::None => {
            let problem = format!("profile `{name}` did not contain credential information");
            Err(unless_named(locations, problem))
        }
    }
}

fn missing(name: &str, profiles: &Profiles, locations: &Locations) -> String {
    let none_at_all = if profiles.profile_names().next().is_none() {
        ": No profiles were defined"
    } else {
        ""
    };
    format!(
        "there is no profile `{name}` in {}{none_at_all}{}",
        files(locations),
        passed_over(profiles)
    )
}

/// A profile that somebody named must be there; a default one need not.
fn unless_named(locations: &Locations, problem: String) -> Unprovided {
    if locations.is_profile_named {
        Failure::misconfigured(problem).into()
    } else {
        Unprovided::NotConfigured(problem)
    }
}

/// What the reader made nothing of: most likely where a missing profile got lost.
fn passed_over(profiles: &Profiles) -> String {
    const MOST: usize = 3;
    let warnings = profiles.warnings().iter().take(MOST);
    let texts: Vec<String> = warnings.map(|warning| format!("; {warning}")).collect();
    texts.concat()
}

fn files(locations: &Locations) -> String {
    let paths: Vec<String> = [&locations.config, &locations.credentials]
        .into_iter()
        .flatten()
        .map(|location| location.path.display().to_string())
        .collect();
    if paths.is_empty() {
        "any file (HOME is not set)".to_owned()
    } else {
        paths.join(" or ")
    }
}

enum Keys {
    Whole(Credentials),
    Without(&'static str),
    None,
}

fn keys(section: &Section, name: &str) -> Result<Keys, Failure> {
    let text = |key| section.property(key).filter(|value| !value.is_empty());
    let (id, secret) = (text("aws_access_key_id"), text("aws_secret_access_key"));
    let (access_key_id, secret_access_key) = match (id, secret) {
        (None, None) => return Ok(Keys::None),
        (Some(_), None) => return Ok(Keys::Without("aws_secret_access_key")),
        (None, Some(_)) => return Ok(Keys::Without("aws_access_key_id")),
        (Some(access_key_id), Some(secret_access_key)) => (access_key_id, secret_access_key),
    };
    // No SDK defines an expiry here, but saml2aws leaves one beside the session that it writes;
    // without it a session's end is unknown.
    let expiry = text(EXPIRY_KEY).map(|text| {
        Timestamp::parse(text).ok_or_else(|| {
            let problem = format!("`{EXPIRY_KEY}` of profile `{name}` is no RFC 3339 time");
            Failure::misconfigured(format!("{problem} such as 2026-01-31T12:00:00Z"))
        })
    });
    Ok(Keys::Whole(Credentials {
        access_key_id: AccessKeyId::from(access_key_id.to_owned()),
        secret_access_key: Secret::from(secret_access_key.to_owned()),
        session_token: text("aws_session_token").map(|token| Secret::from(token.to_owned())),
        expiry: expiry.transpose()?,
        account_id: text("aws_account_id").map(str::to_owned),
        role_arn: None,
        principal: Principal::of_keys(text("aws_session_token").is_none()),
    }))
}

const EXPIRY_KEY: &str = "x_security_token_expires";
