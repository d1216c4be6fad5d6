//! Amazon Resource Names: `arn:partition:service:region:account:resource`.

use std::fmt;

/// A name of the right form. Whether there is such a thing only AWS knows.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Arn(String);

/// The text is not shown: it may be anything that was put in the wrong place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidArn;

/// STS takes names of 20 to 2048 characters (API model 2011-06-15, `arnType`); the lower bound
/// follows from the form.
const LONGEST: usize = 2048;

impl Arn {
    /// Six parts, of which region and account alone may be empty, of printable ASCII without
    /// blanks: so a name may be shown anywhere.
    pub fn parse(text: &str) -> Result<Self, InvalidArn> {
        let arn = Self(text.to_owned());
        let is_fine = text.len() <= LONGEST
            && text.bytes().all(|byte| byte.is_ascii_graphic())
            && arn.part(0) == "arn"
            && [1, 2, 5].iter().all(|&number| !arn.part(number).is_empty());
        is_fine.then_some(arn).ok_or(InvalidArn)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn partition(&self) -> &str {
        self.part(1)
    }

    pub fn service(&self) -> &str {
        self.part(2)
    }

    /// Empty in names of IAM and STS.
    pub fn region(&self) -> &str {
        self.part(3)
    }

    pub fn account(&self) -> &str {
        self.part(4)
    }

    /// All of the rest: `role/path/name`.
    pub fn resource(&self) -> &str {
        self.part(5)
    }

    /// Path and name of a role: `team/billing`.
    pub fn role_name(&self) -> &str {
        let resource = self.resource();
        resource.strip_prefix("role/").unwrap_or(resource)
    }

    /// Whether it names a role of IAM, which alone can be assumed.
    pub fn is_role(&self) -> bool {
        let name = self.resource().strip_prefix("role/");
        self.service() == "iam"
            && !self.account().is_empty()
            && name.is_some_and(|name| !name.is_empty() && !name.ends_with('/'))
    }

    fn part(&self, number: usize) -> &str {
        self.0.splitn(6, ':').nth(number).unwrap_or_default()
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Arn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for InvalidArn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .write_str("no ARN: it has six parts, as in `arn:aws:iam::123456789012:role/billing`")
    }
}

impl std::error::Error for InvalidArn {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_falls_into_its_six_parts() {
        let arn = Arn::parse("arn:aws-cn:iam::123456789012:role/a/b:c").unwrap();
        assert_eq!(arn.partition(), "aws-cn");
        assert_eq!((arn.service(), arn.region()), ("iam", ""));
        assert_eq!(arn.account(), "123456789012");
        assert_eq!(arn.resource(), "role/a/b:c");
        assert!(arn.is_role());
    }

    #[test]
    fn only_roles_of_iam_are_roles() {
        for text in [
            "arn:aws:iam::1:user/a",
            "arn:aws:iam::1:role/",
            "arn:aws:iam::1:role/a/",
            "arn:aws:iam:::role/a",
            "arn:aws:sts::1:assumed-role/a/b",
        ] {
            assert!(!Arn::parse(text).unwrap().is_role(), "{text}");
        }
    }

    #[test]
    fn what_is_of_another_form_is_refused() {
        let long = format!("arn:aws:iam::1:role/{}", "a".repeat(LONGEST));
        for text in [
            "",
            "role/a",
            "arn:aws:iam::123456789012",
            "arn::iam::1:role/a",
            "arn:aws:::1:role/a",
            "arn:aws:iam::1:",
            "ARN:aws:iam::1:role/a",
            "arn:aws:iam::1:role/a b",
            "arn:aws:iam::1:role/a\n",
            "arn:aws:iam::1:role/é",
            &long,
        ] {
            assert_eq!(Arn::parse(text), Err(InvalidArn), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_parts_make_up_the_whole(text in "arn:[a-z-]{0,4}:[a-z]{0,3}:[a-z]{0,2}:[0-9]{0,3}:[ -~]{0,9}") {
            if let Ok(arn) = Arn::parse(&text) {
                let parts = ["arn", arn.partition(), arn.service(), arn.region(), arn.account(), arn.resource()];
                prop_assert_eq!(parts.join(":"), text);
            }
        }
    }
}
