//! `provider = "environment"`: the variables of the daemon.

use super::Provider;
use crate::providers::chain::Link;

pub(super) const PROVIDER: Provider = Provider {
    name: "environment",
    keys: &[],
    hidden: &[],
    read: |_| Some(vec![Link::Environment]),
};
