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
        let is_fit = (1..=LONGEST).contains(&text.len())
            && !text.starts_with('.')
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if is_fit {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_default(&self) -> bool {
        self.as_str() == DEFAULT
    }
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
}
