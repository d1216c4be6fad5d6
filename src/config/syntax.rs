//! Where a text is no TOML, told so that one mistake is one problem.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::findings::Findings;
use super::lines::Lines;
use super::vocabulary::{is_presentable, is_shown};

/// The parser reads nothing after a key without a value. This is the text with such lines made
/// blank, so that everything else stays in its place, if there are any; `errors` are then left
/// with what is wrong with those lines.
pub(super) fn blanked(
    text: &str,
    lines: &Lines<'_>,
    errors: &mut Vec<toml::de::Error>,
) -> Option<String> {
    let is_stop = |error: &toml::de::Error| error.message().starts_with("key with no value");
    if !errors.iter().any(is_stop) {
        return None;
    }
    errors.retain(is_stop);
    let mut blanked = String::with_capacity(text.len());
    for span in errors.iter().filter_map(toml::de::Error::span) {
        let line = lines.range(lines.number(span.start));
        if line.start >= blanked.len() {
            blanked.push_str(lines.slice(blanked.len()..line.start));
            blanked.extend(line.map(|_| ' '));
        }
    }
    blanked.push_str(lines.slice(blanked.len()..text.len()));
    Some(blanked)
}

/// Adds what the parser says to `findings`.
pub(super) fn report(
    errors: &[toml::de::Error],
    document: &DeTable<'_>,
    lines: &Lines<'_>,
    findings: &mut Findings,
) {
    let spans = || errors.iter().filter_map(toml::de::Error::span);
    let unclosed = unclosed(document, lines, &|value| {
        spans().any(|span| value.start <= span.start && span.start <= value.end)
    });
    if let Some((span, kind)) = &unclosed {
        findings.lose(span.start);
        let opening = span.start..span.start + kind.opening().len();
        findings
            .syntax(opening, format!("this {} is not closed", kind.name()))
            .hint(format!("end it with `{}`", kind.closing()));
    }
    for error in errors {
        let span = error.span().unwrap_or_default();
        // All that follows was taken for a part of it.
        if unclosed
            .as_ref()
            .is_some_and(|(lost, _)| lost.start <= span.start)
        {
            continue;
        }
        if is_header(lines.around(span.start)) {
            // The keys below were taken for keys of the table before.
            findings.lose(span.start);
        }
        let finding = findings.syntax(span, message(error));
        let message = error.message();
        if UNQUOTED.iter().any(|start| message.starts_with(start)) {
            finding.hint("a string is written between `\"` and `\"`");
        }
    }
}

/// What the parser says of strings without quotes, those that start with a digit included.
const UNQUOTED: [&str; 4] = [
    "string values must be quoted",
    "invalid float",
    "invalid integer",
    "invalid datetime",
];

/// The parser's words never hold any of the text.
fn message(error: &toml::de::Error) -> String {
    let message = error.message();
    let message = message
        .strip_suffix(", expected nothing")
        .or_else(|| message.strip_suffix(", expected literal string"))
        .unwrap_or(message);
    message.to_owned()
}

/// A value that can go over several lines.
#[derive(Clone, Copy)]
enum Kind {
    Array,
    Table,
    String { quotes: &'static str },
}

impl Kind {
    fn of(value: &DeValue<'_>, text: &str) -> Option<Self> {
        let quotes = ["\"\"\"", "'''"];
        match value {
            DeValue::Array(_) => text.starts_with('[').then_some(Self::Array),
            DeValue::Table(_) => text.starts_with('{').then_some(Self::Table),
            DeValue::String(_) => quotes
                .into_iter()
                .find(|quotes| text.starts_with(quotes))
                .map(|quotes| Self::String { quotes }),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Table => "table",
            Self::String { .. } => "string",
        }
    }

    fn opening(self) -> &'static str {
        match self {
            Self::Array => "[",
            Self::Table => "{",
            Self::String { quotes } => quotes,
        }
    }

    fn closing(self) -> &'static str {
        match self {
            Self::Array => "]",
            Self::Table => "}",
            Self::String { quotes } => quotes,
        }
    }
}

/// The first value that goes over several lines and has no end of its own, `is_broken` saying
/// whether the parser missed something in it.
fn unclosed(
    table: &DeTable<'_>,
    lines: &Lines<'_>,
    is_broken: &dyn Fn(&Range<usize>) -> bool,
) -> Option<(Range<usize>, Kind)> {
    table
        .values()
        .find_map(|value| unclosed_value(value, lines, is_broken))
}

fn unclosed_value(
    value: &Spanned<DeValue<'_>>,
    lines: &Lines<'_>,
    is_broken: &dyn Fn(&Range<usize>) -> bool,
) -> Option<(Range<usize>, Kind)> {
    let span = value.span();
    let text = lines.slice(span.clone());
    if let Some(kind) = Kind::of(value.get_ref(), text) {
        let rest = text.get(kind.opening().len()..).unwrap_or_default();
        let is_unclosed = text.contains('\n') && !rest.ends_with(kind.closing());
        if is_unclosed && is_broken(&span) {
            return Some((span, kind));
        }
    }
    match value.get_ref() {
        DeValue::Table(table) => unclosed(table, lines, is_broken),
        DeValue::Array(array) => array
            .iter()
            .find_map(|value| unclosed_value(value, lines, is_broken)),
        _ => None,
    }
}

/// Hides what could be a secret on the lines of all problems, by their looks alone: where the
/// parser missed something, it is not known what is a value and of which key.
pub(super) fn hide(lines: &Lines<'_>, findings: &mut Findings) {
    for offset in findings.offsets() {
        let line = lines.range(lines.number(offset));
        if let Some(hidden) = hidden(lines.slice(line.clone())) {
            findings.hide(line.start + hidden..line.end);
        }
    }
}

/// Where the part of a line starts that is not to be shown: all but a header, what stands before
/// a value, and the value of a known key.
fn hidden(line: &str) -> Option<usize> {
    match line.split_once('=') {
        Some((key, value)) if is_shown(key.trim()) && is_plain(value) => None,
        Some((key, _)) if is_presentable(key.trim()) => Some(key.len() + 1),
        None if is_header(line) && is_presentable(line.trim()) => None,
        None if line.split_whitespace().next().is_some_and(is_shown) && is_plain(line) => None,
        _ => Some(0),
    }
}

/// Whether the value of a known key is at most that, without keys of its own, without what parts a
/// password or a token from the rest of a URI, and without anything that looks like a secret key.
fn is_plain(value: &str) -> bool {
    !value.contains(['=', '{', '@', '?']) && !has_key_like_run(value)
}

/// Secret access keys are 40 characters of base64. A path or an ARN has others in between.
fn has_key_like_run(value: &str) -> bool {
    const SECRET_ACCESS_KEY: usize = 40;
    value
        .split(|character: char| !character.is_ascii_alphanumeric() && !"+/".contains(character))
        .any(|run| run.len() >= SECRET_ACCESS_KEY)
}

fn is_header(line: &str) -> bool {
    let line = line.trim();
    !line.contains('=') && (line.starts_with('[') || line.ends_with(']'))
}
