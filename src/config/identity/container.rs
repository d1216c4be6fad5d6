//! `provider = "container"`: the endpoint of ECS and EKS Pod Identity.

use super::reader::Reader;
use super::{Provider, uri};
use crate::providers::chain::Link;
use crate::providers::container::Config;

pub(super) const PROVIDER: Provider = Provider {
    name: "container",
    keys: &["uri", "token-file"],
    hidden: &[],
    read: |reader| Some(vec![link(reader)]),
};

fn link(reader: &mut Reader<'_, '_>) -> Link {
    Link::Container(Config {
        uri: uri::absolute(reader, "uri").map(|(text, _)| text.value.to_owned()),
        token_file: reader.file("token-file"),
    })
}
