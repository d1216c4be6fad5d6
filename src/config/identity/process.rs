//! `provider = "process"`: a program that writes credentials.

use super::Provider;
use super::reader::Reader;
use crate::providers::chain::Link;
use crate::providers::process::Config;

pub(super) const PROVIDER: Provider = Provider {
    name: "process",
    keys: &["command"],
    hidden: &["command"],
    read,
};

fn read(reader: &mut Reader<'_, '_>) -> Option<Vec<Link>> {
    reader.require("command", "[\"/usr/local/bin/PROGRAM\", \"ARGUMENT\"]");
    let command = reader.command("command")?;
    Some(vec![Link::Process(Config { command })])
}
