//! `[serve.limits]`: what one caller may take up.

use std::ops::RangeInclusive;

use crate::config::findings::Findings;
use crate::config::table::Table;
use crate::config::vocabulary::{self, Vocabulary};
use crate::serve::Limits;

const VOCABULARY: Vocabulary<'_> = Vocabulary {
    place: vocabulary::LIMITS,
    keys: &["connections", "requests-per-second"],
};

/// One caller is to leave descriptors to others.
const CONNECTIONS: RangeInclusive<u32> = 1..=1024;

/// More than one thread can answer.
const REQUESTS_PER_SECOND: RangeInclusive<u32> = 1..=1_000_000;

pub(super) fn read(mut table: Table<'_>, findings: &mut Findings) -> Limits {
    let mut number = |key: &str, bounds| table.take(key)?.number(bounds, findings);
    let (connections, requests_per_second) = (
        number("connections", CONNECTIONS),
        number("requests-per-second", REQUESTS_PER_SECOND),
    );
    table.refuse_rest(&VOCABULARY, findings);
    let usual = Limits::default();
    Limits {
        connections: connections.map_or(usual.connections, |number| number as usize),
        requests_per_second: requests_per_second.unwrap_or(usual.requests_per_second),
    }
}
