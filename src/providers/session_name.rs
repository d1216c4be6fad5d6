//! The name of a role's session, which `CloudTrail` shows: a text, or one with places to be filled.

use std::fmt;

/// A name of 2 to 64 letters, digits and `_+=,.@-` once it is filled in (STS API reference,
/// `RoleSessionName`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionName(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    Text(String),
    Host,
    Identity,
}

/// What is wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidSessionName {
    Characters,
    Length,
    Place,
}

impl fmt::Display for InvalidSessionName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Characters => "a session name is letters, digits and `_+=,.@-`",
            Self::Length => "a session name has 2 to 64 characters",
            Self::Place => "only `{host}` and `{identity}` can be filled in",
        })
    }
}

impl std::error::Error for InvalidSessionName {}

const LONGEST: usize = 64;

const PLACES: [(&str, Part); 2] = [("{host}", Part::Host), ("{identity}", Part::Identity)];

impl SessionName {
    /// A name without places, as a profile's `role_session_name`.
    pub fn literal(text: &str) -> Result<Self, InvalidSessionName> {
        if !text.chars().all(is_fit) {
            return Err(InvalidSessionName::Characters);
        }
        if !(2..=LONGEST).contains(&text.len()) {
            return Err(InvalidSessionName::Length);
        }
        Ok(Self(vec![Part::Text(text.to_owned())]))
    }

    /// A name with `{host}` and `{identity}` in it.
    pub fn template(text: &str) -> Result<Self, InvalidSessionName> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            let (before, from) = rest.split_at(start);
            let place = PLACES.iter().find_map(|(place, part)| {
                let after = from.strip_prefix(place)?;
                Some((part.clone(), after))
            });
            let (part, after) = place.ok_or(InvalidSessionName::Place)?;
            parts.extend((!before.is_empty()).then(|| Part::Text(before.to_owned())));
            parts.push(part);
            rest = after;
        }
        if parts.is_empty() {
            return Self::literal(text);
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.to_owned())));
        let name = Self(parts);
        let texts = || {
            name.0.iter().filter_map(|part| match part {
                Part::Text(text) => Some(text),
                Part::Host | Part::Identity => None,
            })
        };
        if !texts().all(|text| text.chars().all(is_fit)) {
            return Err(InvalidSessionName::Characters);
        }
        if texts().map(String::len).sum::<usize>() > LONGEST {
            return Err(InvalidSessionName::Length);
        }
        Ok(name)
    }

    /// What is filled in is cut, and cleared of what a name cannot have, since it must not keep a
    /// role from being assumed.
    pub fn filled(&self, host: &str, identity: &str) -> String {
        let texts = self.0.iter().map(|part| match part {
            Part::Text(text) => text,
            Part::Host => host,
            Part::Identity => identity,
        });
        let mut name: String = texts
            .flat_map(str::chars)
            .filter(|&it| is_fit(it))
            .collect();
        name.truncate(LONGEST);
        while name.len() < 2 {
            name.push('-');
        }
        name
    }
}

impl Default for SessionName {
    /// Says in `CloudTrail` what made the session, and for what.
    fn default() -> Self {
        Self(vec![Part::Text("credd-".to_owned()), Part::Identity])
    }
}

fn is_fit(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_+=,.@-".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_are_filled_in() {
        let name = SessionName::template("{identity}@{host}").unwrap();
        assert_eq!(
            name.filled("web-1.example", "billing"),
            "billing@web-1.example"
        );
        assert_eq!(SessionName::default().filled("h", "ops"), "credd-ops");
        assert_eq!(
            SessionName::template("fixed").unwrap().filled("h", "i"),
            "fixed"
        );
    }

    #[test]
    fn what_no_name_can_be_is_refused() {
        use InvalidSessionName::{Characters, Length, Place};
        let long = "x".repeat(65);
        let cases = [
            ("a", Length),
            ("", Length),
            ("a b", Characters),
            (&*long, Length),
        ];
        for (text, problem) in cases {
            assert_eq!(SessionName::literal(text), Err(problem), "{text}");
            assert_eq!(SessionName::template(text), Err(problem), "{text}");
        }
        for text in ["{caller}", "{host", "a{", "{}"] {
            assert_eq!(SessionName::template(text), Err(Place), "{text}");
        }
        assert_eq!(SessionName::template("{host}/x"), Err(Characters));
        assert_eq!(SessionName::literal("{host}"), Err(Characters));
    }

    proptest! {
        #[test]
        fn whatever_is_filled_in_sts_takes_the_name(
            template in "[a-z]{0,5}(\\{host\\}|\\{identity\\})[a-z]{0,70}", host in ".{0,80}", identity in "[a-z.]{0,64}",
        ) {
            if let Ok(name) = SessionName::template(&template) {
                let filled = name.filled(&host, &identity);
                prop_assert!((2..=64).contains(&filled.len()) && filled.chars().all(is_fit), "{filled}");
            }
        }
    }
}
