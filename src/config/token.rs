//! `[token.NAME]`: how the tokens that rules name are kept, and how long each is good for.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::findings::Findings;
use super::table::{Entry, Table, Text};
use super::vocabulary::{self, Vocabulary, nearest, quoted};
use super::{TokenSettings, account, duration, mode};
use crate::authz::{Rule, TokenName};
use crate::os::users::Accounts;

const VOCABULARY: Vocabulary<'_> = Vocabulary {
    place: vocabulary::TOKEN,
    keys: &["group", "mode", "rotate", "overlap"],
};

const ROTATE: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(366 * 24);

const OVERLAP: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);

impl Default for TokenSettings {
    fn default() -> Self {
        Self {
            group: None,
            mode: OWNER_ONLY,
            rotate: None,
            overlap: Duration::from_mins(10),
        }
    }
}

/// What `[token]` says.
#[derive(Default)]
pub(super) struct Read<'t>(Vec<(Text<'t>, TokenSettings)>);

pub(super) fn read<'t>(
    table: Table<'t>,
    accounts: &dyn Accounts,
    findings: &mut Findings,
) -> Read<'t> {
    let mut read = Read::default();
    for entry in table.into_entries() {
        let header = Text {
            value: entry.key,
            span: entry.key_span.clone(),
        };
        if let Some(table) = entry.table(findings) {
            read.0.push((header, settings(table, accounts, findings)));
        }
    }
    read
}

impl Read<'_> {
    /// The settings of each token that a rule names. `is_whole` says whether `rules` are all there
    /// are.
    pub(super) fn of_rules(
        self,
        rules: &[Rule],
        is_whole: bool,
        findings: &mut Findings,
    ) -> BTreeMap<TokenName, TokenSettings> {
        let mut tokens: BTreeMap<TokenName, TokenSettings> = rules
            .iter()
            .filter_map(|rule| rule.caller.token.clone())
            .map(|name| (name, TokenSettings::default()))
            .collect();
        let names: Vec<TokenName> = tokens.keys().cloned().collect();
        let names: Vec<&str> = names.iter().map(TokenName::as_str).collect();
        for (header, settings) in self.0 {
            match TokenName::parse(header.value) {
                Ok(name) if name.is_default() || tokens.contains_key(&name) => {
                    tokens.insert(name, settings);
                }
                _ if !is_whole || findings.is_incomplete() => {}
                _ => {
                    let hint = match nearest(header.value, &names) {
                        Some(name) => format!("did you mean `{name}`?"),
                        None => "a rule names it: `caller = { token = \"NAME\" }`".to_owned(),
                    };
                    let message = format!("no rule names a token {}", quoted(header.value));
                    findings.refuse(&header, message).hint(hint);
                }
            }
        }
        tokens
    }
}

fn settings(
    mut table: Table<'_>,
    accounts: &dyn Accounts,
    findings: &mut Findings,
) -> TokenSettings {
    let usual = TokenSettings::default();
    let group = table.take("group");
    let group = group.map(|entry| account::group(&entry, accounts, findings));
    let usual_mode = if group.is_some() {
        GROUP_TOO
    } else {
        usual.mode
    };
    let mode = table.take("mode");
    let mode = mode.and_then(|entry| token_mode(&entry, findings));
    let (rotate, overlap) = (table.take("rotate"), table.take("overlap"));
    let hint = "write `1m` to `366d`";
    let rotate = rotate.and_then(|entry| bounded(&entry, &ROTATE, hint, findings));
    let longest = rotate.as_ref().map_or(usual.overlap, |(_, rotate)| *rotate);
    let overlap = overlap.and_then(|entry| {
        let (text, overlap) = bounded(&entry, &OVERLAP, "write `0s` to `24h`", findings)?;
        if rotate.as_ref().is_some_and(|(_, rotate)| overlap > *rotate) {
            findings
                .refuse(&text, "more than two tokens would be valid at once")
                .hint("let `overlap` be at most as long as `rotate`");
        }
        Some(overlap)
    });
    table.refuse_rest(&VOCABULARY, findings);
    TokenSettings {
        group: group.flatten().map(|group| group.number),
        mode: mode.unwrap_or(usual_mode),
        rotate: rotate.map(|(_, rotate)| rotate),
        overlap: overlap.unwrap_or(usual.overlap.min(longest)),
    }
}

const OWNER_ONLY: u32 = 0o600;
const GROUP_TOO: u32 = 0o640;

fn token_mode(entry: &Entry<'_>, findings: &mut Findings) -> Option<u32> {
    let (text, mode) = mode::read(entry, "0640", findings)?;
    let problem = if mode & 0o007 != 0 {
        "every user of this host would have this token"
    } else if mode & 0o020 != 0 {
        "its group could put another token in its place"
    } else if mode & 0o400 == 0 {
        "the daemon itself could not read it"
    } else if mode & 0o110 != 0 {
        "nobody runs a token"
    } else {
        return Some(mode);
    };
    findings
        .refuse(&text, problem)
        .hint("write `\"0600\"`, or `\"0640\"` and its `group`");
    None
}

fn bounded<'t>(
    entry: &Entry<'t>,
    bounds: &RangeInclusive<Duration>,
    hint: &str,
    findings: &mut Findings,
) -> Option<(Text<'t>, Duration)> {
    let text = entry.string("24h", findings)?;
    match duration::parse(text.value) {
        Ok(duration) if bounds.contains(&duration) => return Some((text, duration)),
        Ok(_) => {
            let message = format!("`{}` is out of bounds", entry.key);
            findings.refuse(&text, message).hint(hint);
        }
        Err(problem) => {
            findings
                .refuse(&text, problem.to_string())
                .hint(duration::HINT);
        }
    }
    None
}
