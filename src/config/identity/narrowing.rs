//! What a rule of `[[allow]]` says to make less of an assumed role than the role is.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::assume_role;
use super::reader::Reader;
use crate::aws::arn::Arn;
use crate::aws::sts::limit;
use crate::config::findings::Findings;
use crate::config::table::{Table, Text};
use crate::config::vocabulary::{is_presentable, quoted};
use crate::providers::assume_role::Config;
use crate::providers::session_name::SessionName;

/// Its keys, which mean what they mean for an identity.
pub(in crate::config) const KEYS: [&str; 6] = [
    "session-name",
    "session-policy",
    "policy-arns",
    "tags",
    "transitive-tags",
    "source-identity",
];

/// The word that `{caller}` stands for.
pub(in crate::config) enum Word {
    Is(String),
    /// A rule for a group says too little.
    None,
    /// What the rule says of its caller has problems.
    Unclear,
}

/// What a rule changes of a role.
#[derive(Default)]
pub(in crate::config) struct Narrowing {
    session_name: Option<SessionName>,
    session_policy: Option<PathBuf>,
    policy_arns: Vec<Arn>,
    tags: Vec<(String, String)>,
    transitive_tags: Vec<String>,
    source_identity: Option<String>,
    /// Where the keys stand that an identity may have, too.
    policy_at: Option<Range<usize>>,
    tags_at: Option<Range<usize>>,
    source_identity_at: Option<Range<usize>>,
}

/// A change that would not narrow, and what to do instead.
pub(in crate::config) struct Conflict {
    pub(in crate::config) span: Range<usize>,
    pub(in crate::config) message: String,
    pub(in crate::config) hint: &'static str,
}

impl Narrowing {
    /// Takes its keys out of the table of a rule, if there are any.
    pub(in crate::config) fn read<'t>(
        table: Table<'t>,
        word: &Word,
        base: &Path,
        findings: &mut Findings,
    ) -> (Option<Self>, Table<'t>) {
        if !KEYS.iter().any(|key| table.has(key)) {
            return (None, table);
        }
        let at = |key| table.key_span(key);
        let mut narrowing = Self {
            policy_at: at("session-policy").or_else(|| at("policy-arns")),
            tags_at: at("tags"),
            source_identity_at: at("source-identity"),
            ..Self::default()
        };
        let mut reader = Reader {
            header: Text {
                value: "",
                span: 0..0,
            },
            is_sure: !findings.is_incomplete(),
            table,
            base,
            findings,
            from: None,
            lifetime: None,
        };
        narrowing.session_name = session_name(&mut reader, word);
        narrowing.session_policy = assume_role::session_policy(&mut reader);
        narrowing.policy_arns = assume_role::policy_arns(&mut reader);
        narrowing.tags = assume_role::tags(&mut reader).unwrap_or_default();
        narrowing.transitive_tags = assume_role::transitive_tags(&mut reader, &narrowing.tags);
        narrowing.source_identity = source_identity(&mut reader, word);
        (Some(narrowing), reader.table)
    }

    /// The role with these changes, none of which may take back what narrows it already.
    pub(in crate::config) fn of(&self, role: &Config, name: &str) -> Result<Config, Conflict> {
        // STS adds up an inline policy and managed ones, so that a second one of either kind would
        // allow what the first keeps back.
        let has_policy = role.session_policy.is_some() || !role.policy_arns.is_empty();
        if let Some(span) = self.policy_at.clone().filter(|_| has_policy) {
            return Err(Conflict {
                span,
                message: format!("{} has a session policy of its own", quoted(name)),
                hint: "narrow it in one place: there, or in the rules of all its callers",
            });
        }
        let source_identity_at = self.source_identity_at.clone();
        if let Some(span) = source_identity_at.filter(|_| role.source_identity.is_some()) {
            return Err(Conflict {
                span,
                message: format!("{} has a `source-identity` of its own", quoted(name)),
                hint: "say it in one place: there, or in the rules of all its callers",
            });
        }
        let mut narrowed = role.clone();
        if let Some(span) = self.tags_at.clone() {
            self.tag(&mut narrowed, span, name)?;
        }
        let transitive = narrowed.transitive_tags.iter().chain(&self.transitive_tags);
        let transitive: BTreeSet<String> = transitive.cloned().collect();
        narrowed.transitive_tags = transitive.into_iter().collect();
        if self.policy_at.is_some() {
            narrowed.session_policy.clone_from(&self.session_policy);
            narrowed.policy_arns.clone_from(&self.policy_arns);
        }
        if self.source_identity.is_some() {
            narrowed.source_identity.clone_from(&self.source_identity);
        }
        if self.session_name.is_some() {
            narrowed.session_name.clone_from(&self.session_name);
        }
        Ok(narrowed)
    }

    fn tag(&self, role: &mut Config, span: Range<usize>, name: &str) -> Result<(), Conflict> {
        let is_own = |key: &str| {
            let own = role.tags.iter();
            own.map(|(own, _)| own)
                .any(|own| own.to_lowercase() == key.to_lowercase())
        };
        if let Some((key, _)) = self.tags.iter().find(|(key, _)| is_own(key)) {
            return Err(Conflict {
                span,
                message: format!("{} has a tag {} of its own", quoted(name), quoted(key)),
                hint: "choose another name, or remove one of them",
            });
        }
        role.tags.extend(self.tags.iter().cloned());
        role.tags.sort();
        let most = limit::MOST_TAGS;
        if role.tags.len() > most {
            let (name, tags) = (quoted(name), role.tags.len());
            return Err(Conflict {
                span,
                message: format!(
                    "a role's session takes {most} tags at most, and with those of {name} these \
                     are {tags}"
                ),
                hint: "remove some",
            });
        }
        Ok(())
    }
}

fn session_name(reader: &mut Reader<'_, '_>, word: &Word) -> Option<SessionName> {
    let text = reader.string("session-name", "{caller}@{host}")?;
    let filled = filled(reader, &text, word)?;
    let hint = hint(
        text.value,
        &filled,
        "as in `{caller}@{host}`; a rule can have `{caller}` too",
    );
    reader.parsed(&text, &hint, |_| SessionName::template(&filled))
}

fn source_identity(reader: &mut Reader<'_, '_>, word: &Word) -> Option<String> {
    let text = reader.string("source-identity", "{caller}")?;
    let filled = filled(reader, &text, word)?;
    let hint = hint(text.value, &filled, "these are AWS's own bounds");
    reader.parsed(&text, &hint, |_| limit::SOURCE_IDENTITY.check(&filled))?;
    Some(filled)
}

const CALLER: &str = "{caller}";

/// The text with the caller's word in its place.
fn filled(reader: &mut Reader<'_, '_>, text: &Text<'_>, word: &Word) -> Option<String> {
    if !text.value.contains(CALLER) {
        return Some(text.value.to_owned());
    }
    let word = match word {
        // Another place must not come in by way of this one.
        Word::Is(word) => word.replace(['{', '}'], "-"),
        Word::Unclear => return None,
        Word::None => {
            reader
                .findings
                .refuse(
                    text,
                    "`{caller}` has no word for a caller of whom the group alone is said",
                )
                .hint("write a rule for each user");
            return None;
        }
    };
    Some(text.value.replace(CALLER, &word))
}

fn hint(written: &str, filled: &str, otherwise: &str) -> String {
    if written == filled {
        otherwise.to_owned()
    } else if is_presentable(filled) {
        format!("filled in, it is {}", quoted(filled))
    } else {
        format!("filled in, it has {} characters", filled.chars().count())
    }
}
