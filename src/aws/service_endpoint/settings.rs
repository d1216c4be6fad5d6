//! What environment and profile say about endpoints.
//!
//! AWS SDKs and Tools Reference Guide: "AWS Region", "FIPS endpoints", "Dual-stack endpoints",
//! "AWS STS Regionalized endpoints", "Service-specific endpoints".

use std::fmt;
use std::path::PathBuf;

use super::Service;
use crate::aws::profile_file::{Profiles, Section};
use crate::aws::region::Region;
use crate::environment::Environment;

/// Which endpoint of a service is wanted. The default is the standard one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct EndpointSettings {
    pub region: Option<Region>,
    /// Instead of AWS's own.
    pub endpoint_url: Option<String>,
    pub use_fips: bool,
    pub use_dual_stack: bool,
    /// `sts_regional_endpoints = legacy`.
    pub is_legacy_global: bool,
    /// Certificates to trust instead of the host's.
    pub ca_bundle: Option<PathBuf>,
}

/// A setting that makes no sense. Its value is not shown: it may be anything that was put in the
/// wrong place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSetting {
    /// `AWS_REGION`, or `region` of a profile.
    name: &'static str,
    is_variable: bool,
    /// What it must be.
    remedy: &'static str,
}

impl fmt::Display for InvalidSetting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_variable {
            "the environment variable"
        } else {
            "the profile's"
        };
        let Self { name, remedy, .. } = self;
        write!(formatter, "{kind} `{name}` {remedy}")
    }
}

impl std::error::Error for InvalidSetting {}

impl EndpointSettings {
    /// The environment outranks the profile, setting by setting. `profiles` are all profiles and
    /// the one that is meant.
    pub fn of(
        service: Service,
        environment: &Environment,
        profiles: Option<(&Profiles, &Section)>,
    ) -> Result<Self, InvalidSetting> {
        let sources = Sources {
            environment,
            profiles,
        };
        let region = sources.setting(&["AWS_REGION", "AWS_DEFAULT_REGION"], "region");
        let region = region.map(|setting| {
            Region::parse(setting.value).map_err(|_| {
                setting.invalid(
                    "is no region: write at most 63 lower-case letters, digits and `-`, as in \
                     `eu-west-1`",
                )
            })
        });
        let is_set = |variable, key| match sources.setting(&[variable], key) {
            Some(setting) => setting.switch("true", "false", "says neither `true` nor `false`"),
            None => Ok(false),
        };
        let legacy = sources.setting(&["AWS_STS_REGIONAL_ENDPOINTS"], "sts_regional_endpoints");
        let legacy = legacy.map(|setting| {
            setting.switch("legacy", "regional", "says neither `regional` nor `legacy`")
        });
        let ignores_urls = is_set(
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
            "ignore_configured_endpoint_urls",
        )?;
        Ok(Self {
            region: region.transpose()?,
            endpoint_url: if ignores_urls {
                None
            } else {
                sources.endpoint_url(service)?
            },
            use_fips: is_set("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint")?,
            use_dual_stack: is_set("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint")?,
            is_legacy_global: legacy.transpose()?.unwrap_or(false),
            ca_bundle: sources
                .setting(&["AWS_CA_BUNDLE"], "ca_bundle")
                .map(|setting| PathBuf::from(setting.value)),
        })
    }
}

#[derive(Clone, Copy)]
struct Sources<'a> {
    environment: &'a Environment,
    profiles: Option<(&'a Profiles, &'a Section)>,
}

struct Setting<'a> {
    name: &'static str,
    is_variable: bool,
    value: &'a str,
}

impl Setting<'_> {
    fn invalid(&self, remedy: &'static str) -> InvalidSetting {
        InvalidSetting {
            name: self.name,
            is_variable: self.is_variable,
            remedy,
        }
    }

    fn switch(&self, on: &str, off: &str, remedy: &'static str) -> Result<bool, InvalidSetting> {
        let says = |word: &str| self.value.eq_ignore_ascii_case(word);
        match (says(on), says(off)) {
            (false, false) => Err(self.invalid(remedy)),
            (is_on, _) => Ok(is_on),
        }
    }
}

impl<'a> Sources<'a> {
    /// The first of `variables` that is set, else the profile's `key`.
    fn setting(&self, variables: &[&'static str], key: &'static str) -> Option<Setting<'a>> {
        let variable = variables.iter().find_map(|&name| {
            Some(Setting {
                name,
                is_variable: true,
                value: self.environment.variable(name)?.trim(),
            })
        });
        variable.or_else(|| {
            Some(Setting {
                name: key,
                is_variable: false,
                value: filled(self.profiles?.1.property(key))?,
            })
        })
    }

    /// The variable of the service, the variable of all services, the same two of the profile.
    fn endpoint_url(&self, service: Service) -> Result<Option<String>, InvalidSetting> {
        const ALL: &str = "AWS_ENDPOINT_URL";
        let of_service = format!("{ALL}_{}", service.id().to_ascii_uppercase());
        let in_environment = [of_service.as_str(), ALL]
            .into_iter()
            .find_map(|name| self.environment.variable(name));
        let url = match in_environment {
            Some(url) => Some(url.trim()),
            None => self.profile_endpoint_url(service)?,
        };
        Ok(url.map(str::to_owned))
    }

    fn profile_endpoint_url(&self, service: Service) -> Result<Option<&'a str>, InvalidSetting> {
        let Some((profiles, profile)) = self.profiles else {
            return Ok(None);
        };
        let services = match filled(profile.property("services")) {
            Some(name) => Some(profiles.services(name).ok_or(InvalidSetting {
                name: "services",
                is_variable: false,
                remedy: "names a `[services …]` section that is not there",
            })?),
            None => None,
        };
        let of_service =
            services.and_then(|section| filled(section.sub_property(service.id(), "endpoint_url")));
        Ok(of_service.or_else(|| filled(profile.property("endpoint_url"))))
    }
}

fn filled(value: Option<&str>) -> Option<&str> {
    value.map(str::trim).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::aws::profile_file::{FileKind, parse};

    fn settings(
        variables: &[(&str, &str)],
        profile: &str,
    ) -> Result<EndpointSettings, InvalidSetting> {
        let environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let profiles = parse(FileKind::Config, Path::new("config"), profile).unwrap();
        let section = profiles.profile("a").map(|section| (&profiles, section));
        EndpointSettings::of(Service::Sts, &environment, section)
    }

    const PROFILE: &str = "[profile a]\nregion = eu-west-1\nservices = s\n\
        endpoint_url = http://profile\nuse_fips_endpoint = true\nuse_dualstack_endpoint = TRUE\n\
        sts_regional_endpoints = legacy\nca_bundle = /profile.pem\n\
        [services s]\nsts =\n  endpoint_url = http://section\ns3 =\n  endpoint_url = http://s3\n";

    #[test]
    fn a_profile_says_all() {
        let expected = EndpointSettings {
            region: Region::parse("eu-west-1").ok(),
            endpoint_url: Some("http://section".to_owned()),
            use_fips: true,
            use_dual_stack: true,
            is_legacy_global: true,
            ca_bundle: Some("/profile.pem".into()),
        };
        assert_eq!(settings(&[], PROFILE), Ok(expected));
        assert_eq!(settings(&[], ""), Ok(EndpointSettings::default()));
    }

    #[test]
    fn the_environment_outranks_the_profile() {
        let variables = [
            ("AWS_REGION", "us-west-2"),
            ("AWS_USE_FIPS_ENDPOINT", "false"),
            ("AWS_USE_DUALSTACK_ENDPOINT", "False"),
            ("AWS_STS_REGIONAL_ENDPOINTS", "regional"),
            ("AWS_CA_BUNDLE", "/variable.pem"),
            ("AWS_ENDPOINT_URL", "http://variable"),
        ];
        let expected = EndpointSettings {
            region: Region::parse("us-west-2").ok(),
            endpoint_url: Some("http://variable".to_owned()),
            ca_bundle: Some("/variable.pem".into()),
            ..EndpointSettings::default()
        };
        assert_eq!(settings(&variables, PROFILE), Ok(expected));
    }

    #[test]
    fn both_variables_of_the_region_outrank_the_profile() {
        let region = |variables: &[(&str, &str)]| settings(variables, PROFILE).unwrap().region;
        let (first, second) = (
            ("AWS_REGION", "us-west-1"),
            ("AWS_DEFAULT_REGION", "us-west-2"),
        );
        assert_eq!(region(&[first, second]), Region::parse("us-west-1").ok());
        assert_eq!(region(&[second]), Region::parse("us-west-2").ok());
        assert_eq!(
            region(&[("AWS_REGION", " ")]),
            Region::parse("eu-west-1").ok()
        );
    }

    #[test]
    fn the_nearest_endpoint_url_counts_unless_all_are_ignored() {
        let url = |variables: &[(&str, &str)], profile: &str| {
            settings(variables, profile).unwrap().endpoint_url
        };
        let (own, all) = (
            ("AWS_ENDPOINT_URL_STS", "http://own"),
            ("AWS_ENDPOINT_URL", "http://all"),
        );
        assert_eq!(url(&[own, all], PROFILE).as_deref(), Some("http://own"));
        assert_eq!(url(&[all], PROFILE).as_deref(), Some("http://all"));
        let bare = "[profile a]\nendpoint_url = http://profile\n";
        assert_eq!(url(&[], bare).as_deref(), Some("http://profile"));
        let ignoring = ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
        assert_eq!(url(&[own, all, ignoring], PROFILE), None);
        let ignoring = format!("{bare}ignore_configured_endpoint_urls = true\n");
        assert_eq!(url(&[own], &ignoring), None);
        let heeding = ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "false");
        assert_eq!(
            url(&[own, heeding], &ignoring).as_deref(),
            Some("http://own")
        );
    }

    #[test]
    fn what_makes_no_sense_is_named_and_not_shown() {
        for (variable, property) in [
            ("AWS_REGION", "region = CAN_ARY"),
            ("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint = CAN_ARY"),
            (
                "AWS_USE_DUALSTACK_ENDPOINT",
                "use_dualstack_endpoint = CAN_ARY",
            ),
            (
                "AWS_STS_REGIONAL_ENDPOINTS",
                "sts_regional_endpoints = CAN_ARY",
            ),
            (
                "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
                "ignore_configured_endpoint_urls = CAN_ARY",
            ),
        ] {
            let by_variable = settings(&[(variable, "CAN_ARY")], "")
                .unwrap_err()
                .to_string();
            assert!(by_variable.contains(variable), "{by_variable}");
            let profile = format!("[profile a]\n{property}\n");
            let by_profile = settings(&[], &profile).unwrap_err().to_string();
            let key = property.split(' ').next().unwrap();
            assert!(by_profile.contains(&format!("`{key}`")), "{by_profile}");
            assert!(!format!("{by_variable}{by_profile}").contains("CAN_ARY"));
        }
        let problem = settings(&[], "[profile a]\nservices = s\n").unwrap_err();
        assert!(
            problem.to_string().contains("`services` names a"),
            "{problem}"
        );
    }
}
