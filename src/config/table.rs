//! A table of the file, read key by key: what is taken has its type, what is left is unknown.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::findings::{Finding, Findings};
use super::vocabulary::{Vocabulary, is_known, is_presentable, nearest, quoted};

pub(super) struct Table<'t> {
    entries: BTreeMap<&'t str, Entry<'t>>,
}

/// A key and its value.
pub(super) struct Entry<'t> {
    pub(super) key: &'t str,
    pub(super) key_span: Range<usize>,
    value: &'t Spanned<DeValue<'t>>,
}

/// A string of the file and where it stands.
#[derive(Clone)]
pub(super) struct Text<'t> {
    pub(super) value: &'t str,
    pub(super) span: Range<usize>,
}

impl<'t> Table<'t> {
    pub(super) fn of(table: &'t DeTable<'t>) -> Self {
        let entries = table
            .iter()
            .map(|(key, value)| {
                let entry = Entry {
                    key: key.get_ref(),
                    key_span: key.span(),
                    value,
                };
                (entry.key, entry)
            })
            .collect();
        Self { entries }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether a key is not there, not even misspelt.
    pub(super) fn lacks(&self, key: &str) -> bool {
        let is_misspelt = |written: &str| !is_known(written) && nearest(written, &[key]).is_some();
        !self.has(key) && !self.keys().any(is_misspelt)
    }

    /// Where a key stands.
    pub(super) fn key_span(&self, key: &str) -> Option<Range<usize>> {
        let entry = self.entries.get(key)?;
        Some(entry.key_span.clone())
    }

    /// The string that a key has, without its being taken.
    pub(super) fn text(&self, key: &str) -> Option<&'t str> {
        let entry = self.entries.get(key)?;
        text(entry.value).map(|text| text.value)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'t str> {
        self.entries.keys().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Entry<'t>> {
        self.entries.remove(key)
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = Entry<'t>> {
        self.entries.into_values()
    }

    pub(super) fn table(&mut self, key: &str, findings: &mut Findings) -> Option<Self> {
        self.take(key)?.table(findings)
    }

    /// The string that stands there. `example` is one that would do.
    pub(super) fn string(
        &mut self,
        key: &str,
        example: &str,
        findings: &mut Findings,
    ) -> Option<Text<'t>> {
        self.take(key)?.string(example, findings)
    }

    /// The strings of an array, without those elements that are none.
    pub(super) fn strings(
        &mut self,
        key: &str,
        example: &str,
        findings: &mut Findings,
    ) -> Option<Vec<Text<'t>>> {
        self.take(key)?.strings(example, findings)
    }

    pub(super) fn boolean(&mut self, key: &str, findings: &mut Findings) -> Option<bool> {
        let entry = self.take(key)?;
        let boolean = entry.value.get_ref().as_bool();
        if boolean.is_none() {
            entry.is_not("`true` or `false`", "write it without quotes", findings);
        }
        boolean
    }

    /// Reports all keys that were not taken.
    pub(super) fn refuse_rest(self, vocabulary: &Vocabulary<'_>, findings: &mut Findings) {
        for entry in self.into_entries() {
            entry.refuse(vocabulary, findings);
        }
    }
}

impl<'t> Entry<'t> {
    pub(super) fn table(&self, findings: &mut Findings) -> Option<Table<'t>> {
        if let DeValue::Table(table) = self.value.get_ref() {
            return Some(Table::of(table));
        }
        self.is_no_table(
            "it has keys of its own, below a header in brackets",
            findings,
        );
        None
    }

    /// The same, of a table that is written on one line.
    pub(super) fn inline_table(&self, example: &str, findings: &mut Findings) -> Option<Table<'t>> {
        if let DeValue::Table(table) = self.value.get_ref() {
            return Some(Table::of(table));
        }
        self.is_no_table(&format!("as in `{} = {example}`", self.key), findings);
        None
    }

    fn is_no_table(&self, hint: &str, findings: &mut Findings) {
        // Any name can stand where a table is expected, that of a secret too.
        self.hide(findings);
        self.is_not("a table", hint, findings);
    }

    /// The tables of an array, each with its place, which is what several headers in double
    /// brackets make. Nothing stands for what is none.
    pub(super) fn tables(&self, findings: &mut Findings) -> Vec<Option<(Range<usize>, Table<'t>)>> {
        let DeValue::Array(array) = self.value.get_ref() else {
            self.hide(findings);
            let hint = format!("write a header in double brackets: `[[{}]]`", self.key);
            self.is_not("an array of tables", &hint, findings);
            return vec![None];
        };
        let table = |element: &'t Spanned<DeValue<'t>>| {
            if let DeValue::Table(table) = element.get_ref() {
                return Some((element.span(), Table::of(table)));
            }
            findings.hide_values(element);
            let message = format!("`{}` holds tables only, not {}", self.key, kind(element));
            let hint = format!("write each below a header of its own: `[[{}]]`", self.key);
            findings.meaning(element.span(), message).hint(hint);
            None
        };
        array.iter().map(table).collect()
    }

    pub(super) fn string(&self, example: &str, findings: &mut Findings) -> Option<Text<'t>> {
        self.any_string(example, findings)?
            .checked(self.key, findings)
    }

    /// A string that may be empty.
    pub(super) fn any_string(&self, example: &str, findings: &mut Findings) -> Option<Text<'t>> {
        let text = text(self.value);
        if text.is_none() {
            let hint = format!("write it between quotes, as in `\"{example}\"`");
            self.is_not("a string", &hint, findings);
        }
        text
    }

    pub(super) fn strings(&self, example: &str, findings: &mut Findings) -> Option<Vec<Text<'t>>> {
        let DeValue::Array(array) = self.value.get_ref() else {
            let hint = format!("write it between brackets, as in `[\"{example}\"]`");
            self.is_not("an array of strings", &hint, findings);
            return None;
        };
        let mut strings = Vec::new();
        for element in array {
            if let Some(text) = text(element) {
                strings.extend(text.checked(self.key, findings));
            } else {
                if is_structure(element) {
                    findings.hide_values(element);
                }
                let message = format!("`{}` holds strings only, not {}", self.key, kind(element));
                findings
                    .meaning(element.span(), message)
                    .hint(format!("write each between quotes, as in `\"{example}\"`"));
            }
        }
        Some(strings)
    }

    /// One string, or several in an array.
    pub(super) fn one_or_more_strings(
        &self,
        example: &str,
        findings: &mut Findings,
    ) -> Option<Vec<Text<'t>>> {
        if self.value.get_ref().is_array() {
            self.strings(example, findings)
        } else {
            self.string(example, findings).map(|text| vec![text])
        }
    }

    pub(super) fn number(
        &self,
        bounds: RangeInclusive<u32>,
        findings: &mut Findings,
    ) -> Option<u32> {
        let DeValue::Integer(integer) = self.value.get_ref() else {
            let hint = "write it in digits, without quotes";
            self.is_not("a whole number", hint, findings);
            return None;
        };
        let number = u32::from_str_radix(integer.as_str(), integer.radix());
        let number = number.ok().filter(|number| bounds.contains(number));
        if number.is_none() {
            let (least, most) = (bounds.start(), bounds.end());
            let message = format!("`{}` is a number from {least} to {most}", self.key);
            findings
                .meaning(self.value.span(), message)
                .hint("write one of these");
        }
        number
    }

    pub(super) fn is_integer(&self) -> bool {
        self.value.get_ref().is_integer()
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    pub(super) fn value_span(&self) -> Range<usize> {
        self.value.span()
    }

    /// Keeps the value from being shown.
    pub(super) fn hide(&self, findings: &mut Findings) {
        if !is_presentable(self.key) {
            findings.hide(self.key_span.clone());
        }
        findings.hide_values(self.value);
    }

    fn is_not(&self, expected: &str, hint: &str, findings: &mut Findings) {
        let text = self.value.get_ref().as_str();
        if is_structure(self.value) || text.is_some_and(|text| !is_presentable(text)) {
            self.hide(findings);
        }
        let message = format!(
            "{} must be {expected}, not {}",
            quoted(self.key),
            kind(self.value)
        );
        findings.meaning(self.key_span.clone(), message).hint(hint);
    }

    /// Reports the key as one that the table does not have.
    pub(super) fn refuse<'f>(
        &self,
        vocabulary: &Vocabulary<'_>,
        findings: &'f mut Findings,
    ) -> &'f mut Finding {
        self.hide(findings);
        let (key, span) = (quoted(self.key), self.key_span.clone());
        let message = format!("unknown key {key}");
        findings
            .meaning(span, message)
            .hint(vocabulary.hint(self.key))
    }
}

impl Text<'_> {
    /// No setting is empty, and none has characters that a log or a terminal would act on.
    fn checked(self, key: &str, findings: &mut Findings) -> Option<Self> {
        let (problem, hint) = if self.value.trim().is_empty() {
            ("is empty", "give it a value, or remove the key")
        } else if self.value.contains(char::is_control) {
            (
                "holds a control character",
                "write it on one line, without escapes",
            )
        } else {
            return Some(self);
        };
        findings
            .refuse(&self, format!("`{key}` {problem}"))
            .hint(hint);
        None
    }
}

/// Whoever writes a structure where a string belongs means something else than credd does.
fn is_structure(value: &Spanned<DeValue<'_>>) -> bool {
    matches!(value.get_ref(), DeValue::Array(_) | DeValue::Table(_))
}

fn text<'t>(value: &'t Spanned<DeValue<'t>>) -> Option<Text<'t>> {
    value.get_ref().as_str().map(|text| Text {
        value: text,
        span: value.span(),
    })
}

fn kind(value: &Spanned<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
