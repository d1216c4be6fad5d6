//! How the identities do, in a line for a person, and whether that is good enough to be called
//! ready: pure.

use crate::challenge::Open;
use crate::clock::Timestamp;
use crate::credentials::FailureClass;
use crate::identity::IdentityName;
use crate::refresh::{Snapshot, State};

/// Identities in trouble that are named; the others are counted.
const NAMED: usize = 3;

/// Whether nothing more is to be waited for: clients get credentials, others are derived from them,
/// or only a person can bring that about.
pub(super) fn is_settled(snapshot: &Snapshot, now: Timestamp) -> bool {
    let waits_for_a_person = snapshot
        .trouble
        .as_ref()
        .is_some_and(|trouble| trouble.failure.class == FailureClass::NeedsPerson);
    snapshot.is_usable(now) || waits_for_a_person
}

/// What `systemctl status` shows.
pub(super) fn line(
    identities: &[(&IdentityName, &Snapshot)],
    open: &[Open],
    now: Timestamp,
) -> String {
    let asked = asked(open);
    let mut troubled = identities
        .iter()
        .filter_map(|(name, it)| Some(format!("{name} {}", trouble(it, now)?)));
    let named: Vec<String> = troubled.by_ref().take(NAMED).collect();
    let more = match troubled.count() {
        0 => None,
        more => Some(format!("and {more} more: `credd status`")),
    };
    let clauses = std::iter::once(states(identities, now));
    let clauses = clauses.chain(asked).chain(named).chain(more);
    clauses.collect::<Vec<_>>().join("; ")
}

/// `3 identities: 2 fresh, 1 late`
fn states(identities: &[(&IdentityName, &Snapshot)], now: Timestamp) -> String {
    const ALL: [State; 6] = [
        State::Fresh,
        State::Late,
        State::Stale,
        State::Warming,
        State::Expired,
        State::Failed,
    ];
    let plural = if identities.len() == 1 { "y" } else { "ies" };
    let counts = ALL.iter().filter_map(|state| {
        let of_state = identities.iter().filter(|(_, it)| it.state(now) == *state);
        let count = of_state.count();
        (count > 0).then(|| format!("{count} {}", state.as_str()))
    });
    let counts: Vec<String> = counts.collect();
    let colon = if counts.is_empty() { "" } else { ": " };
    format!(
        "{} identit{plural}{colon}{}",
        identities.len(),
        counts.join(", ")
    )
}

/// What a person is to do.
fn asked(open: &[Open]) -> Option<String> {
    let mut pending = open.iter().filter(|open| open.pending_since.is_some());
    let first = pending.next()?;
    let identity = &first.subject.identity;
    let by = first
        .ends
        .map_or(String::new(), |ends| format!(" by {ends}"));
    let more = match pending.count() {
        0 => String::new(),
        more => format!(" (and {more} more: `credd mfa --list`)"),
    };
    Some(format!(
        "an MFA code is needed{by}: run `credd mfa {identity}`{more}"
    ))
}

/// What is wrong with one beyond its state. Those that wait for a person are told of by what they
/// ask.
fn trouble(snapshot: &Snapshot, now: Timestamp) -> Option<String> {
    let class = snapshot.trouble.as_ref()?.failure.class;
    if class == FailureClass::NeedsPerson {
        return None;
    }
    let what = if snapshot.is_usable(now) {
        "cannot be refreshed"
    } else {
        "has no credentials"
    };
    Some(format!("{what} ({})", class.as_str()))
}
