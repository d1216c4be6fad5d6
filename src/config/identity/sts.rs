//! What all providers that ask STS are told: which role, under which name, for how long, where.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use hyper::Uri;

use super::reader::Reader;
use super::uri;
use crate::aws::arn::Arn;
use crate::aws::region::Region;
use crate::config::duration;
use crate::identity::IdentityName;
use crate::providers::session_name::SessionName;
use crate::providers::source::SourceIdentity;
use crate::providers::sts::Settings;

/// `from`: the identity whose credentials STS is asked with.
pub(super) fn from(reader: &mut Reader<'_, '_>) -> Option<SourceIdentity> {
    reader.require("from", "\"IDENTITY\"");
    let text = reader.string("from", "ops")?;
    let hint = "name another identity of this file";
    let name = reader.parsed(&text, hint, IdentityName::parse)?;
    reader.from = Some(text);
    Some(SourceIdentity::Named(name))
}

pub(super) const ROLE_ARN: &str = "arn:aws:iam::123456789012:role/billing";

/// `role-arn`, if it is there.
pub(super) fn role_arn(reader: &mut Reader<'_, '_>) -> Option<Arn> {
    let text = reader.string("role-arn", ROLE_ARN)?;
    let hint = "IAM shows it with the role: `aws iam get-role --role-name NAME`";
    let arn = reader.parsed(&text, hint, Arn::parse)?;
    if arn.is_role() {
        return Some(arn);
    }
    let is_session = arn.service() == "sts" && arn.resource().starts_with("assumed-role/");
    let message = if is_session {
        "this is the ARN of a role's session, and a role is needed"
    } else {
        "this is not the ARN of a role"
    };
    reader.findings.refuse(&text, message).hint(hint);
    None
}

/// `session-name`: a text, or one with places to be filled.
pub(super) fn session_name(reader: &mut Reader<'_, '_>) -> Option<SessionName> {
    let text = reader.string("session-name", "{identity}@{host}")?;
    let hint = "as in `{identity}@{host}`";
    reader.parsed(&text, hint, SessionName::template)
}

/// What AWS takes as a lifetime, and how that is said.
pub(super) struct Lifetime {
    pub(super) bounds: RangeInclusive<Duration>,
    pub(super) problem: &'static str,
    pub(super) hint: &'static str,
}

/// `lifetime`: how long a session is asked to live.
pub(super) fn lifetime(reader: &mut Reader<'_, '_>, lifetime: &Lifetime) -> Option<Duration> {
    let text = reader.string("lifetime", "1h")?;
    let hint = if text.value.bytes().all(|byte| byte.is_ascii_digit()) {
        "a number needs a unit, as in `3600s` or `1h`"
    } else {
        duration::HINT
    };
    let asked = reader.parsed(&text, hint, duration::parse)?;
    if !lifetime.bounds.contains(&asked) {
        reader
            .findings
            .refuse(&text, lifetime.problem)
            .hint(lifetime.hint);
        return None;
    }
    reader.lifetime = Some(text);
    Some(asked)
}

/// `region` and `endpoint`: which STS is asked, where that is not the one of the environment.
pub(super) fn settings(reader: &mut Reader<'_, '_>) -> Settings {
    Settings::Environment {
        region: region(reader),
        endpoint_url: endpoint(reader),
    }
}

fn region(reader: &mut Reader<'_, '_>) -> Option<Region> {
    let text = reader.string("region", "eu-west-1")?;
    reader.parsed(
        &text,
        "it is a name, not a place or an endpoint",
        Region::parse,
    )
}

fn endpoint(reader: &mut Reader<'_, '_>) -> Option<String> {
    let (text, uri) = uri::endpoint(reader, "endpoint")?;
    if uri.scheme_str() == Some("http") && !is_local(&uri) {
        reader
            .findings
            .refuse(
                &text,
                "STS is asked over https, but for a stand-in on this host",
            )
            .hint("start it with `https://`");
        return None;
    }
    Some(text.value.to_owned())
}

fn is_local(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let inner = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || inner
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
