//! Problems as they are found, by byte range, and their citing once all are known.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

use super::lines::Lines;
use super::problem::{CUT, Problem, Problems};
use super::table::Text;
use super::vocabulary::is_presentable;
use crate::printable::is_hidden;

/// What was found so far in one text, and which parts of that text must not be shown.
#[derive(Default)]
pub(super) struct Findings {
    found: Vec<Finding>,
    hidden: Vec<Range<usize>>,
    lost_from: Option<usize>,
}

pub(super) struct Finding {
    span: Range<usize>,
    message: String,
    hint: Option<String>,
    is_syntax: bool,
}

impl Finding {
    /// Says what to do about it.
    pub(super) fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Findings {
    /// Adds a problem with what the text means.
    pub(super) fn meaning(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> &mut Finding {
        self.add(span, message.into(), false)
    }

    /// Adds a problem with a value, which is not shown where it could be a secret in a wrong place.
    pub(super) fn refuse(&mut self, text: &Text<'_>, message: impl Into<String>) -> &mut Finding {
        if !is_presentable(text.value) {
            self.hide(text.span.clone());
        }
        self.meaning(text.span.clone(), message)
    }

    /// Adds a place where the text is no TOML.
    pub(super) fn syntax(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> &mut Finding {
        self.add(span, message.into(), true)
    }

    fn add(&mut self, span: Range<usize>, message: String, is_syntax: bool) -> &mut Finding {
        self.found.push_mut(Finding {
            span,
            message,
            hint: None,
            is_syntax,
        })
    }

    /// Says that whatever follows `offset` may have been taken for something else than it is.
    pub(super) fn lose(&mut self, offset: usize) {
        self.lost_from = Some(self.lost_from.map_or(offset, |lost| lost.min(offset)));
    }

    /// Whether something that was written may have gone missing.
    pub(super) fn is_incomplete(&self) -> bool {
        self.found.iter().any(|finding| finding.is_syntax)
    }

    /// Where the problems are.
    pub(super) fn offsets(&self) -> Vec<usize> {
        self.found
            .iter()
            .map(|finding| finding.span.start)
            .collect()
    }

    pub(super) fn hide(&mut self, span: Range<usize>) {
        self.hidden.push(span);
    }

    /// Hides a value, but not the headers of the tables that it may consist of.
    pub(super) fn hide_values(&mut self, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => {
                for (key, value) in table {
                    if !is_presentable(key.get_ref()) {
                        self.hide(key.span());
                    }
                    self.hide_values(value);
                }
            }
            DeValue::Array(array) if array.iter().any(|element| element.get_ref().is_table()) => {
                for element in array {
                    self.hide_values(element);
                }
            }
            _ => self.hide(value.span()),
        }
    }

    /// The problems, if there are any.
    pub(super) fn cite(mut self, path: &Path, lines: &Lines<'_>) -> Option<Problems> {
        self.drop_doubtful(lines);
        self.found
            .sort_by_key(|finding| (finding.span.start, finding.span.end));
        let curtain = Curtain::over(self.hidden);
        let path: Arc<Path> = path.into();
        let all: Vec<_> = self
            .found
            .into_iter()
            .map(|finding| finding.cite(&path, lines, &curtain))
            .collect();
        (!all.is_empty()).then_some(Problems { all })
    }

    /// One problem of syntax a line is enough, the rest being its echo; and where the parser lost
    /// its way, what it took the text to mean is not what the writer meant.
    fn drop_doubtful(&mut self, lines: &Lines<'_>) {
        let mut broken = BTreeSet::new();
        self.found.retain(|finding| {
            !finding.is_syntax || broken.insert(lines.number(finding.span.start))
        });
        let lost_from = self.lost_from.unwrap_or(usize::MAX);
        self.found.retain(|finding| {
            let span = &finding.span;
            let mut on = broken.range(lines.number(span.start)..=lines.number(span.end));
            finding.is_syntax || (span.start < lost_from && on.next().is_none())
        });
    }
}

impl Finding {
    fn cite(self, path: &Arc<Path>, lines: &Lines<'_>, curtain: &Curtain) -> Problem {
        let number = lines.number(self.span.start);
        let line = lines.range(number);
        let start = self.span.start.clamp(line.start, line.end);
        let end = self.span.end.clamp(start, line.end);
        Problem {
            path: Arc::clone(path),
            line: number,
            column: lines.slice(line.start..start).chars().count() + 1,
            length: lines.slice(start..end).chars().count().max(1),
            message: self.message,
            hint: self.hint,
            source_line: curtain.before(line, lines),
        }
    }
}

/// What hides parts of the text, in order.
struct Curtain {
    hidden: Vec<Range<usize>>,
}

/// Wider than any line that somebody wrote to be read.
const WIDEST: usize = 160;

impl Curtain {
    fn over(mut hidden: Vec<Range<usize>>) -> Self {
        hidden.sort_by_key(|range| range.start);
        // Merged, so that ends are in order too and the search below holds.
        let mut merged: Vec<Range<usize>> = Vec::new();
        for range in hidden {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Self { hidden: merged }
    }

    /// The line up to its first hidden part.
    fn before(&self, line: Range<usize>, lines: &Lines<'_>) -> String {
        let next = self
            .hidden
            .partition_point(|hidden| hidden.end <= line.start);
        let end = self
            .hidden
            .get(next)
            .map_or(line.end, |hidden| hidden.start.clamp(line.start, line.end));
        let shown = lines.slice(line.start..end);
        let wide = shown.char_indices().nth(WIDEST).map(|(at, _)| at);
        let is_cut = end < line.end || wide.is_some();
        let shown = shown.get(..wide.unwrap_or(shown.len())).unwrap_or(shown);
        let mut visible: String = shown.chars().map(visible).collect();
        if is_cut {
            visible.truncate(visible.trim_end().len());
            if !visible.is_empty() {
                visible.push(' ');
            }
            visible.push(CUT);
        }
        visible
    }
}

/// One character for one, so that columns hold.
fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        hidden if is_hidden(hidden) => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}
