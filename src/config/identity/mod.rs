//! One `[identity.NAME]`: its provider, and what that provider is told.
//!
//! Each provider has a file here, in which its keys, their types and their problems stand together.

mod assume_role;
mod chain;
mod container;
mod environment;
mod imds;
mod keys;
mod mfa_code;
pub(super) mod narrowing;
mod process;
mod profile;
mod reader;
mod session_token;
mod sts;
mod uri;
mod web_identity;

use std::path::Path;

use super::findings::Findings;
use super::table::{Entry, Table, Text};
use super::vocabulary::{self, Vocabulary, is_known, is_presentable, listed, nearest, quoted};
use crate::identity::IdentityName;
use crate::providers::chain::Link;
use reader::Reader;

/// A provider, as the config knows it.
struct Provider {
    name: &'static str,
    /// Its keys, beside `provider`.
    keys: &'static [&'static str],
    /// Those among them whose values are never shown: they may hold a secret, or be one by mistake.
    hidden: &'static [&'static str],
    read: fn(&mut Reader<'_, '_>) -> Option<Vec<Link>>,
}

const PROVIDERS: [&Provider; 10] = [
    &chain::PROVIDER,
    &environment::PROVIDER,
    &profile::PROVIDER,
    &keys::PROVIDER,
    &process::PROVIDER,
    &session_token::PROVIDER,
    &assume_role::PROVIDER,
    &web_identity::PROVIDER,
    &container::PROVIDER,
    &imds::PROVIDER,
];

/// Providers that credd is to have.
const PLANNED_PROVIDERS: [&str; 3] = ["sso", "login", "roles-anywhere"];

/// Whether an identity can have such a key, beside `provider`.
pub(super) fn has_key(key: &str) -> bool {
    keys_of_providers().any(|(_, it)| it == key)
}

/// Every provider with each of its keys.
pub(super) fn keys_of_providers() -> impl Iterator<Item = (&'static str, &'static str)> {
    PROVIDERS
        .iter()
        .flat_map(|provider| provider.keys.iter().map(|key| (provider.name, *key)))
}

/// Whether the values of such a key are never shown.
pub(super) fn hides(key: &str) -> bool {
    PROVIDERS
        .iter()
        .any(|provider| provider.hidden.contains(&key))
}

/// One identity as it was read.
pub(super) struct Read<'t> {
    pub(super) name: &'t str,
    /// The name of its provider, if it is clear.
    pub(super) provider: &'static str,
    /// Absent where it has problems; those of its other parts do not matter then.
    pub(super) links: Option<Vec<Link>>,
    /// The identity that it is derived from.
    pub(super) from: Option<Text<'t>>,
    pub(super) lifetime: Option<Text<'t>>,
}

/// Reads one identity, unless there is none.
pub(super) fn read<'t>(
    entry: &Entry<'t>,
    base: &Path,
    findings: &mut Findings,
) -> Option<Read<'t>> {
    if !entry.is_table() && is_known(entry.key) {
        entry.hide(findings);
        findings
            .meaning(
                entry.key_span.clone(),
                format!("`{}` stands outside of any identity", entry.key),
            )
            .hint("name the identity in the header, as in `[identity.default]`");
        return None;
    }
    check_name(entry, findings);
    let mut table = entry.table(findings)?;
    let choice = choice(&mut table, findings);
    if let Choice::Made(provider) = choice {
        refuse_keys_of_others(provider, &mut table, findings);
    }
    let mut reader = Reader {
        header: Text {
            value: entry.key,
            span: entry.key_span.clone(),
        },
        is_sure: matches!(choice, Choice::Made(_)) && !findings.is_incomplete(),
        table,
        base,
        findings,
        from: None,
        lifetime: None,
    };
    let links = match choice {
        Choice::Made(provider) => (provider.read)(&mut reader),
        Choice::Guessed(provider) => {
            // For the problems alone.
            (provider.read)(&mut reader);
            None
        }
        Choice::Unclear | Choice::Planned => None,
    };
    let Reader {
        table,
        from,
        lifetime,
        ..
    } = reader;
    refuse_rest(choice, table, findings);
    Some(Read {
        name: entry.key,
        provider: choice.name(),
        links,
        from,
        lifetime,
    })
}

fn check_name(entry: &Entry<'_>, findings: &mut Findings) {
    if let Err(error) = IdentityName::parse(entry.key) {
        if !is_presentable(entry.key) {
            findings.hide(entry.key_span.clone());
        }
        findings
            .meaning(entry.key_span.clone(), error.to_string())
            .hint("choose a name such as `billing` or `team-1`");
    }
}

/// What `provider` says.
#[derive(Clone, Copy)]
enum Choice {
    Made(&'static Provider),
    /// It is misspelt, and this is most like it.
    Guessed(&'static Provider),
    Planned,
    Unclear,
}

impl Choice {
    fn name(self) -> &'static str {
        match self {
            Self::Made(provider) | Self::Guessed(provider) => provider.name,
            Self::Planned | Self::Unclear => "",
        }
    }
}

fn choice(table: &mut Table<'_>, findings: &mut Findings) -> Choice {
    if !table.has("provider") {
        // After a mistake in syntax it may be there and have gone unread.
        return if findings.is_incomplete() {
            Choice::Unclear
        } else {
            Choice::Made(&chain::PROVIDER)
        };
    }
    let Some(text) = table.string("provider", "profile", findings) else {
        return Choice::Unclear;
    };
    let find = |name: &str| PROVIDERS.into_iter().find(|provider| provider.name == name);
    if let Some(provider) = find(text.value) {
        return Choice::Made(provider);
    }
    let (name, names) = (quoted(text.value), PROVIDERS.map(|provider| provider.name));
    if PLANNED_PROVIDERS.contains(&text.value) {
        let message = format!("provider {name} is not supported in this version of credd yet");
        findings
            .refuse(&text, message)
            .hint(format!("this version has {}", listed(&names)));
        return Choice::Planned;
    }
    let near = nearest(text.value, &names);
    let hint = match near {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("the providers are {}", listed(&names)),
    };
    findings
        .refuse(&text, format!("unknown provider {name}"))
        .hint(hint);
    near.and_then(find).map_or(Choice::Unclear, Choice::Guessed)
}

/// Takes the keys that only other providers understand.
fn refuse_keys_of_others(provider: &Provider, table: &mut Table<'_>, findings: &mut Findings) {
    for key in PROVIDERS.iter().flat_map(|other| other.keys) {
        if provider.keys.contains(key) {
            continue;
        }
        let Some(entry) = table.take(key) else {
            continue;
        };
        // Nobody looked at the value, which may be a URI with a password.
        entry.hide(findings);
        let owners: Vec<&str> = PROVIDERS
            .iter()
            .filter(|other| other.keys.contains(key))
            .map(|other| other.name)
            .collect();
        let (plural, remedy) = match owners.as_slice() {
            [owner] => ("", format!("set `provider = \"{owner}\"`")),
            _ => ("s", "set `provider` to one of those".to_owned()),
        };
        let message = format!(
            "`{key}` belongs to provider{plural} {}, and this identity has `{}`",
            listed(&owners),
            provider.name
        );
        findings
            .meaning(entry.key_span, message)
            .hint(format!("remove it, or {remedy}"));
    }
}

/// Reports what is left, unless it is not known what may be there.
fn refuse_rest(choice: Choice, table: Table<'_>, findings: &mut Findings) {
    let (place, of_provider) = match choice {
        Choice::Made(provider) => (
            format!("an identity with provider `{}`", provider.name),
            provider.keys.to_vec(),
        ),
        Choice::Guessed(_) | Choice::Planned | Choice::Unclear => (
            vocabulary::IDENTITY.to_owned(),
            PROVIDERS.iter().flat_map(|it| it.keys).copied().collect(),
        ),
    };
    let keys: Vec<&str> = std::iter::once("provider").chain(of_provider).collect();
    let vocabulary = Vocabulary {
        place: &place,
        keys: &keys,
    };
    for entry in table.into_entries() {
        let is_judged = match choice {
            Choice::Made(_) => true,
            Choice::Guessed(_) | Choice::Unclear => !is_known(entry.key),
            Choice::Planned => false,
        };
        if !is_judged {
            // What it holds is not known here.
            entry.hide(findings);
            continue;
        }
        let is_table = entry.is_table();
        let is_near = nearest(entry.key, &keys).is_some();
        let finding = entry.refuse(&vocabulary, findings);
        if is_table {
            finding.hint("a name with a dot in it needs quotes, as in `[identity.\"a.b\"]`");
        } else if !is_near && !matches!(choice, Choice::Made(_)) {
            finding.hint("which keys there are depends on `provider`");
        }
    }
}
