//! The line language of profile files: text in, sections and properties as written out.
//!
//! AWS describes the format for users at
//! <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>; where that page is silent,
//! the parser test cases that the AWS SDKs share decide.

use super::problem::Syntax;

/// A section as written. Everything is borrowed, so that no copy of a secret is made on the way.
pub(super) struct RawSection<'text> {
    /// What stands between the brackets.
    pub(super) header: &'text str,
    pub(super) line: usize,
    pub(super) properties: Vec<RawProperty<'text>>,
}

pub(super) struct RawProperty<'text> {
    pub(super) name: &'text str,
    pub(super) line: usize,
    /// Never empty: the text after the `=`, then each continuation.
    pub(super) value_lines: Vec<&'text str>,
}

/// The first line that is against the format.
pub(super) struct Misread {
    pub(super) line: usize,
    pub(super) problem: Syntax,
}

/// Reads all sections, in the order of the text, duplicates included.
pub(super) fn sections(text: &str) -> Result<Vec<RawSection<'_>>, Misread> {
    let mut sections = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        // Only in the first column: an indented `#` continues the value above, as in the Rust and
        // Java SDKs, though not in botocore and Go. The caller is warned of it.
        if trim(line).is_empty() || line.starts_with(COMMENT) {
            continue;
        }
        read_line(&mut sections, number, line).map_err(|problem| Misread {
            line: number,
            problem,
        })?;
    }
    Ok(sections)
}

/// The two halves of a line inside a nested property, where it has an `=`. Unlike in a property, a
/// comment is part of the value: all SDKs have it so.
pub(super) fn sub_property(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    Some((trim(name), trim(value)))
}

/// Takes off spaces and tabs, the only blanks of this language.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(BLANK)
}

pub(super) const BLANK: [char; 2] = [' ', '\t'];
pub(super) const COMMENT: [char; 2] = ['#', ';'];

fn read_line<'text>(
    sections: &mut Vec<RawSection<'text>>,
    number: usize,
    line: &'text str,
) -> Result<(), Syntax> {
    if line.starts_with('[') {
        sections.push(RawSection {
            header: header(line)?,
            line: number,
            properties: Vec::new(),
        });
        return Ok(());
    }
    let properties = match sections.last_mut() {
        Some(section) => &mut section.properties,
        None => return Err(Syntax::NoSection),
    };
    if line.starts_with(BLANK) {
        let property = properties.last_mut().ok_or(Syntax::StrayContinuation)?;
        return property.extend(trim(line));
    }
    let (name, value) = property(line).ok_or(Syntax::NoEquals)?;
    if name.is_empty() {
        return Err(Syntax::NoName);
    }
    properties.push(RawProperty {
        name,
        line: number,
        value_lines: vec![value],
    });
    Ok(())
}

fn header(line: &str) -> Result<&str, Syntax> {
    let line = line.split_once(COMMENT).map_or(line, |(before, _)| before);
    trim(line)
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .map(trim)
        .ok_or(Syntax::UnclosedHeader)
}

fn property(line: &str) -> Option<(&str, &str)> {
    let (name, value) = before_comment(line).split_once('=')?;
    Some((trim(name), trim(value)))
}

/// A comment in a property needs a blank before it, since `#` may be part of a password.
fn before_comment(line: &str) -> &str {
    line.match_indices(COMMENT)
        .filter_map(|(at, _)| line.get(..at))
        .find(|before| before.ends_with(BLANK))
        .unwrap_or(line)
}

impl<'text> RawProperty<'text> {
    fn extend(&mut self, line: &'text str) -> Result<(), Syntax> {
        if self.is_nested() {
            let (name, _) = property(line).ok_or(Syntax::NoEqualsNested)?;
            if name.is_empty() {
                return Err(Syntax::NoNameNested);
            }
        }
        self.value_lines.push(line);
        Ok(())
    }

    /// Whether the lines below hold properties of their own, as in `s3 =`.
    fn is_nested(&self) -> bool {
        self.value_lines.first().is_some_and(|line| line.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only_value(text: &str) -> String {
        let Ok(sections) = sections(text) else {
            panic!("misread: {text}")
        };
        sections[0].properties[0].value_lines.join("\n")
    }

    fn misread(text: &str) -> (usize, Syntax) {
        match sections(text) {
            Err(misread) => (misread.line, misread.problem),
            Ok(_) => panic!("read: {text}"),
        }
    }

    #[test]
    fn a_comment_in_a_value_needs_a_blank_before_it() {
        assert_eq!(only_value("[a]\nkey = b#c"), "b#c");
        assert_eq!(only_value("[a]\nkey = b #c"), "b");
        assert_eq!(only_value("[a]\nkey = b\t;c"), "b");
        assert_eq!(only_value("[a]\nkey = b#c #d"), "b#c");
        assert_eq!(only_value("[a]\nkey =#c"), "#c");
        assert_eq!(only_value("[a]\nkey = #c"), "");
    }

    #[test]
    fn only_space_and_tab_are_blanks() {
        assert_eq!(only_value("[a]\nkey =\u{a0}b\u{a0}#c"), "\u{a0}b\u{a0}#c");
        assert_eq!(misread("\u{a0}\n[a]"), (1, Syntax::NoSection));
    }

    #[test]
    fn an_indented_comment_continues_the_value_above() {
        assert_eq!(only_value("[a]\nkey = b\n  # c"), "b\n# c");
    }

    #[test]
    fn a_value_is_nested_until_the_next_property() {
        let text = "[a]\ns3 = # nothing\n x = 1\n\n y = 2 # kept\nz = 3\n free text";
        assert_eq!(only_value(text), "\nx = 1\ny = 2 # kept");
        assert_eq!(misread("[a]\ns3 =\n x # = 1"), (3, Syntax::NoEqualsNested));
    }

    #[test]
    fn a_misread_line_is_counted_with_blank_and_comment_lines() {
        assert_eq!(
            misread("\n# c\r\n\r\n[a]\r\n\t\nkey"),
            (6, Syntax::NoEquals)
        );
        assert_eq!(misread("[a] b"), (1, Syntax::UnclosedHeader));
        assert_eq!(misread("[a #]"), (1, Syntax::UnclosedHeader));
        assert_eq!(misread(" [a]"), (1, Syntax::NoSection));
    }
}
