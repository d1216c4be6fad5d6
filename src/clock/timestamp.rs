//! An instant of the wall clock, and its forms: RFC 3339, and the dates of HTTP.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

/// Milliseconds since 1970-01-01T00:00:00Z, from year 1 to year 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

const FIRST: i64 = -62_135_596_800_000; // 0001-01-01T00:00:00Z
const LAST: i64 = 253_402_300_799_999; // 9999-12-31T23:59:59.999Z

impl Timestamp {
    /// Times outside the years 1 to 9999 are brought to the nearer end: an upstream that lies
    /// must not be able to overflow anything.
    pub fn from_unix_millis(millis: i64) -> Self {
        Self(millis.clamp(FIRST, LAST))
    }

    pub fn unix_millis(self) -> i64 {
        self.0
    }

    /// Reads an RFC 3339 time with any offset and any fraction. IMDS sends microseconds,
    /// `credential_process` commands may send offsets. Fractions finer than a millisecond are
    /// dropped, so that nothing is taken to live longer than it does.
    pub fn parse(text: &str) -> Option<Self> {
        Self::of(OffsetDateTime::parse(text, &Rfc3339).ok()?)
    }

    /// Reads the one form of date that HTTP servers send (RFC 9110 section 5.6.7, IMF-fixdate):
    /// `Sun, 06 Nov 1994 08:49:37 GMT`. It is the form of mail, with a fixed zone.
    pub fn parse_http_date(text: &str) -> Option<Self> {
        if !text.ends_with(" GMT") {
            return None;
        }
        Self::of(OffsetDateTime::parse(text, &Rfc2822).ok()?)
    }

    fn of(instant: OffsetDateTime) -> Option<Self> {
        let millis = instant.unix_timestamp_nanos().div_euclid(1_000_000);
        Some(Self::from_unix_millis(i64::try_from(millis).ok()?))
    }

    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::from_unix_millis(self.0.saturating_add(millis))
    }

    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::from_unix_millis(self.0.saturating_sub(millis))
    }

    /// How long until `later`; nothing if that has passed.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

impl Timestamp {
    /// The same with milliseconds, for logs: `2026-11-22T09:30:00.007Z`.
    pub fn precise(self) -> String {
        let seconds = self.to_string();
        let millis = self.0.rem_euclid(1000);
        format!("{}.{millis:03}Z", seconds.trim_end_matches('Z'))
    }
}

/// `2026-11-22T09:30:00Z`: UTC, whole seconds, never rounded up. The only form that every SDK
/// reads (JavaScript and Rust refuse offsets).
impl std::fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1000))
            .ok()
            .and_then(|instant| instant.format(&Rfc3339).ok())
            .ok_or(std::fmt::Error)?;
        formatter.write_str(&text)
    }
}

impl std::fmt::Debug for Timestamp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn offsets_and_fractions_are_read_and_whole_utc_seconds_are_written() {
        for (read, written) in [
            ("2025-03-12T21:53:17.832308Z", "2025-03-12T21:53:17Z"),
            ("2025-03-12T21:53:17.999999999Z", "2025-03-12T21:53:17Z"),
            ("2025-03-12T23:53:17+02:00", "2025-03-12T21:53:17Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp::parse(read).unwrap().to_string(), written);
        }
        for text in ["", "now", "2025-03-12", "2025-03-12T21:53:17", "1741816397"] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn dates_of_http_are_read_and_those_of_mail_are_not() {
        let read = Timestamp::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(read, Timestamp::parse("1994-11-06T08:49:37Z"));
        for text in [
            "",
            " GMT",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "1994-11-06T08:49:37Z",
        ] {
            assert_eq!(Timestamp::parse_http_date(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_to_the_second(millis in any::<i64>()) {
            let instant = Timestamp::from_unix_millis(millis);
            let back = Timestamp::parse(&instant.to_string()).unwrap();
            prop_assert!(back <= instant && back.until(instant) < Duration::from_secs(1));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC*") {
            let _ = Timestamp::parse(&text);
            let _ = Timestamp::parse_http_date(&format!("{text} GMT"));
        }

        #[test]
        fn arithmetic_saturates(millis in any::<i64>(), seconds in any::<u64>()) {
            let instant = Timestamp::from_unix_millis(millis);
            let duration = Duration::from_secs(seconds);
            prop_assert!(instant.plus(duration) >= instant);
            prop_assert!(instant.minus(duration) <= instant);
        }
    }
}
