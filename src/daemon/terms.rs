//! What a config says about serving, as requests load it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::admitted::Admitted;
use super::doors::Prepared;
use crate::authz::Policy;
use crate::config::Config;
use crate::os::process;
use crate::refresh::Opened;
use crate::serve::{Admins, ImdsTerms, Terms, TokenFile};

/// Who may have what, by the config.
pub(super) fn policy_of(config: &Config) -> Policy {
    let names = config.identities.keys().filter(|name| !name.is_narrowed());
    let owner = process::effective_uid();
    Policy::new(config.allow.clone(), owner, names.cloned().collect())
}

/// What the config says about serving.
pub(super) fn terms_of(
    config: &Config,
    policy: Policy,
    identities: &Opened,
    admitted: Admitted,
    doors: &Prepared,
    token_files: Vec<TokenFile>,
) -> Terms {
    Terms {
        identities: identities.readers(),
        links: config.identities.clone(),
        policy: Arc::new(policy),
        admins: Admins {
            owner: process::effective_uid(),
            group: admitted.admins,
        },
        url: doors.url(),
        token_files,
        imds: config.serve.imds.as_ref().map(|imds| ImdsTerms {
            identity: imds.identity.clone(),
            region: imds.region.clone(),
            hosts: doors.imds().iter().map(SocketAddr::ip).collect(),
        }),
        may_be_monitored_from_beyond: config.serve.metrics.beyond_this_host,
    }
}
