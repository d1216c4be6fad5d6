//! `provider = "assume-role"`: a role, assumed with the credentials of another identity.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::Provider;
use super::reader::Reader;
use super::sts::{self, Lifetime};
use crate::aws::arn::Arn;
use crate::aws::sts::limit;
use crate::config::vocabulary::{nearest, quoted};
use crate::providers::assume_role::Config;
use crate::providers::chain::Link;

pub(super) const PROVIDER: Provider = Provider {
    name: "assume-role",
    keys: &[
        "from",
        "role-arn",
        "external-id",
        "lifetime",
        "session-name",
        "session-policy",
        "policy-arns",
        "tags",
        "transitive-tags",
        "source-identity",
        "region",
        "endpoint",
    ],
    hidden: &["external-id", "session-policy", "tags"],
    read,
};

/// Of a role, however it is assumed.
pub(super) const LIFETIME: Lifetime = Lifetime {
    bounds: limit::ROLE_LIFETIME,
    problem: "a role's session lives for 15 minutes to 12 hours (STS API reference, `AssumeRole`)",
    hint: "write `15m` to `12h`; the role's own maximum may be shorter",
};

fn read(reader: &mut Reader<'_, '_>) -> Option<Vec<Link>> {
    let from = sts::from(reader);
    reader.require("role-arn", &format!("\"{}\"", sts::ROLE_ARN));
    let role_arn = sts::role_arn(reader);
    let tags = tags(reader).unwrap_or_default();
    let config = Config {
        external_id: limited(reader, "external-id", &limit::EXTERNAL_ID),
        lifetime: sts::lifetime(reader, &LIFETIME),
        session_name: sts::session_name(reader),
        session_policy: session_policy(reader),
        policy_arns: policy_arns(reader),
        transitive_tags: transitive_tags(reader, &tags),
        tags,
        source_identity: limited(reader, "source-identity", &limit::SOURCE_IDENTITY),
        settings: sts::settings(reader),
        ..Config::of(from?, role_arn?)
    };
    Some(vec![Link::AssumeRole(config)])
}

/// A text within AWS's bounds. That of a hidden key is not shown.
fn limited(reader: &mut Reader<'_, '_>, key: &str, limit: &limit::Limit) -> Option<String> {
    let entry = reader.table.take(key)?;
    if PROVIDER.hidden.contains(&key) {
        entry.hide(reader.findings);
    }
    let text = entry.string("billing", reader.findings)?;
    let hint = "these are AWS's own bounds";
    reader.parsed(&text, hint, |text| limit.check(text))?;
    Some(text.value.to_owned())
}

pub(super) fn session_policy(reader: &mut Reader<'_, '_>) -> Option<PathBuf> {
    let entry = reader.table.take("session-policy")?;
    entry.hide(reader.findings);
    let text = entry.string("policies/billing.json", reader.findings)?;
    if text.value.trim_start().starts_with('{') {
        reader
            .findings
            .meaning(text.span, "`session-policy` names the file of a policy")
            .hint("put the policy into a file of its own, and write the file's path here");
        return None;
    }
    reader.path(&text)
}

pub(super) fn policy_arns(reader: &mut Reader<'_, '_>) -> Vec<Arn> {
    const EXAMPLE: &str = "arn:aws:iam::aws:policy/ReadOnlyAccess";
    let Some(entry) = reader.table.take("policy-arns") else {
        return Vec::new();
    };
    let texts = entry.strings(EXAMPLE, reader.findings).unwrap_or_default();
    if texts.len() > limit::MOST_POLICY_ARNS {
        let message = format!(
            "a role's session takes {} managed policies at most, and these are {}",
            limit::MOST_POLICY_ARNS,
            texts.len()
        );
        reader
            .findings
            .meaning(entry.key_span, message)
            .hint("put what they allow into fewer of them, or into a `session-policy`");
    }
    let hint = format!("as in `{EXAMPLE}`");
    let parse = |text: &str| {
        let arn = Arn::parse(text).map_err(|problem| problem.to_string())?;
        let is_policy = arn.service() == "iam" && arn.resource().starts_with("policy/");
        is_policy
            .then_some(arn)
            .ok_or_else(|| "this is not the ARN of a managed policy".to_owned())
    };
    texts
        .iter()
        .filter_map(|text| reader.parsed(text, &hint, parse))
        .collect()
}

/// Tags in the order of their keys.
pub(super) fn tags(reader: &mut Reader<'_, '_>) -> Option<Vec<(String, String)>> {
    let entry = reader.table.take("tags")?;
    // Whatever was pasted there is taken for a tag.
    entry.hide(reader.findings);
    let tags: Vec<_> = entry.table(reader.findings)?.into_entries().collect();
    if tags.len() > limit::MOST_TAGS {
        let message = format!(
            "a role's session takes {} tags at most, and these are {}",
            limit::MOST_TAGS,
            tags.len()
        );
        reader
            .findings
            .meaning(entry.key_span, message)
            .hint("remove some");
        return None;
    }
    let mut seen = BTreeSet::new();
    let tags = tags.iter().filter_map(|tag| {
        let value = tag.any_string("billing", reader.findings)?.value;
        let problem = if let Err(problem) = limit::check_tag(tag.key, value) {
            problem.to_string()
        } else if tag.key.to_lowercase().starts_with("aws:") {
            "names that start with `aws:` are AWS's own".to_owned()
        } else if !seen.insert(tag.key.to_lowercase()) {
            "it is there twice, since AWS does not tell letters' cases apart in tags".to_owned()
        } else {
            return Some((tag.key.to_owned(), value.to_owned()));
        };
        let message = format!("tag {}: {problem}", quoted(tag.key));
        reader
            .findings
            .meaning(tag.key_span.clone(), message)
            .hint("choose another name or value, or remove it");
        None
    });
    Some(tags.collect())
}

/// Keys of tags that go on to sessions derived from this one. STS takes keys of this session's own
/// tags only; those that are transitive from before need no mention.
pub(super) fn transitive_tags(
    reader: &mut Reader<'_, '_>,
    tags: &[(String, String)],
) -> Vec<String> {
    let strings = reader
        .table
        .strings("transitive-tags", "team", reader.findings);
    let keys: Vec<&str> = tags.iter().map(|(key, _)| key.as_str()).collect();
    let mut seen = BTreeSet::new();
    for text in strings.unwrap_or_default() {
        let key = text.value;
        let (problem, hint) = if !keys.contains(&key) {
            let hint = match nearest(key, &keys) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "add it to them; tags that are transitive from before stay so".to_owned(),
            };
            ("is none of the `tags` here", hint)
        } else if seen.insert(key.to_owned()) {
            continue;
        } else {
            ("is there twice", "remove it".to_owned())
        };
        let message = format!("{} {problem}", quoted(key));
        reader.findings.refuse(&text, message).hint(hint);
    }
    seen.into_iter().collect()
}
