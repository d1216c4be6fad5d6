//! How long something takes, as written: `12h`, `90m` or `1h30m`.

use std::fmt;
use std::time::Duration;

/// The text is not shown: it may be anything that was put in the wrong place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoDuration;

impl fmt::Display for NoDuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not a duration")
    }
}

/// What to write instead.
pub(super) const HINT: &str =
    "as in `12h`, `90m` or `1h30m`: numbers with `d`, `h`, `m` and `s`, the longest unit first";

/// In seconds, from the longest on.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Reads whole numbers, each with its unit, each unit at most once and longer ones first.
pub(super) fn parse(text: &str) -> Result<Duration, NoDuration> {
    let mut rest = text;
    let mut seconds: u64 = 0;
    for (unit, length) in UNITS {
        let Some((number, after)) = rest.split_once(unit) else {
            continue;
        };
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NoDuration);
        }
        let number: u64 = number.parse().map_err(|_| NoDuration)?;
        let of_unit = number.checked_mul(length).ok_or(NoDuration)?;
        seconds = seconds.checked_add(of_unit).ok_or(NoDuration)?;
        rest = after;
    }
    if text.is_empty() || !rest.is_empty() {
        return Err(NoDuration);
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_with_units_are_read() {
        for (text, seconds) in [
            ("0s", 0),
            ("900s", 900),
            ("90m", 5_400),
            ("12h", 43_200),
            ("1h30m", 5_400),
            ("1d1h1m1s", 90_061),
            ("007s", 7),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_duration() {
        for text in [
            "",
            "h",
            "12",
            "1h30",
            "30m1h",
            "1h1h",
            "1.5h",
            "-1h",
            "+1h",
            "1 h",
            " 1h",
            "1H",
            "1w",
            "1ms",
            "１h",
            "99999999999999999999s",
            "18446744073709551615h",
            "18446744073709551615s1s",
            "213503982334602d",
        ] {
            assert_eq!(parse(text), Err(NoDuration), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_duration_or_none(text in "[0-9dhms ]{0,30}") {
            if let Ok(duration) = parse(&text) {
                prop_assert!(text.starts_with(|it: char| it.is_ascii_digit()));
                prop_assert_eq!(duration.subsec_nanos(), 0);
            }
        }

        #[test]
        fn what_is_written_by_units_is_read_back(hours in 0_u64..10_000, minutes in 0_u64..100, seconds in 0_u64..100) {
            let read = parse(&format!("{hours}h{minutes}m{seconds}s"));
            prop_assert_eq!(read, Ok(Duration::from_secs(hours * 3_600 + minutes * 60 + seconds)));
        }
    }
}
