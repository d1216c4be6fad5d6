//! `provider = "profile"`: a profile of the shared AWS config and credentials files.

use super::reader::Reader;
use super::{Provider, mfa_code};
use crate::providers::chain::Link;
use crate::providers::profile::Config;

pub(super) const PROVIDER: Provider = Provider {
    name: "profile",
    keys: &[
        "profile",
        "config-file",
        "credentials-file",
        "mfa-code",
        "run-programs",
    ],
    hidden: &["mfa-code"],
    read: |reader| Some(vec![link(reader)]),
};

fn link(reader: &mut Reader<'_, '_>) -> Link {
    let profile = reader.string("profile", "ops");
    Link::Profile(Config {
        profile: profile.map(|text| text.value.to_owned()),
        config_file: reader.file("config-file"),
        credentials_file: reader.file("credentials-file"),
        mfa_code: mfa_code::read(reader).unwrap_or_default(),
        may_run_programs: reader.boolean("run-programs").unwrap_or_default(),
        ..Config::default()
    })
}
