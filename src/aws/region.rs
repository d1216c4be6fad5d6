//! Regions, and the partitions that they belong to.

use std::borrow::Cow;
use std::fmt;

/// The name of a region, such as `eu-west-1` or `aws-global`: one label of a host name, in lower
/// case.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Region(Cow<'static, str>);

/// The text is not shown: it may be anything that was put in the wrong place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidRegion;

impl Region {
    pub const US_EAST_1: Self = Self::known("us-east-1");

    const fn known(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// RFC 1123 label, in the lower case that AWS writes and that signatures need.
    pub fn parse(text: &str) -> Result<Self, InvalidRegion> {
        let is_label = (1..=63).contains(&text.len())
            && !text.starts_with('-')
            && !text.ends_with('-')
            && text
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        is_label
            .then(|| Self(Cow::Owned(text.to_owned())))
            .ok_or(InvalidRegion)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The partition that the name shows; `aws` if it shows none, as in all SDKs.
    pub fn partition(&self) -> &'static Partition {
        let [commercial, ..] = &PARTITIONS;
        PARTITIONS
            .iter()
            .find(|partition| partition.has(self.as_str()))
            .unwrap_or(commercial)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Display for InvalidRegion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(
            "no region: write at most 63 lower-case letters, digits and `-`, as in `eu-west-1`",
        )
    }
}

impl std::error::Error for InvalidRegion {}

/// A part of AWS with accounts and names of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Partition {
    /// As ARNs write it.
    pub id: &'static str,
    pub dns_suffix: &'static str,
    /// For hosts with both IPv4 and IPv6 addresses.
    pub dual_stack_dns_suffix: &'static str,
    /// Where to ask if nobody says.
    pub usual_region: Region,
    /// How its regions begin; a word and a number follow.
    prefixes: &'static [&'static str],
}

impl Partition {
    /// The partition that ARNs call `id`.
    pub fn named(id: &str) -> Option<&'static Self> {
        PARTITIONS.iter().find(|partition| partition.id == id)
    }

    fn has(&self, region: &str) -> bool {
        region.strip_suffix("-global") == Some(self.id)
            || self
                .prefixes
                .iter()
                .filter_map(|prefix| region.strip_prefix(prefix)?.split_once('-'))
                .any(|(word, number)| {
                    !word.is_empty()
                        && !number.is_empty()
                        && number.bytes().all(|byte| byte.is_ascii_digit())
                })
    }
}

/// `partitions.json` 1.1, as botocore and smithy-rs ship it. FIPS and dual stack are to be had in
/// all of them.
static PARTITIONS: [Partition; 8] = [
    Partition {
        id: "aws",
        dns_suffix: "amazonaws.com",
        dual_stack_dns_suffix: "api.aws",
        usual_region: Region::US_EAST_1,
        prefixes: &[
            "us-", "eu-", "ap-", "sa-", "ca-", "me-", "af-", "il-", "mx-",
        ],
    },
    Partition {
        id: "aws-cn",
        dns_suffix: "amazonaws.com.cn",
        dual_stack_dns_suffix: "api.amazonwebservices.com.cn",
        usual_region: Region::known("cn-north-1"),
        prefixes: &["cn-"],
    },
    Partition {
        id: "aws-eusc",
        dns_suffix: "amazonaws.eu",
        dual_stack_dns_suffix: "api.amazonwebservices.eu",
        usual_region: Region::known("eusc-de-east-1"),
        prefixes: &["eusc-de-"],
    },
    Partition {
        id: "aws-iso",
        dns_suffix: "c2s.ic.gov",
        dual_stack_dns_suffix: "api.aws.ic.gov",
        usual_region: Region::known("us-iso-east-1"),
        prefixes: &["us-iso-"],
    },
    Partition {
        id: "aws-iso-b",
        dns_suffix: "sc2s.sgov.gov",
        dual_stack_dns_suffix: "api.aws.scloud",
        usual_region: Region::known("us-isob-east-1"),
        prefixes: &["us-isob-"],
    },
    Partition {
        id: "aws-iso-e",
        dns_suffix: "cloud.adc-e.uk",
        dual_stack_dns_suffix: "api.cloud-aws.adc-e.uk",
        usual_region: Region::known("eu-isoe-west-1"),
        prefixes: &["eu-isoe-"],
    },
    Partition {
        id: "aws-iso-f",
        dns_suffix: "csp.hci.ic.gov",
        dual_stack_dns_suffix: "api.aws.hci.ic.gov",
        usual_region: Region::known("us-isof-south-1"),
        prefixes: &["us-isof-"],
    },
    Partition {
        id: "aws-us-gov",
        dns_suffix: "amazonaws.com",
        dual_stack_dns_suffix: "api.aws",
        usual_region: Region::known("us-gov-west-1"),
        prefixes: &["us-gov-"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_region_shows_its_partition() {
        for (region, partition) in [
            ("us-east-1", "aws"),
            ("ap-southeast-12", "aws"),
            ("us-gov-east-1", "aws-us-gov"),
            ("cn-northwest-1", "aws-cn"),
            ("eusc-de-east-1", "aws-eusc"),
            ("us-iso-west-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("aws-iso-global", "aws-iso"),
            ("aws-global", "aws"),
            ("mars-north-1", "aws"),
        ] {
            assert_eq!(Region::parse(region).unwrap().partition().id, partition);
        }
        for partition in &PARTITIONS {
            assert_eq!(partition.usual_region.partition(), partition);
            assert_eq!(Partition::named(partition.id), Some(partition));
        }
        assert_eq!(Partition::named("aws-mars"), None);
    }

    #[test]
    fn what_could_lead_a_host_name_astray_is_no_region() {
        let long = "a".repeat(64);
        for text in [
            "",
            "-",
            "a-",
            "US-EAST-1",
            "a.b",
            "a/b",
            "a@b",
            "é",
            "a b",
            &long,
        ] {
            assert_eq!(Region::parse(text), Err(InvalidRegion), "{text}");
        }
        assert!(Region::parse(&long[1..]).is_ok());
    }

    proptest! {
        #[test]
        fn every_region_has_a_partition(text in "[a-z0-9-]{1,20}") {
            if let Ok(region) = Region::parse(&text) {
                let _ = region.partition();
                prop_assert_eq!(region.as_str(), text);
            }
        }
    }
}
