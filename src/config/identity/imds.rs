//! `provider = "imds"`: the instance metadata of EC2.

use super::reader::Reader;
use super::{Provider, uri};
use crate::providers::chain::Link;
use crate::providers::imds::Config;

pub(super) const PROVIDER: Provider = Provider {
    name: "imds",
    keys: &["endpoint", "endpoint-mode", "instance-profile-name"],
    hidden: &[],
    read: |reader| Some(vec![link(reader)]),
};

fn link(reader: &mut Reader<'_, '_>) -> Link {
    Link::InstanceMetadata(Config {
        endpoint: uri::endpoint(reader, "endpoint").map(|(text, _)| text.value.to_owned()),
        endpoint_mode: endpoint_mode(reader),
        instance_profile_name: instance_profile_name(reader),
    })
}

fn endpoint_mode(reader: &mut Reader<'_, '_>) -> Option<String> {
    let text = reader.string("endpoint-mode", "IPv4")?;
    reader.parsed(&text, "it is `IPv4` or `IPv6`", |text| {
        ["IPv4", "IPv6"]
            .into_iter()
            .find(|mode| mode.eq_ignore_ascii_case(text))
            .map(str::to_owned)
            .ok_or("not an endpoint mode")
    })
}

/// The letters of IAM role names (IAM API reference): the name becomes a part of a path.
fn instance_profile_name(reader: &mut Reader<'_, '_>) -> Option<String> {
    let text = reader.string("instance-profile-name", "app")?;
    let hint = "it is a name, not an ARN or a path";
    reader.parsed(&text, hint, |text| {
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
        text.bytes()
            .all(is_fit)
            .then(|| text.to_owned())
            .ok_or("the name of an instance profile is letters, digits and `_+=,.@-`")
    })
}
