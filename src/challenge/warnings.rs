//! When to tell people about a session that only they can renew, and what has been told.

use std::time::Duration;

use crate::clock::Timestamp;

/// How long before a session's end it is announced: once, and once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warnings {
    pub first: Duration,
    pub second: Duration,
}

impl Default for Warnings {
    fn default() -> Self {
        Self {
            first: Duration::from_hours(1),
            second: Duration::from_mins(10),
        }
    }
}

/// What is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no session, and cannot be one without a code.
    Asked,
    /// The session in hand ends soon.
    Warned(Warning),
    /// The session has ended.
    Lapsed,
    /// There is a session again.
    Answered,
    /// Nobody asks any more, e.g. since the identity is gone from the config.
    Withdrawn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    First,
    Second,
}

impl Kind {
    /// Its name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Warned(Warning::First) => "first-warning",
            Self::Warned(Warning::Second) => "second-warning",
            Self::Lapsed => "lapsed",
            Self::Answered => "answered",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// How much it presses. To a person, none and no more are the same.
    fn urgency(self) -> u8 {
        match self {
            Self::Answered | Self::Withdrawn => 0,
            Self::Warned(Warning::First) => 1,
            Self::Warned(Warning::Second) => 2,
            Self::Asked | Self::Lapsed => 3,
        }
    }
}

impl Warnings {
    /// What there is to say about a session that ends at `ends` and lives for `life`, where that
    /// is known.
    fn stage(
        self,
        now: Timestamp,
        ends: Option<Timestamp>,
        life: Option<Duration>,
    ) -> Option<Kind> {
        let Some(ends) = ends else {
            return Some(Kind::Asked);
        };
        let (first, second) = self.of_life(life);
        let left = now.until(ends);
        if left.is_zero() {
            Some(Kind::Lapsed)
        } else if left <= second {
            Some(Kind::Warned(Warning::Second))
        } else if left <= first {
            Some(Kind::Warned(Warning::First))
        } else {
            None
        }
    }

    /// Whoever has asked for a session of an hour does not want to hear of its end at once: half
    /// of a life passes before the first warning, and three quarters before the second.
    fn of_life(self, life: Option<Duration>) -> (Duration, Duration) {
        let life = life.unwrap_or(Duration::MAX);
        (self.first.min(life / 2), self.second.min(life / 4))
    }
}

/// The session in hand, as far as people have been told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    ends: Option<Timestamp>,
    life: Option<Duration>,
    /// What was announced last of the session that ended or ends then.
    last: Option<(Kind, Option<Timestamp>)>,
}

impl Told {
    pub(super) fn ends(&self) -> Option<Timestamp> {
        self.ends
    }

    /// Whether people know that a code is wanted.
    pub(super) fn is_pending(&self) -> bool {
        self.last.is_some()
    }

    /// The session in hand ends at `ends`, or there is none. Returns what to announce: nothing
    /// that was announced before, however the clock is set to and fro.
    pub(super) fn ask(
        &mut self,
        warnings: Warnings,
        now: Timestamp,
        ends: Option<Timestamp>,
    ) -> Option<Kind> {
        let before = std::mem::replace(&mut self.ends, ends);
        if ends != before {
            self.life = None;
        }
        let stage = warnings.stage(now, ends, self.life);
        let Some((told, of)) = self.last else {
            self.last = stage.map(|stage| (stage, ends.or(before)));
            return stage;
        };
        let is_another = ends.is_some() && ends != of;
        if is_another || stage.is_some_and(|stage| stage.urgency() > told.urgency()) {
            self.last = stage.map(|stage| (stage, ends.or(of)));
            stage.or(Some(Kind::Answered))
        } else {
            None
        }
    }

    /// A session is in hand that ends then. Returns what to announce, if a code was wanted.
    pub(super) fn obtain(&mut self, now: Timestamp, ends: Timestamp) -> Option<Kind> {
        let was_pending = self.is_pending();
        *self = Self {
            ends: Some(ends),
            life: Some(now.until(ends)),
            last: None,
        };
        was_pending.then_some(Kind::Answered)
    }

    /// When there will be something new to say.
    pub(super) fn next(&self, warnings: Warnings, now: Timestamp) -> Option<Timestamp> {
        let ends = self.ends?;
        let (first, second) = warnings.of_life(self.life);
        let stages = [first, second, Duration::ZERO].map(|before| ends.minus(before));
        stages.into_iter().find(|stage| *stage > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIRST: Option<Kind> = Some(Kind::Warned(Warning::First));
    const SECOND: Option<Kind> = Some(Kind::Warned(Warning::Second));

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_unix_millis(minutes * 60_000)
    }

    #[test]
    fn a_session_is_announced_once_an_hour_and_once_ten_minutes_before_its_end() {
        let (warnings, mut told) = (Warnings::default(), Told::default());
        assert_eq!(told.ask(warnings, at(0), None), Some(Kind::Asked));
        assert!(told.is_pending());
        assert_eq!(told.obtain(at(0), at(720)), Some(Kind::Answered));
        assert_eq!(told.next(warnings, at(0)), Some(at(660)));
        for (minute, kind) in [
            (0, None),
            (659, None),
            (660, FIRST),
            (661, None),
            (659, None),
            (662, None),
            (710, SECOND),
            (650, None),
            (711, None),
            (720, Some(Kind::Lapsed)),
            (719, None),
            (800, None),
        ] {
            assert_eq!(
                told.ask(warnings, at(minute), Some(at(720))),
                kind,
                "{minute}"
            );
        }
        assert_eq!(told.next(warnings, at(720)), None);
        // The provider has let go of what had ended: no news to anybody.
        assert_eq!(told.ask(warnings, at(801), None), None);
        assert_eq!(told.obtain(at(802), at(1600)), Some(Kind::Answered));
        assert_eq!(told.obtain(at(803), at(1601)), None);
    }

    #[test]
    fn a_short_session_is_not_announced_at_its_beginning() {
        let (warnings, mut told) = (Warnings::default(), Told::default());
        told.obtain(at(0), at(20));
        for (minute, kind) in [(9, None), (10, FIRST), (14, None), (15, SECOND)] {
            assert_eq!(
                told.ask(warnings, at(minute), Some(at(20))),
                kind,
                "{minute}"
            );
        }
    }

    #[test]
    fn another_session_is_announced_anew() {
        let (warnings, mut told) = (Warnings::default(), Told::default());
        assert_eq!(told.ask(warnings, at(5), Some(at(60))), FIRST);
        assert_eq!(told.ask(warnings, at(6), Some(at(65))), FIRST);
        assert_eq!(told.ask(warnings, at(6), None), Some(Kind::Asked));
        assert_eq!(told.ask(warnings, at(7), Some(at(65))), None);
        assert_eq!(
            told.ask(warnings, at(8), Some(at(700))),
            Some(Kind::Answered)
        );
        assert!(!told.is_pending());
    }

    proptest! {
        #[test]
        fn one_session_has_at_most_one_announcement_of_each_urgency(
            steps in proptest::collection::vec((0_i64..2000, any::<bool>()), 0..40),
            life in 15_i64..1500,
        ) {
            let (warnings, mut told) = (Warnings::default(), Told::default());
            told.obtain(at(0), at(life));
            let mut announced = Vec::new();
            for (minute, is_kept) in steps {
                let ends = is_kept.then_some(at(life));
                announced.extend(told.ask(warnings, at(minute), ends).map(Kind::urgency));
            }
            prop_assert!(announced.is_sorted_by(|earlier, later| earlier < later));
        }

        #[test]
        fn asking_at_the_stages_alone_misses_none(life in 15_i64..1500, first in 0_u64..200, second in 0_u64..100) {
            let warnings = Warnings {
                first: Duration::from_mins(first + second),
                second: Duration::from_mins(second),
            };
            let mut told = Told::default();
            told.obtain(at(0), at(life));
            let (mut now, mut announced) = (at(0), Vec::new());
            while let Some(next) = told.next(warnings, now) {
                prop_assert!(next > now);
                let before = Timestamp::from_unix_millis(next.unix_millis() - 1);
                prop_assert_eq!(told.ask(warnings, before, Some(at(life))), None);
                announced.extend(told.ask(warnings, next, Some(at(life))));
                now = next;
            }
            prop_assert_eq!(announced.last(), Some(&Kind::Lapsed));
            prop_assert_eq!(now, at(life));
        }
    }
}
