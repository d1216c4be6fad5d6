//! What a profile means: keys of its own, or a chain of hops as data, which is run afterwards.

mod properties;

use super::ProfileKeys;
use crate::aws::arn::Arn;
use crate::aws::profile_file::{Locations, Profiles, Section};
use crate::aws::region::Region;
use crate::aws::service_endpoint::{EndpointSettings, Service};
use crate::environment::Environment;
use crate::program::Command;
use crate::providers::chain::Link;
use crate::providers::session_token::{self, CodeSource, Mfa};
use crate::providers::source::SourceIdentity;
use crate::providers::sts::Settings;
use crate::providers::{assume_role, container, imds, process, web_identity};
use properties::{
    Way, duration, has_keys, is_long_lived, printable, role_arn, session_name, text, unclear, way,
};

pub(super) use properties::Unclear;

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

#[cfg(test)]
mod tests;
