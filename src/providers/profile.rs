//! Keys in the shared AWS config and credentials files.

use std::path::PathBuf;

use super::{Context, Provider, Providing, Unprovided, providing};
use crate::aws::profile_file::{self, Location, Locations, OTHER_SOURCES, Profiles, Section};
use crate::clock::Timestamp;
use crate::credentials::{
    AccessKeyId, Credentials, Failure, Principal, Provided, Renewal, described,
};
use crate::secret::Secret;

/// What credd.toml says of the files. What it leaves out comes from the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    pub profile: Option<String>,
    pub config_file: Option<PathBuf>,
    pub credentials_file: Option<PathBuf>,
}

impl Config {
    fn locations(&self, environment: &crate::environment::Environment) -> Locations {
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
}

impl ProfileProvider {
    pub(super) fn new(config: Config, context: Context) -> Self {
        Self { config, context }
    }

    /// The files are read anew each time: whoever edits them expects it.
    async fn attempt(&self) -> Result<Provided, Unprovided> {
        let locations = self.config.locations(&self.context.environment);
        let profiles = profile_file::load(&locations)
            .await
            .map_err(|error| Failure::misconfigured(described(&error)))?;
        let name = &locations.profile;
        let Some(section) = profiles.profile(name) else {
            let problem = format!(
                "there is no profile `{name}` in {}{}",
                files(&locations),
                passed_over(&profiles)
            );
            return Err(unless_named(&locations, problem));
        };
        if let Some(key) = OTHER_SOURCES
            .iter()
            .find(|key| section.property(key).is_some())
        {
            let problem = format!(
                "profile `{name}` uses `{key}`, which this version of credd does not support; \
                 give the profile temporary keys, or name another provider"
            );
            return Err(Failure::misconfigured(problem).into());
        }
        match keys(section, name)? {
            Keys::Whole(credentials) => Ok(Provided {
                credentials,
                renewal: Renewal::Reread,
                issued: None,
                source: format!("profile {name}").into(),
            }),
            Keys::Without(missing) => {
                let problem = format!("profile `{name}` has no {missing}; add it");
                Err(Failure::misconfigured(problem).into())
            }
            Keys::None => {
                let problem = format!("profile `{name}` holds no credentials");
                Err(unless_named(&locations, problem))
            }
        }
    }
}

impl Provider for ProfileProvider {
    fn provide(&mut self) -> Providing<'_> {
        providing(self.attempt())
    }
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
