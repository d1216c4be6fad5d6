//! `[serve]`: where callers come in, and how much one of them may take up.

mod address;
mod imds;
mod limits;
mod metrics;
mod socket;

use super::findings::Findings;
use super::relations::Names;
use super::table::Table;
use super::vocabulary::{self, Vocabulary};
use crate::authz::Rule;
use crate::os::users::Accounts;
use crate::serve;
use address::{Addresses, HTTP as HTTP_ADDRESSES};

pub(super) use imds::Imds;

const SERVE: Vocabulary<'_> = Vocabulary {
    place: vocabulary::SERVE,
    keys: &["http", "unix", "imds", "metrics", "limits"],
};

const HTTP: Vocabulary<'_> = Vocabulary {
    place: vocabulary::HTTP,
    keys: &["listen"],
};

/// What the table says.
#[derive(Default)]
pub(super) struct Read<'t> {
    /// Of the sockets of `[serve.unix.NAME]`: each opens its identity to whoever gets to it.
    pub(super) rules: Vec<Rule>,
    /// The sockets' names with their identities, where those are clear.
    pub(super) sockets: Vec<(&'t str, Option<crate::identity::IdentityName>)>,
    pub(super) imds: Option<Imds>,
}

/// Reads the table into `config`.
pub(super) fn read<'t>(
    mut table: Table<'t>,
    config: &mut serve::Config,
    names: &Names<'t>,
    accounts: &dyn Accounts,
    findings: &mut Findings,
) -> Read<'t> {
    let mut read = Read::default();
    let mut addresses = Addresses::default();
    if let Some(mut http) = table.table("http", findings) {
        if let Some(listen) = http.strings("listen", HTTP_ADDRESSES.example, findings) {
            config.http = addresses.read(&listen, &HTTP_ADDRESSES, findings);
            config.http_is_written = true;
        }
        http.refuse_rest(&HTTP, findings);
    }
    if let Some(imds) = table.take("imds")
        && let Some((imds, meant)) = imds::read(&imds, &mut addresses, names, findings)
    {
        config.imds = Some(meant).filter(|meant| !meant.listen.is_empty());
        read.imds = Some(imds);
    }
    if let Some(unix) = table.table("unix", findings) {
        let sockets = socket::read(unix, names, accounts, findings);
        config.unix = sockets.public;
        config.own_sockets = sockets.own;
        read.rules = sockets.rules;
        read.sockets = sockets.names;
    }
    if let Some(metrics) = table.table("metrics", findings) {
        config.metrics = metrics::read(metrics, &mut addresses, findings);
    }
    if let Some(limits) = table.table("limits", findings) {
        config.limits = limits::read(limits, findings);
    }
    table.refuse_rest(&SERVE, findings);
    read
}
