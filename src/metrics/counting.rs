//! Numbers that many add to and one reads: atomics, each addition relaxed.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::Label;

/// Only ever grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter for each value of a label.
#[derive(Debug)]
pub struct Counters<L> {
    counters: Box<[Counter]>,
    label: PhantomData<L>,
}

impl<L: Label> Default for Counters<L> {
    fn default() -> Self {
        Self {
            counters: L::ALL.iter().map(|_| Counter::default()).collect(),
            label: PhantomData,
        }
    }
}

impl<L: Label> Counters<L> {
    pub fn add(&self, label: L) {
        let mut all = L::ALL.iter().zip(&self.counters);
        if let Some((_, counter)) = all.find(|(it, _)| **it == label) {
            counter.add();
        }
    }

    /// Each value with its count, those that never occurred included.
    pub fn each(&self) -> impl Iterator<Item = (L, u64)> {
        let all = L::ALL.iter().zip(&self.counters);
        all.map(|(label, counter)| (*label, counter.value()))
    }
}

/// How long things took, in classes.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [Duration],
    /// One for each bound, and one for what took longer.
    buckets: Box<[Counter]>,
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// `bounds` ascend; each belongs to the class that it ends.
    pub fn new(bounds: &'static [Duration]) -> Self {
        Self {
            bounds,
            buckets: (0..=bounds.len()).map(|_| Counter::default()).collect(),
            nanoseconds: AtomicU64::new(0),
        }
    }

    pub fn observe(&self, took: Duration) {
        let bound = self.bounds.iter().position(|bound| took <= *bound);
        if let Some(bucket) = self.buckets.get(bound.unwrap_or(self.bounds.len())) {
            bucket.add();
        }
        // 584 years fit.
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Each bound with the number of all that took no longer; the last has none.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds
            .zip(&self.buckets)
            .scan(0, |sum, (bound, bucket): (_, &Counter)| {
                *sum += bucket.value();
                Some((bound, *sum))
            })
    }

    pub(super) fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_class_that_it_ends() {
        const BOUNDS: &[Duration] = &[Duration::from_millis(1), Duration::from_millis(5)];
        let histogram = Histogram::new(BOUNDS);
        for micros in [0, 1000, 1001, 5000, 5001, 1_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = histogram.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 4, 6]);
        assert_eq!(histogram.sum(), Duration::from_micros(1_012_002));
    }
}
