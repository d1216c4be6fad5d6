//! Where a secret is kept, as written: `credential:NAME` or `file:PATH`.

use std::path::Path;

use super::findings::Findings;
use super::table::Entry;
use crate::secret_place::SecretPlace;

/// Reads such a place; a relative path starts from `base`. The value is never shown: it may be the
/// secret itself.
pub(super) fn read(entry: &Entry<'_>, base: &Path, findings: &mut Findings) -> Option<SecretPlace> {
    entry.hide(findings);
    let text = entry.string("credential:NAME", findings)?;
    let place = match SecretPlace::parse(text.value) {
        Ok(place) => place,
        Err(problem) => {
            findings
                .meaning(text.span, problem.to_string())
                .hint("if that is the secret itself, count it as known to others: replace it");
            return None;
        }
    };
    if let SecretPlace::File(path) = &place
        && path.starts_with("~")
    {
        findings
            .meaning(text.span, "`~` has no meaning in the config")
            .hint("write the path out: the daemon's home need not be yours");
        return None;
    }
    Some(place.beneath(base))
}
