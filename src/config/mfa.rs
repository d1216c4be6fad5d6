//! `[mfa]`: how people learn that they are needed.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::findings::Findings;
use super::table::{Entry, Table, Text};
use super::vocabulary::{self, Vocabulary};
use super::{Challenges, command, duration};
use crate::aws::sts::limit;
use crate::credentials::Warnings;

const VOCABULARY: Vocabulary<'_> = Vocabulary {
    place: vocabulary::MFA,
    keys: &["warn", "hook"],
};

/// Earlier than this, a warning would come before any session's beginning.
const WARNINGS: RangeInclusive<Duration> = Duration::from_secs(1)..=*limit::SESSION_LIFETIME.end();

/// Reads the table.
pub(super) fn read(mut table: Table<'_>, findings: &mut Findings) -> Challenges {
    let warnings = table
        .take("warn")
        .and_then(|entry| warnings(&entry, findings));
    let hook = table
        .take("hook")
        .and_then(|entry| command::read(&entry, findings));
    table.refuse_rest(&VOCABULARY, findings);
    Challenges {
        warnings: warnings.unwrap_or_default(),
        hook,
    }
}

fn warnings(entry: &Entry<'_>, findings: &mut Findings) -> Option<Warnings> {
    let texts = entry.strings("1h", findings)?;
    let [first, last] = texts.as_slice() else {
        findings
            .meaning(
                entry.key_span.clone(),
                "`warn` takes two durations: when a session's end is announced, and when once more",
            )
            .hint("as in `[\"1h\", \"10m\"]`");
        return None;
    };
    let (first, last, again) = (warning(first, findings), warning(last, findings), last);
    let (first, last) = (first?, last?);
    if first <= last {
        findings
            .refuse(again, "the second warning comes after the first")
            .hint("write the longer duration first: both count back from the session's end");
        return None;
    }
    Some(Warnings { first, last })
}

fn warning(text: &Text<'_>, findings: &mut Findings) -> Option<Duration> {
    match duration::parse(text.value) {
        Ok(duration) if WARNINGS.contains(&duration) => Some(duration),
        Ok(_) => {
            findings
                .refuse(text, "no session lives that long, or the warning is none")
                .hint("write `1s` to `36h`");
            None
        }
        Err(problem) => {
            findings
                .refuse(text, problem.to_string())
                .hint(duration::HINT);
            None
        }
    }
}
