//! `provider = "chain"`: the chain of every AWS SDK.

use super::reader::Reader;
use super::{Provider, mfa_code};
use crate::providers::chain::{Link, default_chain};
use crate::providers::profile;

pub(super) const PROVIDER: Provider = Provider {
    name: "chain",
    keys: &["mfa-code", "run-programs"],
    hidden: &["mfa-code"],
    read: |reader| Some(links(reader)),
};

fn links(reader: &mut Reader<'_, '_>) -> Vec<Link> {
    let mfa_code = mfa_code::read(reader).unwrap_or_default();
    let may_run_programs = reader.boolean("run-programs").unwrap_or_default();
    let links = default_chain().into_iter().map(|link| match link {
        Link::Profile(config) => Link::Profile(profile::Config {
            mfa_code: mfa_code.clone(),
            may_run_programs,
            ..config
        }),
        other => other,
    });
    links.collect()
}
