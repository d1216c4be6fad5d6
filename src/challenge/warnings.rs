//! When to tell people about a session that only they can renew, and what has been told.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::credentials::Warnings;

/// What is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no session, and cannot be one without a code.
    Asked,
    /// The session in hand ends soon, or somebody wishes for another before that.
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
    Last,
}

impl Kind {
    /// Its name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Warned(Warning::First) => "first-warning",
            Self::Warned(Warning::Last) => "last-warning",
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
            Self::Warned(Warning::Last) => 2,
            Self::Asked | Self::Lapsed => 3,
        }
    }
}

/// What there is to say about a session for which another is wanted: it ends at `ends` and lives
/// for `life`, where that is known.
fn stage(
    warnings: Warnings,
    now: Timestamp,
    ends: Option<Timestamp>,
    life: Option<Duration>,
) -> Kind {
    let Some(ends) = ends else {
        return Kind::Asked;
    };
    let warnings = warnings.of_life(life.unwrap_or(Duration::MAX));
    let left = now.until(ends);
    if left.is_zero() {
        Kind::Lapsed
    } else if left <= warnings.last {
        Kind::Warned(Warning::Last)
    } else {
        Kind::Warned(Warning::First)
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

    /// Another session is wanted than the one in hand, which ends at `ends`, or there is none.
    /// Returns what to announce: nothing that was announced before, however the clock is set to
    /// and fro.
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
        let stage = stage(warnings, now, ends, self.life);
        let Some((told, of)) = self.last else {
            self.last = Some((stage, ends.or(before)));
            return Some(stage);
        };
        let is_another = ends.is_some() && ends != of;
        if is_another || stage.urgency() > told.urgency() {
            self.last = Some((stage, ends.or(of)));
            Some(stage)
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIRST: Option<Kind> = Some(Kind::Warned(Warning::First));
    const LAST: Option<Kind> = Some(Kind::Warned(Warning::Last));

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_unix_millis(minutes * 60_000)
    }

    #[test]
    fn a_session_is_announced_once_an_hour_and_once_ten_minutes_before_its_end() {
        let (warnings, mut told) = (Warnings::default(), Told::default());
        assert_eq!(told.ask(warnings, at(0), None), Some(Kind::Asked));
        assert!(told.is_pending());
        assert_eq!(told.obtain(at(0), at(720)), Some(Kind::Answered));
        for (minute, kind) in [
            (660, FIRST),
            (661, None),
            (659, None),
            (662, None),
            (710, LAST),
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
        // The provider has let go of what had ended: no news to anybody.
        assert_eq!(told.ask(warnings, at(801), None), None);
        assert_eq!(told.obtain(at(802), at(1600)), Some(Kind::Answered));
        assert_eq!(told.obtain(at(803), at(1601)), None);
    }

    #[test]
    fn a_short_session_is_announced_in_its_last_quarter() {
        let (warnings, mut told) = (Warnings::default(), Told::default());
        told.obtain(at(0), at(80));
        for (minute, kind) in [(60, FIRST), (69, None), (70, LAST)] {
            assert_eq!(
                told.ask(warnings, at(minute), Some(at(80))),
                kind,
                "{minute}"
            );
        }
        told.obtain(at(100), at(140));
        for (minute, kind) in [(130, FIRST), (134, None), (135, LAST)] {
            assert_eq!(
                told.ask(warnings, at(minute), Some(at(140))),
                kind,
                "{minute}"
            );
        }
    }

    #[test]
    fn a_session_that_is_wanted_ahead_of_time_is_announced_once_for_that() {
        let (warnings, mut told) = (Warnings::default(), Told::default());
        told.obtain(at(0), at(720));
        for (minute, kind) in [(5, FIRST), (6, None), (660, None), (710, LAST)] {
            assert_eq!(
                told.ask(warnings, at(minute), Some(at(720))),
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
        assert_eq!(told.ask(warnings, at(8), Some(at(700))), FIRST);
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
    }
}
