//! Where an AWS service is asked: one function and the table of partitions.
//!
//! The rules are those of the endpoint rule sets that botocore and smithy-rs ship.

mod settings;

use std::fmt;

use hyper::Uri;
use hyper::http::uri::Scheme;

pub use settings::{EndpointSettings, InvalidSetting};

use super::arn::Arn;
use super::region::{Partition, Region};
use super::sigv4::Scope;

/// A service that credd asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Sts,
}

impl Service {
    /// The name that signatures and `services` sections know, and, in upper case, the end of
    /// `AWS_ENDPOINT_URL_…`.
    pub fn id(self) -> &'static str {
        self.rules().id
    }

    fn rules(self) -> &'static Rules {
        match self {
            Self::Sts => &Rules {
                id: "sts",
                host: "sts",
                is_fips_in_gov_cloud: true,
                global_host: Some("sts.amazonaws.com"),
                legacy_regions: &LEGACY_STS_REGIONS,
            },
        }
    }
}

struct Rules {
    id: &'static str,
    /// What hosts are called before the region.
    host: &'static str,
    /// Whether the plain hosts of `GovCloud` are the FIPS ones.
    is_fips_in_gov_cloud: bool,
    /// The one host for the world, which is signed for `us-east-1`.
    global_host: Option<&'static str>,
    /// The regions that meant it before they had hosts of their own.
    legacy_regions: &'static [&'static str],
}

/// `sts_regional_endpoints = legacy` brings them back.
const LEGACY_STS_REGIONS: [&str; 15] = [
    "ap-northeast-1",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

/// Of the world as a whole, in the standard partition.
const GLOBAL: &str = "aws-global";

/// Where to ask, and for where to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEndpoint {
    pub service: Service,
    /// With a scheme and a host.
    pub url: Uri,
    pub signing_region: Region,
}

impl ServiceEndpoint {
    pub fn scope(&self) -> Scope<'_> {
        Scope {
            region: &self.signing_region,
            service: self.service.id(),
        }
    }
}

impl fmt::Display for ServiceEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.url)
    }
}

/// Why there is no endpoint. The first three are in the words of the SDKs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointProblem {
    FipsWithCustomEndpoint,
    DualStackWithCustomEndpoint,
    MissingRegion,
    /// The text is not shown: it may hold a password.
    InvalidUrl,
}

impl fmt::Display for EndpointProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::FipsWithCustomEndpoint => {
                "Invalid Configuration: FIPS and custom endpoint are not supported"
            }
            Self::DualStackWithCustomEndpoint => {
                "Invalid Configuration: Dualstack and custom endpoint are not supported"
            }
            Self::MissingRegion => "Invalid Configuration: Missing Region",
            Self::InvalidUrl => {
                "the custom endpoint is no URL of a service: write `http` or `https`, a host and, \
                 if need be, a port and a path, as in `https://sts.example.com`"
            }
        })
    }
}

impl std::error::Error for EndpointProblem {}

/// The endpoint of `service` for `region`, as `settings` want it. The region of `settings` plays
/// no part: [`EndpointSettings::region_for`] gives one where nobody says.
pub fn endpoint(
    service: Service,
    region: Option<&Region>,
    settings: &EndpointSettings,
) -> Result<ServiceEndpoint, EndpointProblem> {
    if let Some(url) = &settings.endpoint_url {
        return match (settings.use_fips, settings.use_dual_stack) {
            (true, _) => Err(EndpointProblem::FipsWithCustomEndpoint),
            (_, true) => Err(EndpointProblem::DualStackWithCustomEndpoint),
            _ => Ok(ServiceEndpoint {
                service,
                url: custom(url).ok_or(EndpointProblem::InvalidUrl)?,
                signing_region: region.map_or(Region::US_EAST_1, signing_region),
            }),
        };
    }
    let region = region.ok_or(EndpointProblem::MissingRegion)?;
    let rules = service.rules();
    let is_special = settings.use_fips || settings.use_dual_stack;
    let global_host = rules.global_host.filter(|_| {
        let is_legacy = rules.legacy_regions.contains(&region.as_str());
        !is_special && (region.as_str() == GLOBAL || settings.is_legacy_global && is_legacy)
    });
    let (host, signing_region) = match global_host {
        Some(host) => (host.to_owned(), Region::US_EAST_1),
        None => (
            regional_host(rules, region, settings),
            signing_region(region),
        ),
    };
    Ok(ServiceEndpoint {
        service,
        // A region is a label, so this is a host; a partition's suffix is one already.
        url: format!("https://{host}")
            .parse()
            .map_err(|_| EndpointProblem::InvalidUrl)?,
        signing_region,
    })
}

fn regional_host(rules: &Rules, region: &Region, settings: &EndpointSettings) -> String {
    let partition = region.partition();
    let suffix = if settings.use_dual_stack {
        partition.dual_stack_dns_suffix
    } else {
        partition.dns_suffix
    };
    let is_plain_fips =
        rules.is_fips_in_gov_cloud && partition.id == "aws-us-gov" && !settings.use_dual_stack;
    let fips = if settings.use_fips && !is_plain_fips {
        "-fips"
    } else {
        ""
    };
    format!("{}{fips}.{region}.{suffix}", rules.host)
}

/// No signature counts for the world as a whole.
fn signing_region(region: &Region) -> Region {
    if region.as_str() == GLOBAL {
        Region::US_EAST_1
    } else {
        region.clone()
    }
}

fn custom(url: &str) -> Option<Uri> {
    let url: Uri = url.parse().ok()?;
    let is_http = [Scheme::HTTP, Scheme::HTTPS].contains(url.scheme()?);
    let authority = url.authority()?;
    let is_bare = !authority.as_str().contains('@') && url.query().is_none();
    (is_http && is_bare && !authority.host().is_empty()).then_some(url)
}

impl EndpointSettings {
    /// The region that is set. If none is, the usual one of the partition that the role is in: its
    /// STS alone knows the role.
    pub fn region_for(&self, role: Option<&Arn>) -> Region {
        let of_role = || Partition::named(role?.partition());
        self.region.clone().unwrap_or_else(|| {
            of_role().map_or(Region::US_EAST_1, |partition| {
                partition.usual_region.clone()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_url(url: &str) -> EndpointSettings {
        EndpointSettings {
            endpoint_url: Some(url.to_owned()),
            ..EndpointSettings::default()
        }
    }

    #[test]
    fn a_custom_endpoint_is_a_plain_url() {
        for url in [
            "http://127.0.0.1:4566",
            "https://[::1]/",
            "https://a.example/sts",
        ] {
            let found = endpoint(Service::Sts, None, &with_url(url)).unwrap();
            assert_eq!(found.url, url.parse::<Uri>().unwrap());
            assert_eq!(found.signing_region, Region::US_EAST_1);
        }
        for url in [
            "",
            "/sts",
            "sts.example.com",
            "ftp://a.example",
            "https://user:CANARY@a.example",
            "https://a.example?CANARY=1",
            "https://a b",
        ] {
            let problem = endpoint(Service::Sts, None, &with_url(url)).expect_err(url);
            assert_eq!(problem, EndpointProblem::InvalidUrl);
        }
    }

    #[test]
    fn nothing_is_signed_for_the_world_as_a_whole() {
        let global = Region::parse("aws-global").unwrap();
        for settings in [EndpointSettings::default(), with_url("http://127.0.0.1:1")] {
            let found = endpoint(Service::Sts, Some(&global), &settings).unwrap();
            assert_eq!(found.scope().region, &Region::US_EAST_1);
            assert_eq!(found.scope().service, "sts");
        }
    }

    #[test]
    fn without_a_region_the_role_says_where_to_ask() {
        let role = |partition: &str| {
            Arn::parse(&format!("arn:{partition}:iam::123456789012:role/a")).unwrap()
        };
        let unset = EndpointSettings::default();
        for (partition, region) in [
            ("aws", "us-east-1"),
            ("aws-cn", "cn-north-1"),
            ("aws-us-gov", "us-gov-west-1"),
            ("aws-mars", "us-east-1"),
        ] {
            assert_eq!(unset.region_for(Some(&role(partition))).as_str(), region);
        }
        assert_eq!(unset.region_for(None), Region::US_EAST_1);
        let set = EndpointSettings {
            region: Region::parse("eu-west-1").ok(),
            ..EndpointSettings::default()
        };
        assert_eq!(set.region_for(Some(&role("aws-cn"))).as_str(), "eu-west-1");
    }
}
