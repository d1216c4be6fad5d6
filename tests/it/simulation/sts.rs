//! The STS of the scripted AWS: it looks at who signs and when, and its weather is its own.

use bytes::Bytes;
use credd::clock::Timestamp;
use credd::http::Response;
use hyper::{HeaderMap, Request};

use super::weather::Fault;
use super::world::{Source, World, response};
use crate::support::chance::Chance;
use crate::support::fake_aws::http_date;

/// The user whom `keyed` trusts.
pub(super) const KEY: &str = "AKIASIMULATED00001";

/// Whose set is asked for, if STS is asked.
pub(super) fn meant(request: &Request<Bytes>) -> Option<Source> {
    let body = std::str::from_utf8(request.body()).ok()?;
    let is_for = |source: &Source| body.contains(&format!("role%2F{}&", source.name()));
    let mut derived = Source::ALL.into_iter().filter(|it| it.is_derived());
    derived.find(is_for)
}

pub(super) fn answer(
    world: &World,
    source: Source,
    request: &Request<Bytes>,
    fault: Option<Fault>,
    chance: &mut Chance,
) -> Response {
    let (status, body) = decide(world, source, request, fault, chance);
    let mut headers = HeaderMap::new();
    let hint = match fault {
        Some(Fault::Throttles(hint)) => hint,
        _ => None,
    };
    if let Some(hint) = hint {
        headers.insert("retry-after", hint.into());
    }
    let date = http_date(world.clock.truth());
    headers.insert("date", date.parse().unwrap());
    Response {
        is_verified_tls: true,
        ..response(status, headers, &body)
    }
}

fn decide(
    world: &World,
    source: Source,
    request: &Request<Bytes>,
    fault: Option<Fault>,
    chance: &mut Chance,
) -> (u16, String) {
    match fault {
        Some(Fault::Fails) => return (503, "<html>busy</html>".to_owned()),
        Some(Fault::Throttles(_)) => return (400, refusal("Throttling", "Rate exceeded")),
        Some(Fault::Denies) => return (403, refusal("AccessDenied", "no")),
        Some(Fault::Lies) if chance.one_in(3) => {
            return (403, refusal("ExpiredToken", "the session has expired"));
        }
        _ => {}
    }
    let header = |name: &str| {
        let value = request.headers().get(name)?;
        value.to_str().ok()
    };
    let signer = header("authorization").and_then(|it| it.split(['=', '/']).nth(1));
    let is_known = match source {
        Source::Keyed => signer == Some(KEY),
        _ => signer.is_some_and(|key| {
            let set = world.issued(key);
            set.is_some_and(|set| set.source == Source::Instance)
        }),
    };
    if !is_known {
        return (403, refusal("InvalidClientTokenId", "who is that?"));
    }
    let instant = header("x-amz-date").and_then(from_compact).unwrap();
    if instant
        .unix_millis()
        .abs_diff(world.clock.truth().unix_millis())
        > 300_000
    {
        let message = "Signature expired: it is another time here";
        return (403, refusal("SignatureDoesNotMatch", message));
    }
    let set = world.mint(source);
    let element = |name: &str, text: &str| format!("<{name}>{text}</{name}>");
    let body = [
        element("AccessKeyId", &set.key()),
        element("SecretAccessKey", &set.secret()),
        element("SessionToken", &set.token()),
        element("Expiration", &set.expiry.to_string()),
    ];
    let body = element("Credentials", &body.concat());
    let body = element("AssumeRoleResult", &body);
    let body = element("AssumeRoleResponse", &body);
    let body = if fault == Some(Fault::Lies) {
        lie(&body, chance)
    } else {
        body
    };
    (200, body)
}

fn lie(body: &str, chance: &mut Chance) -> String {
    match chance.between(0, 3) {
        0 => "<ListAllMyBucketsResult></ListAllMyBucketsResult>".to_owned(),
        1 => {
            let length = chance.between(0, body.len() as u64 - 1);
            body[..usize::try_from(length).unwrap()].to_owned()
        }
        2 => body.replace("SessionToken", "Token"),
        _ => body.replace("<Expiration>20", "<Expiration>19"),
    }
}

fn refusal(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error>\
         </ErrorResponse>"
    )
}

/// `20261122T093000Z`
fn from_compact(text: &str) -> Option<Timestamp> {
    let part = |range: std::ops::Range<usize>| text.get(range);
    Timestamp::parse(&format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0..4)?,
        part(4..6)?,
        part(6..8)?,
        part(9..11)?,
        part(11..13)?,
        part(13..15)?
    ))
}
