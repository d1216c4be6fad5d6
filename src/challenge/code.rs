//! The code that an MFA device shows.

use std::fmt;

use zeroize::Zeroizing;

use crate::secret::Secret;

/// What STS takes as `TokenCode`: exactly this many digits (STS API reference, `AssumeRole` and
/// `GetSessionToken`).
const DIGITS: usize = 6;

/// A one-time password. Spent as soon as STS has seen it, and still not for anybody's eyes.
pub struct MfaCode(Secret);

/// What a person typed is no MFA code. Never holds what was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidCode {
    /// How many digits it has.
    Count(usize),
    NotDigits,
}

impl fmt::Display for InvalidCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(0) => formatter.write_str("no MFA code was given; type the six digits"),
            Self::Count(count) => write!(
                formatter,
                "an MFA code has exactly six digits, and this one has {count}; type the code that \
                 the device shows now"
            ),
            Self::NotDigits => formatter.write_str(
                "an MFA code is six digits and nothing else; type the code that the device shows \
                 now",
            ),
        }
    }
}

impl std::error::Error for InvalidCode {}

impl MfaCode {
    /// Reads what a person typed or a command printed: six digits, with blanks anywhere, since
    /// devices show `123 456`.
    pub fn parse(text: &str) -> Result<Self, InvalidCode> {
        // Room for all that is kept: a buffer that grows leaves unwiped copies behind.
        let mut digits = Zeroizing::new(String::with_capacity(DIGITS));
        let mut count: usize = 0;
        for character in text.chars().filter(|character| !character.is_whitespace()) {
            if !character.is_ascii_digit() {
                return Err(InvalidCode::NotDigits);
            }
            count = count.saturating_add(1);
            if count <= DIGITS {
                digits.push(character);
            }
        }
        if count != DIGITS {
            return Err(InvalidCode::Count(count));
        }
        Ok(Self::of(std::mem::take(&mut *digits)))
    }

    /// The code that a device has computed.
    pub(super) fn of(digits: String) -> Self {
        Self(Secret::from(digits))
    }

    /// The digits, for the one request that spends them.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for MfaCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MfaCode")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn six_digits_are_taken_however_a_device_groups_them() {
        for text in [
            "012345",
            " 012345\n",
            "012 345",
            "01 23 45\r\n",
            "0\t1\u{a0}2345",
        ] {
            assert_eq!(MfaCode::parse(text).unwrap().expose(), "012345", "{text:?}");
        }
    }

    #[test]
    fn anything_else_is_refused_without_being_repeated() {
        for (text, why) in [
            ("", InvalidCode::Count(0)),
            (" \n", InvalidCode::Count(0)),
            ("12345", InvalidCode::Count(5)),
            ("1234567", InvalidCode::Count(7)),
            ("12345a", InvalidCode::NotDigits),
            ("-12345", InvalidCode::NotDigits),
            ("١٢٣٤٥٦", InvalidCode::NotDigits),
            ("123-456", InvalidCode::NotDigits),
        ] {
            assert_eq!(MfaCode::parse(text).unwrap_err(), why, "{text:?}");
        }
        let code = MfaCode::parse("837261").unwrap();
        assert_eq!(format!("{code:?}"), "MfaCode");
    }

    proptest! {
        #[test]
        fn only_six_digits_come_out_of_any_text(text in "[0-9 a\\n]{0,12}") {
            let digits: String = text.split_whitespace().collect();
            let is_fit = digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
            match MfaCode::parse(&text) {
                Ok(code) => prop_assert!(is_fit && code.expose() == digits),
                Err(_) => prop_assert!(!is_fit),
            }
        }
    }
}
