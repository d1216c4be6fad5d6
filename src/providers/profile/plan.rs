//! What a profile means: keys of its own, or a chain of hops as data, which is run afterwards.

use std::fmt;
use std::time::Duration;

use super::ProfileKeys;
use crate::aws::arn::Arn;
use crate::aws::profile_file::{Locations, Profiles, Section};
use crate::aws::region::Region;
use crate::aws::service_endpoint::{EndpointSettings, Service};
use crate::aws::sts::limit::ROLE_LIFETIME;
use crate::environment::Environment;
use crate::program::Command;
use crate::providers::chain::Link;
use crate::providers::session_name::SessionName;
use crate::providers::session_token::{self, CodeSource, Mfa};
use crate::providers::source::SourceIdentity;
use crate::providers::sts::Settings;
use crate::providers::{assume_role, container, imds, process, web_identity};

/// What is done about a profile.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Its own keys are what it stands for.
    Keys,
    /// The last hop, which holds those before it.
    Hop(Box<Link>),
}

/// What a profile is read with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub profiles: &'a Profiles,
    pub locations: &'a Locations,
    pub environment: &'a Environment,
    /// How codes of MFA devices are come by.
    pub mfa_code: &'a CodeSource,
    /// Whether the config lets profiles run programs.
    pub may_run_programs: bool,
    /// Whether long-lived keys are turned into a session.
    pub makes_sessions: bool,
}

/// Why a profile means nothing. The wording is that of the SDKs, which users search for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unclear(pub String);

impl fmt::Display for Unclear {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn unclear<T>(problem: impl Into<String>) -> Result<T, Unclear> {
    Err(Unclear(problem.into()))
}

/// The ways in which one profile can name its credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Keys,
    SourceProfile,
    CredentialSource,
    WebIdentity,
    Process,
    /// Those that come with a later version.
    Later,
}

/// By the key that shows each.
const WAYS: [(&str, Way); 9] = [
    ("source_profile", Way::SourceProfile),
    ("credential_source", Way::CredentialSource),
    ("web_identity_token_file", Way::WebIdentity),
    ("credential_process", Way::Process),
    ("sso_session", Way::Later),
    ("sso_start_url", Way::Later),
    ("login_session", Way::Later),
    ("aws_access_key_id", Way::Keys),
    ("aws_secret_access_key", Way::Keys),
];

impl Reader<'_> {
    /// Reads what the profile called `name` means.
    pub(super) fn plan(&self, name: &str) -> Result<Plan, Unclear> {
        let mut walk = Walk {
            reader: *self,
            visited: Vec::new(),
            mfa_serial: None,
            region: None,
        };
        let plan = walk.plan(name)?;
        let section = self.section(name)?;
        if plan == Plan::Keys && self.makes_sessions && is_long_lived(section) {
            let serial = walk.mfa_serial.as_deref();
            let session = self.session(name, section, serial)?;
            return Ok(Plan::Hop(Box::new(session)));
        }
        Ok(plan)
    }

    fn section(&self, name: &str) -> Result<&Section, Unclear> {
        let section = self.profiles.profile(name);
        section.ok_or_else(|| Unclear(format!("there is no profile `{name}`")))
    }

    fn settings(&self, section: &Section) -> Result<EndpointSettings, Unclear> {
        let profiles = Some((self.profiles, section));
        EndpointSettings::of(Service::Sts, self.environment, profiles)
            .map_err(|problem| Unclear(problem.to_string()))
    }

    fn keys(&self, name: &str) -> SourceIdentity {
        SourceIdentity::Unnamed(vec![Link::ProfileKeys(ProfileKeys {
            profile: name.to_owned(),
            locations: self.locations.clone(),
        })])
    }

    /// The session that is made of a profile's keys, with a code of the MFA device if they have
    /// one.
    fn session(
        &self,
        name: &str,
        section: &Section,
        mfa_serial: Option<&str>,
    ) -> Result<Link, Unclear> {
        // Not the region of a role: roles in different ones share the session, and its code.
        let settings = self.settings(section)?;
        let device = mfa_serial.and_then(|serial| Arn::parse(serial).ok());
        let region = Some(settings.region_for(device.as_ref()));
        Ok(Link::SessionToken(session_token::Config {
            from: self.keys(name),
            mfa: mfa_serial.map(|serial| Mfa {
                serial: serial.to_owned(),
                code: self.mfa_code.clone(),
            }),
            lifetime: None,
            settings: Settings::Profile(EndpointSettings { region, ..settings }),
        }))
    }
}

/// One walk from a profile to where its chain of sources ends.
struct Walk<'a> {
    reader: Reader<'a>,
    visited: Vec<String>,
    /// Of the device whose code the keys at the end of the chain need.
    mfa_serial: Option<String>,
    /// Of the last profile that says one. Hops that say none are asked there too: SDKs ask all of
    /// them in the region of the profile that is meant.
    region: Option<Region>,
}

/// Profiles from the one that is meant to the last. Nobody needs as many; a file may hold any
/// number.
const LONGEST_CHAIN: usize = 16;

impl Walk<'_> {
    fn plan(&mut self, name: &str) -> Result<Plan, Unclear> {
        let reader = self.reader;
        let section = reader.section(name)?;
        self.visited.push(name.to_owned());
        if self.visited.len() > LONGEST_CHAIN {
            let first = self.visited.first().map_or(name, String::as_str);
            return unclear(format!(
                "the chain of profiles that begins with `{first}` has more than {LONGEST_CHAIN}; \
                 shorten it"
            ));
        }
        if let Some(serial) = text(section, "mfa_serial") {
            self.require_mfa(serial)?;
        }
        let way = way(name, section)?;
        match way {
            Way::Keys => Ok(Plan::Keys),
            Way::Later => unclear(format!(
                "profile `{name}` signs in through a browser (`sso_*` or `login_session`), which \
                 comes with a later version of credd; until then use a role, keys or \
                 `credential_process`"
            )),
            Way::Process => self.process(name, section).map(hop),
            Way::WebIdentity => {
                self.refuse_mfa(name, "web_identity_token_file")?;
                web_identity(name, section, self.settings(section)?).map(hop)
            }
            Way::SourceProfile | Way::CredentialSource => {
                let role_arn = role_arn(name, section)?;
                let Some(role_arn) = role_arn else {
                    return unclear(format!("profile `{name}` names a source but no `role_arn`"));
                };
                let settings = self.settings(section)?;
                let from = match way {
                    Way::SourceProfile => self.source_profile(name, section)?,
                    _ => self.credential_source(name, section)?,
                };
                Ok(hop(Link::AssumeRole(assume_role::Config {
                    external_id: text(section, "external_id").map(str::to_owned),
                    lifetime: duration(name, section)?,
                    session_name: session_name(name, section)?,
                    settings,
                    ..assume_role::Config::of(from, role_arn)
                })))
            }
        }
    }

    fn settings(&mut self, section: &Section) -> Result<Settings, Unclear> {
        let settings = self.reader.settings(section)?;
        let region = settings.region.clone().or_else(|| self.region.clone());
        self.region.clone_from(&region);
        Ok(Settings::Profile(EndpointSettings { region, ..settings }))
    }

    fn source_profile(&mut self, name: &str, section: &Section) -> Result<SourceIdentity, Unclear> {
        let source = text(section, "source_profile").unwrap_or_default();
        let Some(of_source) = self.reader.profiles.profile(source) else {
            return unclear(format!(
                "could not find source profile {} referenced from {name}",
                printable(source)
            ));
        };
        // Keys end a chain wherever they stand but at its beginning, even in the very profile
        // that names itself as its source.
        if has_keys(of_source) {
            self.visited.push(source.to_owned());
            if let Some(serial) = text(of_source, "mfa_serial") {
                self.require_mfa(serial)?;
            }
            return self.base_keys(source, of_source);
        }
        if self.visited.iter().any(|visited| visited == source) {
            return unclear(format!(
                "profile formed an infinite loop. first we loaded [{}], then attempted to reload \
                 {source}",
                self.visited.join(", ")
            ));
        }
        match self.plan(source)? {
            Plan::Keys => self.base_keys(source, of_source),
            Plan::Hop(link) => Ok(SourceIdentity::Unnamed(vec![*link])),
        }
    }

    fn base_keys(&mut self, name: &str, section: &Section) -> Result<SourceIdentity, Unclear> {
        Ok(match &self.mfa_serial {
            // Keys of a session need no code any more.
            Some(serial) if is_long_lived(section) => {
                let session = self.reader.session(name, section, Some(serial))?;
                SourceIdentity::Unnamed(vec![session])
            }
            _ => self.reader.keys(name),
        })
    }

    fn credential_source(
        &mut self,
        name: &str,
        section: &Section,
    ) -> Result<SourceIdentity, Unclear> {
        let source = text(section, "credential_source").unwrap_or_default();
        self.refuse_mfa(name, "credential_source")?;
        // Compared without case, as the Rust SDK does; botocore wants this very spelling.
        let link = match source.to_ascii_lowercase().as_str() {
            "environment" => Link::Environment,
            "ecscontainer" => Link::Container(container::Config::default()),
            "ec2instancemetadata" => Link::InstanceMetadata(imds::Config::default()),
            _ => {
                return unclear(format!(
                    "profile referenced `{}` provider but that provider is not supported: \
                     `credential_source` of profile `{name}` is Environment, EcsContainer or \
                     Ec2InstanceMetadata",
                    printable(source)
                ));
            }
        };
        Ok(SourceIdentity::Unnamed(vec![link]))
    }

    fn process(&self, name: &str, section: &Section) -> Result<Link, Unclear> {
        self.refuse_mfa(name, "credential_process")?;
        if !self.reader.may_run_programs {
            return unclear(format!(
                "profile `{name}` has a `credential_process`, and credd runs programs of profiles \
                 only where its config says so: add `run-programs = true` to this identity"
            ));
        }
        let line = text(section, "credential_process").unwrap_or_default();
        Ok(Link::Process(process::Config {
            command: Command::Shell(line.to_owned()),
        }))
    }

    fn require_mfa(&mut self, serial: &str) -> Result<(), Unclear> {
        // It is shown to people and asked for on terminals.
        if !serial.bytes().all(|byte| byte.is_ascii_graphic()) {
            return unclear(format!(
                "the `mfa_serial` `{}` is not that of a device, as in \
                 arn:aws:iam::123456789012:mfa/ops",
                printable(serial)
            ));
        }
        match &self.mfa_serial {
            Some(other) if other != serial => unclear(format!(
                "the profiles {} name two MFA devices, and keys make a session with the code of \
                 one; leave one `mfa_serial`",
                self.visited.join(", ")
            )),
            _ => {
                self.mfa_serial = Some(serial.to_owned());
                Ok(())
            }
        }
    }

    fn refuse_mfa(&self, name: &str, key: &str) -> Result<(), Unclear> {
        if self.mfa_serial.is_none() {
            return Ok(());
        }
        unclear(format!(
            "`mfa_serial` needs a user's keys at the end of the chain, and profile `{name}` has \
             `{key}` there; remove one of them"
        ))
    }
}

fn hop(link: Link) -> Plan {
    Plan::Hop(Box::new(link))
}

/// The one way that the profile shows; two are an error that names both keys, since the SDKs
/// disagree on which of them counts.
fn way(name: &str, section: &Section) -> Result<Way, Unclear> {
    let mut shown = WAYS
        .iter()
        .filter(|(key, _)| text(section, key).is_some())
        .copied();
    let Some((first_key, first)) = shown.next() else {
        return if role_arn(name, section)?.is_some() {
            unclear(format!(
                "profile `{name}` has a `role_arn`: a profile must contain `source_profile` or \
                 `credential_source` but neither were defined"
            ))
        } else {
            Ok(Way::Keys)
        };
    };
    let has_role_from_elsewhere = matches!(first, Way::SourceProfile | Way::CredentialSource);
    for (key, way) in shown {
        // The keys of a profile with a role are for profiles that have it as their source.
        if way == first || (way == Way::Keys && has_role_from_elsewhere) {
            continue;
        }
        let exclusive = if (first, way) == (Way::SourceProfile, Way::CredentialSource) {
            "profile contained both source_profile and credential_source, but these fields are \
             mutually exclusive: "
        } else {
            ""
        };
        return unclear(format!(
            "{exclusive}profile `{name}` has both `{first_key}` and `{key}`, which are two sources \
             of credentials; remove one of them"
        ));
    }
    if first == Way::Keys && role_arn(name, section)?.is_some() {
        return unclear(format!(
            "profile `{name}` has keys and a `role_arn`: a profile must contain `source_profile` \
             or `credential_source` but neither were defined (`source_profile = {name}` uses its \
             own keys)"
        ));
    }
    Ok(first)
}

fn web_identity(name: &str, section: &Section, settings: Settings) -> Result<Link, Unclear> {
    let Some(role_arn) = role_arn(name, section)? else {
        return unclear(format!(
            "profile `{name}`: `web_identity_token_file` was specified but `role_arn` was missing"
        ));
    };
    let file = text(section, "web_identity_token_file").unwrap_or_default();
    Ok(Link::WebIdentity(web_identity::Config::Given(
        web_identity::Given {
            role_arn,
            token_file: file.into(),
            lifetime: duration(name, section)?,
            session_name: session_name(name, section)?,
            settings,
        },
    )))
}

fn role_arn(name: &str, section: &Section) -> Result<Option<Arn>, Unclear> {
    let Some(arn) = text(section, "role_arn") else {
        return Ok(None);
    };
    match Arn::parse(arn) {
        Ok(arn) if arn.is_role() => Ok(Some(arn)),
        _ => unclear(format!(
            "`role_arn` of profile `{name}` is not the ARN of a role, as in \
             arn:aws:iam::123456789012:role/billing"
        )),
    }
}

fn duration(name: &str, section: &Section) -> Result<Option<Duration>, Unclear> {
    let Some(seconds) = text(section, "duration_seconds") else {
        return Ok(None);
    };
    match seconds.parse::<u64>() {
        Ok(seconds) if ROLE_LIFETIME.contains(&Duration::from_secs(seconds)) => {
            Ok(Some(Duration::from_secs(seconds)))
        }
        _ => unclear(format!(
            "`duration_seconds` of profile `{name}` is not a number of seconds from 900 to 43200"
        )),
    }
}

fn session_name(name: &str, section: &Section) -> Result<Option<SessionName>, Unclear> {
    let Some(text) = text(section, "role_session_name") else {
        return Ok(None);
    };
    SessionName::literal(text)
        .map(Some)
        .map_err(|error| Unclear(format!("`role_session_name` of profile `{name}`: {error}")))
}

/// A value as a message shows it: short, and nothing that could move a cursor.
fn printable(value: &str) -> String {
    let shown = value.chars().take(100);
    shown
        .map(|it| if it.is_control() { ' ' } else { it })
        .collect()
}

fn is_long_lived(section: &Section) -> bool {
    has_keys(section) && text(section, "aws_session_token").is_none()
}

fn has_keys(section: &Section) -> bool {
    ["aws_access_key_id", "aws_secret_access_key"]
        .iter()
        .any(|key| text(section, key).is_some())
}

fn text<'a>(section: &'a Section, key: &str) -> Option<&'a str> {
    section.property(key).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests;
