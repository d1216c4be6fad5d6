//! What STS takes: lengths and characters of the API model 2011-06-15, so that a mistake shows when
//! the config is read and not when the role is needed.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Bounds of one text parameter.
#[derive(Debug)]
pub struct Limit {
    /// As the API reference calls it.
    pub parameter: &'static str,
    length: RangeInclusive<usize>,
    /// Beside letters and digits.
    symbols: &'static str,
}

pub const ROLE_SESSION_NAME: Limit = Limit {
    parameter: "RoleSessionName",
    length: 2..=64,
    symbols: "_+=,.@-",
};

pub const SOURCE_IDENTITY: Limit = Limit {
    parameter: "SourceIdentity",
    ..ROLE_SESSION_NAME
};

pub const EXTERNAL_ID: Limit = Limit {
    parameter: "ExternalId",
    length: 2..=1224,
    symbols: "_+=,.@:/-",
};

pub const SERIAL_NUMBER: Limit = Limit {
    parameter: "SerialNumber",
    length: 9..=256,
    symbols: "_+=/:,.@-",
};

/// In bytes.
pub const LONGEST_WEB_IDENTITY_TOKEN: usize = 20_000;

pub const MOST_TAGS: usize = 50;
pub const MOST_POLICY_ARNS: usize = 10;

/// For roles; a role's own maximum may be lower.
pub const ROLE_LIFETIME: RangeInclusive<Duration> =
    Duration::from_mins(15)..=Duration::from_hours(12);

/// For a role that is assumed from a role, whatever that role's maximum ("role chaining").
pub const CHAINED_LIFETIME: RangeInclusive<Duration> =
    Duration::from_mins(15)..=Duration::from_hours(1);

/// For `GetSessionToken`; for the root user an hour at most.
pub const SESSION_LIFETIME: RangeInclusive<Duration> =
    Duration::from_mins(15)..=Duration::from_hours(36);

/// A parameter that STS would refuse. Its value is not shown: it may be anything that was put in
/// the wrong place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutOfBounds(String);

impl fmt::Display for OutOfBounds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for OutOfBounds {}

impl Limit {
    pub fn check(&self, text: &str) -> Result<(), OutOfBounds> {
        let takes = |it: char| it.is_ascii_alphanumeric() || self.symbols.contains(it);
        if self.length.contains(&text.chars().count()) && text.chars().all(takes) {
            return Ok(());
        }
        let Self {
            parameter,
            length,
            symbols,
        } = self;
        Err(OutOfBounds(format!(
            "{parameter} takes {} to {} letters, digits and `{symbols}`",
            length.start(),
            length.end()
        )))
    }
}

/// A session tag: a key of 1 to 128 and a value of up to 256 letters, digits, blanks and symbols,
/// of any script.
pub fn check_tag(key: &str, value: &str) -> Result<(), OutOfBounds> {
    let takes = |it: char| it.is_alphanumeric() || " _.:/=+-@".contains(it);
    let is_fine = (1..=128).contains(&key.chars().count())
        && value.chars().count() <= 256
        && key.chars().chain(value.chars()).all(takes);
    if is_fine {
        Ok(())
    } else {
        let problem = "a session tag takes a key of 1 to 128 and a value of up to 256 letters, \
                       digits, blanks and `_.:/=+-@`";
        Err(OutOfBounds(problem.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_characters_are_those_of_the_api_model() {
        let text = |length| "a".repeat(length);
        for (limit, least, most) in [
            (ROLE_SESSION_NAME, 2, 64),
            (SOURCE_IDENTITY, 2, 64),
            (EXTERNAL_ID, 2, 1224),
            (SERIAL_NUMBER, 9, 256),
        ] {
            assert!(limit.check(&text(least)).is_ok());
            assert!(limit.check(&text(most)).is_ok());
            for length in [least - 1, most + 1] {
                let problem = limit.check(&text(length)).unwrap_err().to_string();
                assert!(problem.starts_with(limit.parameter), "{problem}");
            }
            assert!(limit.check(&format!("{}\n", text(least))).is_err());
            assert!(limit.check(&format!("{}é", text(least))).is_err());
        }
        assert!(
            SERIAL_NUMBER
                .check("arn:aws:iam::123456789012:mfa/ops")
                .is_ok()
        );
        assert!(ROLE_SESSION_NAME.check("a:b").is_err());
        assert!(EXTERNAL_ID.check("a:b/c").is_ok());
    }

    #[test]
    fn a_tag_is_of_any_script() {
        assert!(check_tag("Größe", "").is_ok());
        assert!(check_tag(&"k".repeat(128), &"v".repeat(256)).is_ok());
        for (key, value) in [("", "v"), ("k", "a\nb"), ("k*", "v")] {
            assert!(check_tag(key, value).is_err(), "{key}");
        }
        assert!(check_tag(&"k".repeat(129), "").is_err());
        assert!(check_tag("k", &"v".repeat(257)).is_err());
    }
}
