//! Chance that a seed decides.

use credd::random::{Draw, Draws};

/// `SplitMix64` (Steele, Lea and Flood, 2014): small, fast, and good enough to shake things.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number from `least` to `most`, both included.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.next().is_multiple_of(count)
    }

    /// Another stream of chance.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

impl Draws for Chance {
    fn draw(&mut self) -> Draw {
        let word = u32::try_from(self.next() >> 32).unwrap();
        Draw::new(f64::from(word) / (f64::from(u32::MAX) + 1.0))
    }
}
