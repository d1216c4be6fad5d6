//! What a monitoring system counts, in the Prometheus text format (version 0.0.4).

use std::fmt::Write;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use super::{Body, Site, whole};

const FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

const PENDING: &str = "\
# HELP credd_challenge_pending Whether a session waits for an MFA code that only a person has.
# TYPE credd_challenge_pending gauge
";

const ENDS: &str = "\
# HELP credd_challenge_session_end_timestamp_seconds When the session in hand ends, or ended.
# TYPE credd_challenge_session_end_timestamp_seconds gauge
";

const DROPPED: &str = "\
# HELP credd_audit_dropped_total Decisions that the audit log had no room for.
# TYPE credd_audit_dropped_total counter
";

impl Site {
    /// Identity names need no escaping in a label.
    pub(super) fn metrics(&self) -> Response<Body> {
        let open = self.challenges.list();
        let mut text = PENDING.to_owned();
        for challenge in &open {
            let name = &challenge.subject.identity;
            let pending = u8::from(challenge.pending_since.is_some());
            let _ = writeln!(
                text,
                "credd_challenge_pending{{identity=\"{name}\"}} {pending}"
            );
        }
        text += ENDS;
        for challenge in &open {
            let Some(ends) = challenge.ends else { continue };
            let (name, seconds) = (&challenge.subject.identity, ends.unix_millis() / 1000);
            let _ = writeln!(
                text,
                "credd_challenge_session_end_timestamp_seconds{{identity=\"{name}\"}} {seconds}"
            );
        }
        let dropped = self.audit.dropped();
        let _ = writeln!(text, "{DROPPED}credd_audit_dropped_total {dropped}");
        let mut response = whole(StatusCode::OK, Bytes::from(text));
        response.headers_mut().insert(CONTENT_TYPE, FORMAT);
        response
    }
}
