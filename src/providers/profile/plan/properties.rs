//! What the properties of one profile say, and what is wrong with them.

use std::fmt;
use std::time::Duration;

use crate::aws::arn::Arn;
use crate::aws::profile_file::Section;
use crate::aws::sts::limit::ROLE_LIFETIME;
use crate::printable;
use crate::providers::session_name::SessionName;

/// Why a profile means nothing. The wording is that of the SDKs, which users search for.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Unclear(pub(in super::super) String);

impl fmt::Display for Unclear {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

pub(super) fn unclear<T>(problem: impl Into<String>) -> Result<T, Unclear> {
    Err(Unclear(problem.into()))
}

/// The ways in which one profile can name its credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
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

/// The one way that the profile shows; two are an error that names both keys, since the SDKs
/// disagree on which of them counts.
pub(super) fn way(name: &str, section: &Section) -> Result<Way, Unclear> {
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

pub(super) fn role_arn(name: &str, section: &Section) -> Result<Option<Arn>, Unclear> {
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

pub(super) fn duration(name: &str, section: &Section) -> Result<Option<Duration>, Unclear> {
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

pub(super) fn session_name(name: &str, section: &Section) -> Result<Option<SessionName>, Unclear> {
    let Some(text) = text(section, "role_session_name") else {
        return Ok(None);
    };
    SessionName::literal(text)
        .map(Some)
        .map_err(|error| Unclear(format!("`role_session_name` of profile `{name}`: {error}")))
}

/// A value as a message shows it.
pub(super) fn printable(value: &str) -> String {
    printable::line(value, 100)
}

pub(super) fn is_long_lived(section: &Section) -> bool {
    has_keys(section) && text(section, "aws_session_token").is_none()
}

pub(super) fn has_keys(section: &Section) -> bool {
    ["aws_access_key_id", "aws_secret_access_key"]
        .iter()
        .any(|key| text(section, key).is_some())
}

pub(super) fn text<'a>(section: &'a Section, key: &str) -> Option<&'a str> {
    section.property(key).filter(|value| !value.is_empty())
}
