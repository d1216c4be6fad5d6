//! `[audit]`: where the audit log goes.

use super::findings::Findings;
use super::table::Table;
use super::vocabulary::{self, Vocabulary};
use crate::audit::{Config, Destination};

const VOCABULARY: Vocabulary<'_> = Vocabulary {
    place: vocabulary::AUDIT,
    keys: &["to"],
};

/// Reads the table.
pub(super) fn read(mut table: Table<'_>, findings: &mut Findings) -> Config {
    let text = table.string("to", "journal", findings);
    let to = text.and_then(|text| match Destination::parse(text.value) {
        Ok(to) => Some(to),
        Err(problem) => {
            findings
                .refuse(&text, problem.to_string())
                .hint("as in `\"journal\"`; it cannot be switched off");
            None
        }
    });
    table.refuse_rest(&VOCABULARY, findings);
    Config { to }
}
