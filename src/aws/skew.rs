//! How far this host's clock is off, by what a server says the time is.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{AGE, DATE};

use crate::clock::Timestamp;

/// What to add to this host's time to have the server's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockOffset {
    millis: i64,
}

/// Less is left uncorrected, since AWS takes signatures that are 5 minutes off: `@aws-sdk/core`,
/// `isClockSkewed`.
const LEAST: Duration = Duration::from_mins(4);

/// The `Date` of an answer that took longer says nothing: `@aws-sdk/core`.
const LONGEST_EXCHANGE: Duration = Duration::from_mins(15);

impl ClockOffset {
    /// By the `Date` of an answer that arrived at `now` and `took` so long. Nothing if there is
    /// none, or if a cache may have kept it (`Age`). It is as true as the server: learn it over
    /// verified TLS only.
    pub fn learnt(headers: &HeaderMap, now: Timestamp, took: Duration) -> Option<Self> {
        if headers.contains_key(AGE) || took > LONGEST_EXCHANGE {
            return None;
        }
        let date = Timestamp::parse_http_date(headers.get(DATE)?.to_str().ok()?)?;
        Some(Self::between(now, date))
    }

    /// From what it is `here` to what the server says it is.
    pub fn between(here: Timestamp, server: Timestamp) -> Self {
        Self {
            millis: server.unix_millis().saturating_sub(here.unix_millis()),
        }
    }

    /// Without regard to the direction.
    pub fn size(self) -> Duration {
        Duration::from_millis(self.millis.unsigned_abs())
    }

    /// Whether this host's clock is behind.
    pub fn is_behind(self) -> bool {
        self.millis > 0
    }

    /// `now` as the server has it, where the difference matters: 4 minutes or more.
    #[must_use]
    pub fn correct(self, now: Timestamp) -> Timestamp {
        if self.size() < LEAST {
            now
        } else {
            self.applied_to(now)
        }
    }

    /// `now` as the server has it, however small the difference is.
    #[must_use]
    pub fn applied_to(self, now: Timestamp) -> Timestamp {
        if self.is_behind() {
            now.plus(self.size())
        } else {
            now.minus(self.size())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let field = |(name, value): &(HeaderName, &str)| {
            (name.clone(), HeaderValue::from_str(value).unwrap())
        };
        fields.iter().map(field).collect()
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    const NOON: &str = "Wed, 05 Aug 2026 12:00:00 GMT";

    fn learnt(now: &str) -> ClockOffset {
        ClockOffset::learnt(&headers(&[(DATE, NOON)]), at(now), Duration::ZERO).unwrap()
    }

    #[test]
    fn four_minutes_either_way_are_corrected_and_less_is_not() {
        for (now, corrected) in [
            ("2026-08-05T11:56:00Z", "2026-08-05T12:00:00Z"),
            ("2026-08-05T12:04:00Z", "2026-08-05T12:00:00Z"),
            ("2026-08-05T11:56:01Z", "2026-08-05T11:56:01Z"),
            ("2026-08-05T12:03:59Z", "2026-08-05T12:03:59Z"),
            ("2020-01-01T00:00:00Z", "2026-08-05T12:00:00Z"),
        ] {
            assert_eq!(learnt(now).correct(at(now)), at(corrected), "{now}");
        }
        assert_eq!(
            learnt("2026-08-05T11:59:00Z").size(),
            Duration::from_mins(1)
        );
        assert!(learnt("2026-08-05T11:59:00Z").is_behind());
    }

    #[test]
    fn an_answer_that_was_kept_or_took_long_teaches_nothing() {
        let (now, limit) = (at("2020-01-01T00:00:00Z"), LONGEST_EXCHANGE);
        let dated = headers(&[(DATE, NOON)]);
        assert!(ClockOffset::learnt(&dated, now, limit).is_some());
        let longer = limit + Duration::from_millis(1);
        assert_eq!(ClockOffset::learnt(&dated, now, longer), None);
        for fields in [
            &[(DATE, NOON), (AGE, "0")][..],
            &[(DATE, "yesterday")],
            &[(DATE, "2026-08-05T12:00:00Z")],
            &[],
        ] {
            assert_eq!(
                ClockOffset::learnt(&headers(fields), now, Duration::ZERO),
                None
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_corrected_is_the_servers_time(seconds in -10_000_000_i64..10_000_000) {
            let noon = at("2026-08-05T12:00:00Z");
            let now = Timestamp::from_unix_millis(noon.unix_millis() + seconds * 1000);
            let offset = ClockOffset::learnt(&headers(&[(DATE, NOON)]), now, Duration::ZERO).unwrap();
            let corrected = offset.correct(now);
            prop_assert_eq!(corrected, if seconds.abs() < 240 { now } else { noon });
        }
    }
}
