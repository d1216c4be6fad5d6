//! What is counted and timed for a monitoring system: each metric declared once, counted by a
//! relaxed addition, and written in the Prometheus text format.
//!
//! Labels take values of closed sets, names of the config and nothing that a caller or an upstream
//! says, so that the number of series is bounded.

mod counting;
pub mod declared;
mod labels;
mod page;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::credentials::FailureClass;
use crate::identity::IdentityName;

pub use counting::{Counter, Counters, Gauge, Histogram};
pub use declared::{Declaration, Kind};
pub use labels::{CallerKind, Code, DenialReason, Label, ReloadOutcome, Service};
pub use page::{CONTENT_TYPE, Page};

/// In process, and so far below what a network takes: an answer that is ready is one of the first
/// three, one that had to wait for a refresh one of the last.
const REQUEST_BOUNDS: &[Duration] = &[
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// From a metadata service on the host's own link to an STS that answers at the last moment: the
/// deadline there is 20 s.
const UPSTREAM_BOUNDS: &[Duration] = &[
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
];

/// All that one daemon counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Those whose refreshers are at work: what is no longer kept is no longer told of.
    refreshes: Mutex<BTreeMap<IdentityName, Weak<RefreshCounts>>>,
    listeners: Mutex<BTreeMap<String, Arc<ListenerCounts>>>,
    upstream: UpstreamTimes,
    denials: Denials,
    /// Hand-outs of sets past their expiry.
    pub served_stale: Counter,
    /// Of the config.
    pub reloads: Counters<ReloadOutcome>,
}

/// Attempts of one refresher.
#[derive(Debug, Default)]
pub struct RefreshCounts {
    pub succeeded: Counter,
    pub failed: Counters<FailureClass>,
}

/// What goes on at the listeners of one name.
#[derive(Debug)]
pub struct ListenerCounts {
    pub answered: Counters<Code>,
    /// From the end of a request's head to the beginning of its answer.
    pub took: Histogram,
    pub open: Gauge,
    /// Connections that a limit turned away.
    pub refused: Counter,
}

impl Default for ListenerCounts {
    fn default() -> Self {
        Self {
            answered: Counters::default(),
            took: Histogram::new(REQUEST_BOUNDS),
            open: Gauge::default(),
            refused: Counter::default(),
        }
    }
}

#[derive(Debug)]
struct UpstreamTimes(Vec<(Service, Histogram)>);

impl Default for UpstreamTimes {
    fn default() -> Self {
        let histogram = |service: &Service| (*service, Histogram::new(UPSTREAM_BOUNDS));
        Self(Service::ALL.iter().map(histogram).collect())
    }
}

#[derive(Debug)]
struct Denials(Vec<(CallerKind, Counters<DenialReason>)>);

impl Default for Denials {
    fn default() -> Self {
        let counters = |caller: &CallerKind| (*caller, Counters::default());
        Self(CallerKind::ALL.iter().map(counters).collect())
    }
}

impl Metrics {
    /// The counts of an identity's refresher: those of the one before it, where that is still at
    /// work.
    pub fn refreshes(&self, identity: &IdentityName) -> Arc<RefreshCounts> {
        let mut refreshes = lock(&self.refreshes);
        if let Some(counts) = refreshes.get(identity).and_then(Weak::upgrade) {
            return counts;
        }
        refreshes.retain(|_, counts| counts.strong_count() > 0);
        let counts = Arc::new(RefreshCounts::default());
        refreshes.insert(identity.clone(), Arc::downgrade(&counts));
        counts
    }

    /// The counts of all listeners of that name.
    pub fn listener(&self, name: &str) -> Arc<ListenerCounts> {
        let mut listeners = lock(&self.listeners);
        Arc::clone(listeners.entry(name.to_owned()).or_default())
    }

    /// Counts an exchange with an upstream, whatever came of it.
    pub fn asked(&self, service: Service, took: Duration) {
        let mut all = self.upstream.0.iter();
        if let Some((_, histogram)) = all.find(|(it, _)| *it == service) {
            histogram.observe(took);
        }
    }

    /// Counts a denial.
    pub fn denied(&self, caller: CallerKind, reason: DenialReason) {
        let mut all = self.denials.0.iter();
        if let Some((_, counters)) = all.find(|(it, _)| *it == caller) {
            counters.add(reason);
        }
    }

    /// Writes all that is counted here.
    pub fn write(&self, page: &mut Page) {
        self.write_refreshes(page);
        let mut samples = page.family(&declared::UPSTREAM_DURATION);
        for (service, histogram) in &self.upstream.0 {
            samples.histogram(&[service.as_str()], histogram);
        }
        self.write_listeners(page);
        let mut samples = page.family(&declared::DENIALS);
        for (caller, counters) in &self.denials.0 {
            for (reason, count) in counters.each() {
                samples.add(&[caller.as_str(), reason.as_str()], count);
            }
        }
        let stale = self.served_stale.value();
        page.family(&declared::SERVED_STALE).add(&[], stale);
        let mut samples = page.family(&declared::RELOADS);
        for (outcome, count) in self.reloads.each() {
            samples.add(&[outcome.as_str()], count);
        }
    }

    fn write_refreshes(&self, page: &mut Page) {
        let refreshes = lock(&self.refreshes).clone();
        let kept: Vec<_> = refreshes
            .iter()
            .filter_map(|(name, counts)| Some((name.as_str(), counts.upgrade()?)))
            .collect();
        let mut samples = page.family(&declared::REFRESHES);
        for (name, counts) in &kept {
            samples.add(&[name], counts.succeeded.value());
        }
        let mut samples = page.family(&declared::REFRESH_FAILURES);
        for (name, counts) in &kept {
            for (class, count) in counts.failed.each() {
                samples.add(&[name, class.as_str()], count);
            }
        }
    }

    fn write_listeners(&self, page: &mut Page) {
        let listeners = lock(&self.listeners).clone();
        let mut samples = page.family(&declared::REQUESTS);
        for (name, counts) in &listeners {
            for (code, count) in counts.answered.each() {
                samples.add(&[name, code.as_str()], count);
            }
        }
        let mut samples = page.family(&declared::REQUEST_DURATION);
        for (name, counts) in &listeners {
            samples.histogram(&[name], &counts.took);
        }
        let mut samples = page.family(&declared::CONNECTIONS);
        for (name, counts) in &listeners {
            samples.add(&[name], counts.open.value());
        }
        let mut samples = page.family(&declared::CONNECTIONS_REFUSED);
        for (name, counts) in &listeners {
            samples.add(&[name], counts.refused.value());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_longer_kept_is_no_longer_told_of_and_what_is_kept_on_counts_on() {
        let (metrics, name) = (Metrics::default(), IdentityName::default());
        let counts = metrics.refreshes(&name);
        counts.succeeded.add();
        assert_eq!(metrics.refreshes(&name).succeeded.value(), 1);
        let text = |metrics: &Metrics| {
            let mut page = Page::default();
            metrics.write(&mut page);
            page.into_text()
        };
        let line = "\ncredd_refreshes_total{identity=\"default\"} 1\n";
        assert!(text(&metrics).contains(line));
        drop(counts);
        assert!(!text(&metrics).contains("identity=\"default\""));
        assert_eq!(metrics.refreshes(&name).succeeded.value(), 0);
    }
}
