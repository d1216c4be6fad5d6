//! When tokens are replaced, and until when those before them are honoured: pure decisions.

use std::time::Duration;

use crate::clock::Timestamp;

/// How a token is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// How old a token gets, where it is replaced without an order.
    pub every: Option<Duration>,
    /// How long the one before stays valid.
    pub overlap: Duration,
}

/// The life of a token and of those before it that are still honoured, by the wall clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    pub made: Timestamp,
    /// When each was superseded, the earliest first.
    pub superseded: Vec<Timestamp>,
}

impl Life {
    pub fn new(made: Timestamp) -> Self {
        Self {
            made,
            superseded: Vec::new(),
        }
    }

    /// Lets nothing have happened after `now`: a clock that was set back would keep an old token
    /// valid for as long as it was set back by.
    pub fn correct(&mut self, now: Timestamp) {
        self.made = self.made.min(now);
        for superseded in &mut self.superseded {
            *superseded = (*superseded).min(now);
        }
    }
}

impl Rotation {
    /// When the token is next replaced, if ever.
    pub fn due(&self, life: &Life) -> Option<Timestamp> {
        Some(life.made.plus(self.every?))
    }

    /// Until when a token is honoured that was superseded then.
    pub fn end(&self, superseded: Timestamp) -> Timestamp {
        superseded.plus(self.overlap)
    }

    pub fn is_due(&self, life: &Life, now: Timestamp) -> bool {
        self.due(life).is_some_and(|due| due <= now)
    }

    /// How many of those before are no longer honoured.
    pub fn ended(&self, life: &Life, now: Timestamp) -> usize {
        let superseded = life.superseded.iter();
        superseded.take_while(|it| self.end(**it) <= now).count()
    }

    /// When there is next something to do.
    pub fn next(&self, life: &Life) -> Option<Timestamp> {
        let ends = life.superseded.iter().map(|it| self.end(*it));
        ends.chain(self.due(life)).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_millis(0).plus(Duration::from_secs(seconds))
    }

    fn rotation(every: Option<u64>, overlap: u64) -> Rotation {
        Rotation {
            every: every.map(Duration::from_secs),
            overlap: Duration::from_secs(overlap),
        }
    }

    #[test]
    fn a_token_without_a_schedule_stays() {
        let (rotation, life) = (rotation(None, 60), Life::new(at(0)));
        assert!(!rotation.is_due(&life, at(u64::MAX / 4000)));
        assert_eq!(rotation.next(&life), None);
    }

    #[test]
    fn a_token_is_replaced_at_its_age_and_honoured_for_the_overlap() {
        let rotation = rotation(Some(100), 10);
        let mut life = Life::new(at(0));
        assert_eq!(rotation.next(&life), Some(at(100)));
        assert!(!rotation.is_due(&life, at(99)) && rotation.is_due(&life, at(100)));
        life = Life {
            made: at(100),
            superseded: vec![at(95), at(100)],
        };
        assert_eq!(rotation.next(&life), Some(at(105)));
        assert_eq!(rotation.ended(&life, at(104)), 0);
        assert_eq!(rotation.ended(&life, at(105)), 1);
        assert_eq!(rotation.ended(&life, at(110)), 2);
    }

    #[test]
    fn without_an_overlap_the_one_before_ends_at_once() {
        let life = Life {
            made: at(5),
            superseded: vec![at(5)],
        };
        assert_eq!(rotation(None, 0).ended(&life, at(5)), 1);
    }

    proptest! {
        /// Whatever the clock was when they were made, and wherever it is set.
        #[test]
        fn no_token_outlives_its_time_as_the_clock_shows_it_from_now_on(
            made in 0_u64..10_000,
            superseded in prop::collection::vec(0_u64..10_000, 0..4),
            now in 0_u64..10_000,
            every in prop::option::of(1_u64..1000),
            overlap in 0_u64..1000,
        ) {
            let rotation = rotation(every, overlap);
            let mut life = Life {
                made: at(made),
                superseded: superseded.into_iter().map(at).collect(),
            };
            life.superseded.sort();
            life.correct(at(now));
            let all = life.superseded.len();
            prop_assert_eq!(rotation.ended(&life, at(now + overlap)), all);
            if let Some(every) = every {
                prop_assert!(rotation.is_due(&life, at(now + every)));
            }
            // Whoever sleeps until then misses nothing.
            if let Some(next) = rotation.next(&life) {
                let before = next.minus(Duration::from_millis(1));
                prop_assert_eq!(rotation.ended(&life, before), 0);
                prop_assert!(!rotation.is_due(&life, before));
                prop_assert!(rotation.is_due(&life, next) || rotation.ended(&life, next) > 0);
            }
        }
    }
}
