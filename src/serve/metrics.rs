//! What a monitoring system asks for: the metrics page, made of what is counted and of what is
//! known now.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use super::{Body, Site, whole};
use crate::clock::Timestamp;
use crate::metrics::{self, Page, declared};
use crate::os::process;
use crate::refresh::{Snapshot, State};
use crate::telemetry;

impl Site {
    pub(super) fn metrics_page(&self) -> Response<Body> {
        let mut page = Page::default();
        page.family(&declared::BUILD_INFO)
            .add(&[env!("CARGO_PKG_VERSION")], 1);
        self.write_identities(&mut page);
        self.write_challenges(&mut page);
        self.metrics.write(&mut page);
        for (metric, value) in [
            (&declared::AUDIT_DROPPED, self.audit.dropped()),
            (&declared::AUDIT_WAITING, self.audit.waiting() as u64),
            (&declared::LOG_DROPPED, telemetry::dropped()),
        ] {
            page.family(metric).add(&[], value);
        }
        self.write_process(&mut page);
        let mut response = whole(StatusCode::OK, Bytes::from(page.into_text()));
        let format = HeaderValue::from_static(metrics::CONTENT_TYPE);
        response.headers_mut().insert(CONTENT_TYPE, format);
        response
    }

    fn write_identities(&self, page: &mut Page) {
        let (now, terms) = (self.clock.now(), self.terms.load());
        let all: Vec<_> = terms
            .identities
            .iter()
            .map(|(name, reader)| (name.as_str(), reader.load()))
            .collect();
        let instants: [(_, Instant); 3] = [
            (&declared::CREDENTIALS_EXPIRY, expiry),
            (&declared::LAST_REFRESH, |snapshot| snapshot.refreshed),
            (&declared::NEXT_REFRESH, |snapshot| snapshot.next_attempt),
        ];
        for (metric, of) in instants {
            let mut samples = page.family(metric);
            for (name, snapshot) in &all {
                if let Some(instant) = of(snapshot) {
                    samples.add(&[name], seconds(instant));
                }
            }
        }
        let mut samples = page.family(&declared::IDENTITY_STATE);
        for (name, snapshot) in &all {
            let is = snapshot.state(now);
            for state in State::ALL {
                samples.add(&[name, state.as_str()], u8::from(state == is));
            }
        }
        let mut samples = page.family(&declared::IDENTITY_READY);
        for (name, snapshot) in &all {
            samples.add(&[name], u8::from(snapshot.is_ready(now)));
        }
        let mut samples = page.family(&declared::FAILING_IN_A_ROW);
        for (name, snapshot) in &all {
            let failures = snapshot.trouble.as_ref().map_or(0, |it| it.failures);
            samples.add(&[name], failures);
        }
    }

    fn write_challenges(&self, page: &mut Page) {
        let open = self.challenges.list();
        let mut samples = page.family(&declared::CHALLENGE_PENDING);
        for challenge in &open {
            let identity = challenge.subject.identity.as_str();
            samples.add(&[identity], u8::from(challenge.pending_since.is_some()));
        }
        let mut samples = page.family(&declared::CHALLENGE_SESSION_END);
        for challenge in &open {
            if let Some(ends) = challenge.ends {
                samples.add(&[challenge.subject.identity.as_str()], seconds(ends));
            }
        }
    }

    /// What the kernel does not tell is left out.
    fn write_process(&self, page: &mut Page) {
        let started = seconds(self.started);
        page.family(&declared::START_TIME).add(&[], started);
        let cpu = process::cpu_time().as_secs_f64();
        page.family(&declared::CPU).add(&[], cpu);
        for (metric, value) in [
            (&declared::RESIDENT_MEMORY, process::resident_memory()),
            (&declared::OPEN_DESCRIPTORS, process::open_descriptors()),
            (
                &declared::MOST_DESCRIPTORS,
                Some(process::descriptors() as u64),
            ),
        ] {
            let mut samples = page.family(metric);
            if let Some(value) = value {
                samples.add(&[], value);
            }
        }
    }
}

/// One that a snapshot knows.
type Instant = fn(&Snapshot) -> Option<Timestamp>;

fn seconds(instant: Timestamp) -> i64 {
    instant.unix_millis().div_euclid(1000)
}

fn expiry(snapshot: &Snapshot) -> Option<Timestamp> {
    snapshot.held.as_ref()?.life().expiry
}
