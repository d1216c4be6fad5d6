//! The words of the config, and what to say about words that are none.

use super::identity;

/// Every key, with the table that it belongs in, but for those that the providers of identities
/// have.
const KEYS: [(&str, &str); 49] = [
    ("serve", TOP),
    ("identity", TOP),
    ("allow", TOP),
    ("mfa", TOP),
    ("audit", TOP),
    ("http", SERVE),
    ("unix", SERVE),
    ("imds", SERVE),
    ("metrics", SERVE),
    ("limits", SERVE),
    ("listen", HTTP),
    ("path", UNIX),
    ("path", OWN_SOCKET),
    ("identity", OWN_SOCKET),
    ("owner", OWN_SOCKET),
    ("group", OWN_SOCKET),
    ("mode", OWN_SOCKET),
    ("listen", IMDS),
    ("identity", IMDS),
    ("region", IMDS),
    ("listen", METRICS),
    ("beyond-this-host", METRICS),
    ("connections", LIMITS),
    ("requests-per-second", LIMITS),
    ("caller", ALLOW),
    ("identity", ALLOW),
    ("session-name", ALLOW),
    ("session-policy", ALLOW),
    ("policy-arns", ALLOW),
    ("tags", ALLOW),
    ("transitive-tags", ALLOW),
    ("source-identity", ALLOW),
    ("user", CALLER),
    ("group", CALLER),
    ("unit", CALLER),
    ("executable", CALLER),
    ("container", CALLER),
    ("token", CALLER),
    ("listener", CALLER),
    ("tcp", CALLER),
    ("group", TOKEN),
    ("mode", TOKEN),
    ("rotate", TOKEN),
    ("overlap", TOKEN),
    ("to", AUDIT),
    ("warn", MFA),
    ("hook", MFA),
    ("provider", IDENTITY),
    ("totp-secret", MFA_CODE),
];

/// Those whose values may hold a secret, or be one by mistake.
const HIDDEN: [&str; 3] = ["hook", "totp-secret", "token"];

pub(super) const TOP: &str = "the top level";
pub(super) const SERVE: &str = "`[serve]`";
pub(super) const HTTP: &str = "`[serve.http]`";
pub(super) const UNIX: &str = "`[serve.unix]`";
pub(super) const OWN_SOCKET: &str = "`[serve.unix.NAME]`";
pub(super) const IMDS: &str = "`[serve.imds]`";
pub(super) const METRICS: &str = "`[serve.metrics]`";
pub(super) const LIMITS: &str = "`[serve.limits]`";
pub(super) const AUDIT: &str = "`[audit]`";
pub(super) const MFA: &str = "`[mfa]`";
pub(super) const ALLOW: &str = "`[[allow]]`";
pub(super) const CALLER: &str = "`caller`";
pub(super) const TOKEN: &str = "`[token.NAME]`";
pub(super) const IDENTITY: &str = "`[identity.NAME]`";
pub(super) const MFA_CODE: &str = "`mfa-code`";

/// The tables that such a key belongs in.
fn places_of(key: &str) -> Vec<&'static str> {
    let of_provider = identity::has_key(key).then_some(IDENTITY);
    let of_tables = KEYS.iter().filter(|(known, _)| *known == key);
    let of_tables = of_tables.map(|(_, place)| *place);
    of_provider.into_iter().chain(of_tables).collect()
}

/// Whether any table has such a key.
pub(super) fn is_known(key: &str) -> bool {
    !places_of(key).is_empty()
}

/// Whether any table has such a key, and its value may be shown.
pub(super) fn is_shown(key: &str) -> bool {
    is_known(key) && !HIDDEN.contains(&key) && !identity::hides(key)
}

/// What the keys of a table can be.
pub(super) struct Vocabulary<'a> {
    /// The table in messages.
    pub(super) place: &'a str,
    pub(super) keys: &'a [&'a str],
}

impl Vocabulary<'_> {
    /// What to do about a key that the table does not have.
    pub(super) fn hint(&self, key: &str) -> String {
        if let Some(key) = nearest(key, self.keys) {
            return format!("did you mean `{key}`?");
        }
        let places = places_of(key);
        if !places.is_empty() {
            return format!("`{key}` belongs in {}", joined(&places, "or"));
        }
        format!("{} takes {}", self.place, listed(self.keys))
    }
}

/// The longest name that is shown. A secret access key has 40 characters, and one that was pasted
/// looks like a key of TOML where it stands alone; an access key id, of 20, is no secret.
const LONGEST: usize = 32;

/// Whether a name may be shown.
pub(super) fn is_presentable(name: &str) -> bool {
    name.chars().count() <= LONGEST
}

/// A name in a message.
pub(super) fn quoted(name: &str) -> String {
    if is_presentable(name) {
        format!("`{}`", name.escape_debug())
    } else {
        format!("of {} characters", name.chars().count())
    }
}

/// The word that was most likely meant: at most a third of its letters are wrong.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    if !is_presentable(word) {
        return None;
    }
    let word = word.to_lowercase().replace('_', "-");
    candidates
        .iter()
        .filter(|candidate| is_presentable(candidate))
        .map(|candidate| (strsim::osa_distance(&word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Words as a sentence has them.
pub(super) fn listed(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    joined(&words, "and")
}

fn joined<S: AsRef<str>>(words: &[S], last_by: &str) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.split_last() {
        Some((last, others)) if !others.is_empty() => {
            format!("{} {last_by} {last}", others.join(", "))
        }
        _ => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const MANUAL: &str = include_str!("../../deploy/packaging/credd.toml.5");

    /// Each key with the heading above it, as `credd.toml(5)` has them.
    fn documented() -> BTreeSet<(String, String)> {
        let mut heading = "";
        let mut keys = BTreeSet::new();
        for (line, next) in MANUAL.lines().zip(MANUAL.lines().skip(1)) {
            if let Some(text) = line.strip_prefix(".SS ") {
                heading = text;
            }
            if let (".TP", Some(key)) = (line, next.strip_prefix(".B ")) {
                keys.insert((heading.replace(r"\(dq", "\""), key.replace(r"\-", "-")));
            }
        }
        keys
    }

    #[test]
    fn the_manual_has_every_key_and_no_other() {
        let of_tables = KEYS
            .iter()
            .filter(|(_, place)| ![TOP, SERVE].contains(place))
            .map(|(key, place)| (place.trim_matches('`').to_owned(), (*key).to_owned()));
        let of_providers = identity::keys_of_providers().map(|(provider, key)| {
            let heading = format!("provider = \"{provider}\"");
            (heading, key.to_owned())
        });
        let known: BTreeSet<_> = of_tables.chain(of_providers).collect();
        let mut documented = documented();
        // Of an MFA code's own table, known to the reader of that alone.
        assert!(documented.remove(&("mfa-code".to_owned(), "command".to_owned())));
        assert_eq!(documented, known);
    }

    #[test]
    fn the_manual_has_every_table() {
        let tables = KEYS
            .iter()
            .filter(|(_, place)| [TOP, SERVE].contains(place));
        for (table, place) in tables {
            let heading = match *place {
                TOP => format!(".SS [{table}"),
                _ => format!(".SS [serve.{table}"),
            };
            let is_there =
                MANUAL.contains(&heading) || MANUAL.contains(&format!(".SS [[{table}]]"));
            assert!(is_there, "{heading}");
        }
    }
}
