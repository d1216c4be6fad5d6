//! The name of an identity: a set of credentials that credd keeps.

use std::sync::Arc;

/// 1 to 64 letters, digits, `-`, `_` and `.`, not starting with a dot: safe in a URL path, in a
/// file name and on a command line without quoting.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityName(Arc<str>);

/// The identity that exists without a config, and that a request without a name means when its
/// caller may have several.
pub const DEFAULT: &str = "default";

const LONGEST: usize = 64;

/// Stands between a name and the label of one of its narrowings, in names that nobody can write.
const NARROWED: char = '@';

/// The longest label of a narrowing.
const LONGEST_LABEL: usize = 32;

/// What is wrong with a name.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidName;

impl std::fmt::Display for InvalidName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(
            "an identity name is 1 to 64 letters, digits, `-`, `_` and `.`, and does not start \
             with a dot",
        )
    }
}

impl std::error::Error for InvalidName {}

impl IdentityName {
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let is_name = (1..=LONGEST).contains(&text.len())
            && !text.starts_with('.')
            && text.chars().all(is_fit);
        if is_name {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName)
        }
    }

    /// The name of this identity as it is narrowed for some of its callers: `billing@worker`. No
    /// config and no request can name it. Of `label` is kept what a name can have, 32 letters of it
    /// at most.
    #[must_use]
    pub fn narrowed(&self, label: &str) -> Self {
        let label = label.chars().take(LONGEST_LABEL);
        let label = label.map(|letter| if is_fit(letter) { letter } else { '-' });
        let name = self.base().chars().chain([NARROWED]).chain(label);
        Self(name.collect::<String>().into())
    }

    /// The name without the label of a narrowing: the one that callers know.
    pub fn base(&self) -> &str {
        let base = self.0.split_once(NARROWED);
        base.map_or(self.as_str(), |(base, _)| base)
    }

    pub fn is_narrowed(&self) -> bool {
        self.0.contains(NARROWED)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_default(&self) -> bool {
        self.as_str() == DEFAULT
    }
}

fn is_fit(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-_.".contains(letter)
}

impl Default for IdentityName {
    fn default() -> Self {
        Self(DEFAULT.into())
    }
}

impl std::str::FromStr for IdentityName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text)
    }
}

impl std::fmt::Display for IdentityName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_need_quoting_are_refused() {
        for name in ["billing", "a", "Team_1.prod-eu", &"x".repeat(64)] {
            assert!(IdentityName::parse(name).is_ok(), "{name}");
        }
        for name in [
            "",
            ".hidden",
            "..",
            "a/b",
            "a b",
            "a%2f",
            "é",
            &"x".repeat(65),
        ] {
            assert!(IdentityName::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_narrowed_name_is_bounded_and_cannot_be_written() {
        let billing = IdentityName::parse("billing").unwrap();
        let longest = "x".repeat(100);
        for (label, name) in [
            ("worker", "billing@worker".to_owned()),
            ("a/b@c é", "billing@a-b-c--".to_owned()),
            ("", "billing@".to_owned()),
            (&longest, format!("billing@{}", "x".repeat(32))),
        ] {
            let narrowed = billing.narrowed(label);
            assert_eq!(narrowed.as_str(), name);
            assert_eq!(narrowed.base(), "billing");
            assert!(narrowed.is_narrowed() && !billing.is_narrowed());
            assert_eq!(IdentityName::parse(&name), Err(InvalidName));
            assert_eq!(narrowed.narrowed("x").as_str(), "billing@x");
        }
        assert_eq!(billing.base(), "billing");
    }
}
