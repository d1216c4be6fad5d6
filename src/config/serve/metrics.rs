//! `[serve.metrics]`: listeners for what monitors credd.

use super::address::{Addresses, METRICS, METRICS_BEYOND};
use crate::config::findings::Findings;
use crate::config::table::Table;
use crate::config::vocabulary::{self, Vocabulary};
use crate::serve::MetricsConfig;

const VOCABULARY: Vocabulary<'_> = Vocabulary {
    place: vocabulary::METRICS,
    keys: &["listen", "beyond-this-host"],
};

pub(super) fn read(
    mut table: Table<'_>,
    addresses: &mut Addresses,
    findings: &mut Findings,
) -> MetricsConfig {
    let beyond = table.boolean("beyond-this-host", findings);
    let beyond_this_host = beyond.unwrap_or(false);
    let kind = if beyond_this_host {
        &METRICS_BEYOND
    } else {
        &METRICS
    };
    let listen = table.take("listen");
    let listen = listen.and_then(|it| it.one_or_more_strings(METRICS.example, findings));
    let config = MetricsConfig {
        listen: addresses.read(&listen.unwrap_or_default(), kind, findings),
        beyond_this_host,
    };
    table.refuse_rest(&VOCABULARY, findings);
    config
}
