//! One section of a profile file: which one a header means, and the properties that it has.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use super::FileKind;
use super::location::DEFAULT_PROFILE;
use super::parse::{self, BLANK, COMMENT, RawProperty};
use super::problem::Oddity;

/// A profile, an `sso-session` or a `services` section. Any value may be a key, so that values are
/// wiped when dropped, never printed, and there is no `Clone`.
#[derive(Default)]
pub struct Section {
    properties: BTreeMap<String, Zeroizing<String>>,
}

impl Section {
    /// The value of `key`, in any case. It is empty where nothing follows the `=`, and has several
    /// lines where it was continued.
    pub fn property(&self, key: &str) -> Option<&str> {
        let value = self.properties.get(&key.to_ascii_lowercase())?;
        Some(value.as_str())
    }

    /// The properties nested below `key`, as those of `s3 =`.
    pub fn sub_properties(&self, key: &str) -> impl Iterator<Item = (&str, &str)> {
        // Only a value with nothing after its `=` starts with a line break, and only below such a
        // one did the parser see to it that each line is a property.
        let nested = self
            .property(key)
            .and_then(|value| value.strip_prefix('\n'));
        nested
            .into_iter()
            .flat_map(str::lines)
            .filter_map(parse::sub_property)
    }

    /// The value of `sub_key` nested below `key`, each in any case; the last one, where there are
    /// several.
    pub fn sub_property(&self, key: &str, sub_key: &str) -> Option<&str> {
        let found = self
            .sub_properties(key)
            .filter(|(name, _)| name.eq_ignore_ascii_case(sub_key));
        found.last().map(|(_, value)| value)
    }

    /// The keys of all properties, in lower case and in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.properties.keys().map(String::as_str)
    }

    /// Takes in all of `other`, whose properties replace those of the same key.
    pub(super) fn merge(&mut self, other: Self) {
        self.properties.extend(other.properties);
    }

    /// Takes in a property as written. What is odd about it does not always keep it out.
    pub(super) fn insert(&mut self, raw: &RawProperty<'_>) -> Option<Oddity> {
        if !is_identifier(raw.name) {
            return Some(Oddity::InvalidPropertyName);
        }
        // Joined in one piece: a text that grows leaves unwiped copies behind.
        let value = Zeroizing::new(raw.value_lines.join("\n"));
        self.properties.insert(raw.name.to_ascii_lowercase(), value);
        let mut continuations = raw.value_lines.iter().skip(1);
        continuations
            .any(|line| line.starts_with(COMMENT))
            .then_some(Oddity::CommentInValue)
    }
}

impl fmt::Debug for Section {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.keys()).finish()
    }
}

/// What a header means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header<'text> {
    /// `[default]` in the config file, which counts only where there is no `[profile default]`.
    BareDefault,
    Profile(&'text str),
    SsoSession(&'text str),
    Services(&'text str),
}

impl<'text> Header<'text> {
    pub(super) fn of(kind: FileKind, text: &'text str) -> Result<Self, Oddity> {
        let name = || text.to_owned();
        match (kind, text.split_once(BLANK)) {
            (FileKind::Config, None) if text == DEFAULT_PROFILE => Ok(Self::BareDefault),
            (FileKind::Config, None) => Err(Oddity::NoSectionType { name: name() }),
            (FileKind::Config, Some(("profile", name))) => named(name).map(Self::Profile),
            (FileKind::Config, Some(("sso-session", name))) => named(name).map(Self::SsoSession),
            (FileKind::Config, Some(("services", name))) => named(name).map(Self::Services),
            (FileKind::Config, Some(_)) => Err(Oddity::UnknownSectionType { name: name() }),
            (FileKind::Credentials, None) => named(text).map(Self::Profile),
            (FileKind::Credentials, Some(_)) => {
                Err(Oddity::SectionTypeInCredentials { name: name() })
            }
        }
    }
}

fn named(name: &str) -> Result<&str, Oddity> {
    let name = parse::trim(name);
    if is_identifier(name) {
        Ok(name)
    } else {
        Err(Oddity::InvalidSectionName {
            name: name.to_owned(),
        })
    }
}

/// The characters that all SDKs take. The CLI alone also takes quoted names with blanks in them,
/// as in `[profile "my prof"]`.
fn is_identifier(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-/.%@:+".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_means_a_section_of_its_file() {
        let config = |text| Header::of(FileKind::Config, text);
        let credentials = |text| Header::of(FileKind::Credentials, text);
        assert_eq!(config("default"), Ok(Header::BareDefault));
        assert_eq!(config("profile \t a"), Ok(Header::Profile("a")));
        assert_eq!(config("profile default"), Ok(Header::Profile("default")));
        assert_eq!(config("sso-session a"), Ok(Header::SsoSession("a")));
        assert_eq!(config("services a"), Ok(Header::Services("a")));
        assert_eq!(credentials("default"), Ok(Header::Profile("default")));
        assert_eq!(credentials("profile"), Ok(Header::Profile("profile")));
        for text in ["a", "", "profile", "plugins", "Profile a", "other a"] {
            assert!(config(text).is_err(), "{text}");
        }
        for text in ["profile a b", "profile \"a\"", "profile a!", "profile é"] {
            let problem = config(text);
            assert!(
                matches!(problem, Err(Oddity::InvalidSectionName { .. })),
                "{text}"
            );
        }
        for text in ["", "profile a", "sso-session a", "a b"] {
            assert!(credentials(text).is_err(), "{text}");
        }
    }
}
