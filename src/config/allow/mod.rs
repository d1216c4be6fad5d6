//! `[[allow]]`: who may have which identities, and how much less of them than they are.

mod caller;
mod combination;
mod narrowed;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::findings::Findings;
use super::identity::narrowing::{self, Narrowing, Word};
use super::relations::Names;
use super::table::{Entry, Table, Text};
use super::vocabulary::{self, Vocabulary, quoted};
use crate::authz::{Opening, Opens, Rule, RuleName};
use crate::identity::IdentityName;
use crate::os::users::Accounts;
use crate::providers::chain::Link;
use caller::Caller;

/// What rules are about.
pub(super) struct Ground<'g, 't> {
    /// Where relative paths start.
    pub(super) base: &'g Path,
    pub(super) accounts: &'g dyn Accounts,
    pub(super) names: &'g Names<'t>,
    /// The sockets of `[serve.unix.NAME]`, and what each opens.
    pub(super) sockets: &'g [(&'t str, Option<IdentityName>)],
}

/// The rules that could be read.
pub(super) struct Read {
    pub(super) rules: Vec<Rule>,
    /// Whether these are all.
    pub(super) is_whole: bool,
}

/// Reads all rules, and adds the identities that they narrow to `identities`.
pub(super) fn read(
    entry: &Entry<'_>,
    ground: &Ground<'_, '_>,
    identities: &mut BTreeMap<IdentityName, Vec<Link>>,
    findings: &mut Findings,
) -> Read {
    let mut read = Read {
        rules: Vec::new(),
        is_whole: true,
    };
    for (position, table) in (1..).zip(entry.tables(findings)) {
        let name = RuleName::of_config(position);
        let rule =
            table.and_then(|(span, table)| rule(name, span, table, ground, identities, findings));
        read.is_whole &= rule.is_some();
        read.rules.extend(rule);
    }
    read
}

fn rule(
    name: RuleName,
    span: Range<usize>,
    mut table: Table<'_>,
    ground: &Ground<'_, '_>,
    identities: &mut BTreeMap<IdentityName, Vec<Link>>,
    findings: &mut Findings,
) -> Option<Rule> {
    for (key, value) in [
        ("caller", "{ user = \"USER\" }"),
        ("identity", "[\"IDENTITY\"]"),
    ] {
        if table.lacks(key) && !findings.is_incomplete() {
            findings
                .meaning(span.clone(), format!("this rule lacks `{key}`"))
                .hint(format!("add `{key} = {value}`"));
        }
    }
    let caller = table.take("caller");
    let caller = caller.and_then(|entry| caller::read(&entry, ground, findings));
    let opened = table.take("identity");
    let opened = opened.map(|entry| opened_by(&entry, ground, caller.as_ref(), findings));
    let word = caller.as_ref().map_or(Word::Unclear, Caller::word);
    let (narrowing, table) = Narrowing::read(table, &word, ground.base, findings);
    let keys: Vec<&str> = ["caller", "identity"]
        .into_iter()
        .chain(narrowing::KEYS)
        .collect();
    let vocabulary = Vocabulary {
        place: vocabulary::ALLOW,
        keys: &keys,
    };
    table.refuse_rest(&vocabulary, findings);
    let (opened, caller) = (opened?, caller?);
    let openings = opened.into_iter().map(|(text, identity)| match &narrowing {
        Some(narrowing) => {
            let label = caller.label();
            narrowed::open(&text, &identity, narrowing, &label, identities, findings)
        }
        None => Some(Opening::of(identity)),
    });
    let openings: Vec<Option<Opening>> = openings.collect();
    Some(Rule {
        name,
        opens: Opens::Only(openings.into_iter().collect::<Option<_>>()?),
        caller: caller.conditions,
    })
}

/// The identities of one rule.
fn opened_by<'t>(
    entry: &Entry<'t>,
    ground: &Ground<'_, '_>,
    caller: Option<&Caller>,
    findings: &mut Findings,
) -> Vec<(Text<'t>, IdentityName)> {
    let Some(texts) = entry.strings("billing", findings) else {
        return Vec::new();
    };
    if texts.is_empty() && !findings.is_incomplete() {
        findings
            .meaning(entry.key_span.clone(), "this rule opens nothing")
            .hint("name an identity, as in `[\"billing\"]`, or remove the rule");
    }
    let mut opened: Vec<(Text<'t>, IdentityName)> = Vec::new();
    for text in texts {
        let Some(identity) = ground.names.find(&text, findings) else {
            continue;
        };
        let socket = caller.and_then(|caller| caller.own_socket(ground));
        let (problem, hint) = if opened.iter().any(|(_, other)| *other == identity) {
            ("is there twice".to_owned(), "remove it")
        } else if let Some(socket) = socket.filter(|(_, own)| own.as_ref() == Some(&identity)) {
            (
                format!(
                    "is what `[serve.unix.{}]` opens already, before any rule",
                    socket.0
                ),
                "remove it here",
            )
        } else {
            opened.push((text, identity));
            continue;
        };
        let message = format!("{} {problem}", quoted(text.value));
        findings.refuse(&text, message).hint(hint);
    }
    opened
}
