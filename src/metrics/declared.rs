//! The table of all metrics. Names follow "Metric and label naming" of the Prometheus
//! documentation: base units, `_total` for what only grows, and instants as seconds since 1970,
//! from which a query makes the time that is left (`… - time()`), which a page would round.

/// What kind of number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Declaration {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

/// Declares each metric as a constant, and [`ALL`] of them in the order of the page.
macro_rules! declare {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Declaration = Declaration {
                name: $name,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )*

        /// Every metric there is.
        pub const ALL: &[&Declaration] = &[$(&$constant),*];
    };
}

declare! {
    BUILD_INFO: Gauge "credd_build_info" ["version"]
        "The version that runs; always 1.";
    CREDENTIALS_EXPIRY: Gauge "credd_credentials_expiry_timestamp_seconds" ["identity"]
        "When the credentials in hand expire, or have expired. Absent while there are none, or where nobody knows.";
    LAST_REFRESH: Gauge "credd_last_refresh_timestamp_seconds" ["identity"]
        "When the source last gave good credentials.";
    NEXT_REFRESH: Gauge "credd_next_refresh_timestamp_seconds" ["identity"]
        "When the source is asked next. Absent where that takes a person.";
    IDENTITY_STATE: Gauge "credd_identity_state" ["identity", "state"]
        "1 for the state that the identity is in, 0 for the others.";
    IDENTITY_READY: Gauge "credd_identity_ready" ["identity"]
        "Whether clients get credentials, or, where the identity only feeds others, these do.";
    FAILING_IN_A_ROW: Gauge "credd_refresh_consecutive_failures" ["identity"]
        "Failed attempts since the last one that succeeded.";
    CHALLENGE_PENDING: Gauge "credd_challenge_pending" ["identity"]
        "Whether a session waits for an MFA code that only a person has.";
    CHALLENGE_SESSION_END: Gauge "credd_challenge_session_end_timestamp_seconds" ["identity"]
        "When the session in hand ends, or ended.";
    REFRESHES: Counter "credd_refreshes_total" ["identity"]
        "Attempts that brought good credentials.";
    REFRESH_FAILURES: Counter "credd_refresh_failures_total" ["identity", "class"]
        "Attempts that failed, by what the failure calls for.";
    UPSTREAM_DURATION: Histogram "credd_upstream_request_duration_seconds" ["service"]
        "Time that upstreams took to answer, or to fail, connecting included.";
    REQUESTS: Counter "credd_requests_total" ["listener", "code"]
        "Requests answered, by HTTP status.";
    REQUEST_DURATION: Histogram "credd_request_duration_seconds" ["listener"]
        "Time from a request's head to its answer, that for a refresh under way included.";
    CONNECTIONS: Gauge "credd_connections" ["listener"]
        "Open connections.";
    CONNECTIONS_REFUSED: Counter "credd_connections_refused_total" ["listener"]
        "Connections that a limit turned away.";
    DENIALS: Counter "credd_denials_total" ["caller", "reason"]
        "Requests denied, by what is known of the caller and why.";
    SERVED_STALE: Counter "credd_served_stale_total" []
        "Hand-outs of credentials past their expiry, which EC2 honours while it cannot renew them.";
    RELOADS: Counter "credd_reloads_total" ["outcome"]
        "Readings of the config anew, by what came of them.";
    AUDIT_DROPPED: Counter "credd_audit_dropped_total" []
        "Decisions that the audit log had no room for.";
    AUDIT_WAITING: Gauge "credd_audit_waiting_lines" []
        "Lines of the audit log that wait to be written.";
    LOG_DROPPED: Counter "credd_log_dropped_total" []
        "Lines that neither the journal nor stderr took.";
    START_TIME: Gauge "process_start_time_seconds" []
        "When the process started.";
    CPU: Counter "process_cpu_seconds_total" []
        "CPU time used, of user and system.";
    RESIDENT_MEMORY: Gauge "process_resident_memory_bytes" []
        "Memory in use.";
    OPEN_DESCRIPTORS: Gauge "process_open_fds" []
        "Open file descriptors.";
    MOST_DESCRIPTORS: Gauge "process_max_fds" []
        "File descriptors that may be open.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const UNITS: [&str; 3] = ["_seconds", "_bytes", "_lines"];

    #[test]
    fn every_name_follows_the_conventions() {
        for Declaration {
            name,
            kind,
            labels,
            help,
        } in ALL
        {
            let is_fit = |text: &str| text.bytes().all(|it| it.is_ascii_lowercase() || it == b'_');
            assert!(is_fit(name) && labels.iter().all(|it| is_fit(it)), "{name}");
            // The names that every client library gives what it tells of its process.
            let of_process = name.starts_with("process_");
            assert!(of_process || name.starts_with("credd_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            if *kind == Kind::Histogram {
                assert!(name.ends_with("_duration_seconds"), "{name}");
            }
            if name.contains("timestamp") {
                assert!(name.ends_with("_timestamp_seconds"), "{name}");
            }
            for wrong in [
                "milli", "minutes", "hours", "_ms", "kilo", "percent", "_count", "_sum",
            ] {
                assert!(!name.contains(wrong), "{name}");
            }
            let units = UNITS.iter().filter(|unit| name.contains(**unit)).count();
            assert!(units <= 1, "{name}");
            assert!(help.ends_with('.') && help.len() > 10, "{name}");
            // One line, without what the format would have escaped.
            assert!(!help.contains(['\n', '\\']), "{name}");
            // Those that the format itself has.
            assert!(
                !labels.contains(&"le") && !labels.contains(&"quantile"),
                "{name}"
            );
        }
    }

    #[test]
    fn no_name_is_declared_twice_or_the_beginning_of_a_histograms() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
