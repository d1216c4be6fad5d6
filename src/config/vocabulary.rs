//! The words of the config, and what to say about words that are none.

/// Every key, with the table that it belongs in.
const KEYS: [(&str, &str); 15] = [
    ("serve", TOP),
    ("identity", TOP),
    ("http", SERVE),
    ("unix", SERVE),
    ("listen", HTTP),
    ("path", UNIX),
    ("provider", IDENTITY),
    ("profile", IDENTITY),
    ("config-file", IDENTITY),
    ("credentials-file", IDENTITY),
    ("uri", IDENTITY),
    ("token-file", IDENTITY),
    ("endpoint", IDENTITY),
    ("endpoint-mode", IDENTITY),
    ("instance-profile-name", IDENTITY),
];

pub(super) const TOP: &str = "the top level";
pub(super) const SERVE: &str = "`[serve]`";
pub(super) const HTTP: &str = "`[serve.http]`";
pub(super) const UNIX: &str = "`[serve.unix]`";
pub(super) const IDENTITY: &str = "`[identity.NAME]`";

/// Whether any table has such a key.
pub(super) fn is_known(key: &str) -> bool {
    KEYS.iter().any(|(known, _)| *known == key)
}

/// What the keys of a table can be.
pub(super) struct Vocabulary<'a> {
    /// The table in messages.
    pub(super) place: &'a str,
    pub(super) keys: &'a [&'a str],
    /// Keys that credd is to have, but not yet.
    pub(super) planned: &'a [&'a str],
}

impl Vocabulary<'_> {
    /// What to do about a key that the table does not have.
    pub(super) fn hint(&self, key: &str) -> String {
        if let Some(key) = nearest(key, self.keys) {
            return format!("did you mean `{key}`?");
        }
        if let Some((key, place)) = KEYS.iter().find(|(known, _)| *known == key) {
            return format!("`{key}` belongs in {place}");
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
        .map(|candidate| (strsim::osa_distance(&word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Words as a sentence has them.
pub(super) fn listed(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => quoted.concat(),
    }
}
