//! One problem of a config, and how it is shown: cited, underlined, with what to do about it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Something that whoever wrote the config has to correct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub path: Arc<Path>,
    /// Counted from 1, like the column.
    pub line: usize,
    /// In characters.
    pub column: usize,
    /// How many characters are meant, at least one.
    pub length: usize,
    pub message: String,
    pub hint: Option<String>,
    /// The line as it may be shown: cut before anything that could be a secret, and then with `…` at
    /// its end.
    pub source_line: String,
}

/// Stands for what is not shown.
pub(super) const CUT: char = '…';

/// Everything that is wrong with a config, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    pub all: Vec<Problem>,
}

/// More than this is the wrong file rather than a config with problems.
const MOST_SHOWN: usize = 100;

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.all.iter().take(MOST_SHOWN).enumerate() {
            if index > 0 {
                formatter.write_str("\n\n")?;
            }
            problem.fmt(formatter)?;
        }
        match self.all.len().saturating_sub(MOST_SHOWN) {
            0 => Ok(()),
            more => write!(formatter, "\n\nand {more} more; is this the right file?"),
        }
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, line, column) = (self.path.display(), self.line, self.column);
        let gutter = line.to_string().len();
        let (indent, carets) = self.underline();
        writeln!(formatter, "{path}:{line}:{column}: {}", self.message)?;
        writeln!(formatter, "{:gutter$} |", "")?;
        writeln!(
            formatter,
            "{}",
            format!("{line} | {}", self.source_line).trim_end()
        )?;
        write!(formatter, "{:gutter$} | {:indent$}{:^<carets$}", "", "", "")?;
        if let Some(hint) = &self.hint {
            write!(formatter, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl Problem {
    /// How far the carets are indented and how many there are. What is cut away is underlined
    /// where it is missing.
    fn underline(&self) -> (usize, usize) {
        let shown = self.source_line.chars().count();
        let indent = self.column.saturating_sub(1);
        let cut = shown.saturating_sub(1);
        // The blank before the cut stands for nothing.
        let indent = if self.source_line.ends_with(CUT) && indent + 1 >= cut {
            cut
        } else {
            indent.min(shown)
        };
        let carets = self.length.min(shown.saturating_sub(indent)).max(1);
        (indent, carets)
    }
}
