//! A text as lines: where a byte offset stands, for people who count lines and characters.

use std::ops::Range;

pub(super) struct Lines<'t> {
    text: &'t str,
    /// Where each line starts. The first always does, so this is never empty.
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        // A byte order mark is no character of the first line.
        let first = if text.starts_with('\u{feff}') { 3 } else { 0 };
        let starts = std::iter::once(first)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self { text, starts }
    }

    /// The number of the line that `offset` is on, from 1. The end of the text belongs to its last
    /// line that holds anything: there is nothing to be seen after it.
    pub(super) fn number(&self, offset: usize) -> usize {
        let number = self.starts.partition_point(|start| *start <= offset).max(1);
        let is_after_all = number > 1 && self.starts.get(number - 1) == Some(&self.text.len());
        if is_after_all { number - 1 } else { number }
    }

    /// The line of that number, without its end.
    pub(super) fn range(&self, number: usize) -> Range<usize> {
        let end = self.text.len();
        let start_of = |number: usize| self.starts.get(number).copied().unwrap_or(end);
        let (start, next) = (start_of(number.saturating_sub(1)), start_of(number));
        let line = self.slice(start..next);
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        start..start + line.len()
    }

    /// That part of the text, as far as there is such a part.
    pub(super) fn slice(&self, range: Range<usize>) -> &'t str {
        let at = |offset| self.text.floor_char_boundary(offset);
        self.text
            .get(at(range.start)..at(range.end))
            .unwrap_or_default()
    }

    /// The line that `offset` is on.
    pub(super) fn around(&self, offset: usize) -> &'t str {
        self.slice(self.range(self.number(offset)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart_whatever_ends_them() {
        let text = "\u{feff}a\r\nbé\n\nc";
        let lines = Lines::of(text);
        let all: Vec<_> = (1..=5)
            .map(|number| lines.slice(lines.range(number)))
            .collect();
        assert_eq!(all, ["a", "bé", "", "c", ""]);
        let numbers: Vec<_> = [0, 3, 5, 6, 10, 11, 12, 99]
            .into_iter()
            .map(|offset| lines.number(offset))
            .collect();
        assert_eq!(numbers, [1, 1, 1, 2, 3, 4, 4, 4]);
    }

    #[test]
    fn the_end_is_on_the_last_line_that_holds_anything() {
        assert_eq!(Lines::of("a\n").number(2), 1);
        assert_eq!(Lines::of("a").number(1), 1);
        assert_eq!(Lines::of("").number(0), 1);
        assert_eq!(Lines::of("").range(1), 0..0);
    }
}
