//! `provider = "web-identity"`: a role, assumed with a token that another identity provider issued.

use super::reader::Reader;
use super::{Provider, assume_role, sts};
use crate::providers::chain::Link;
use crate::providers::web_identity::{Config, Given};

pub(super) const PROVIDER: Provider = Provider {
    name: "web-identity",
    keys: &[
        "role-arn",
        "token-file",
        "session-name",
        "lifetime",
        "region",
        "endpoint",
    ],
    hidden: &[],
    read,
};

fn read(reader: &mut Reader<'_, '_>) -> Option<Vec<Link>> {
    // The environment says all or nothing.
    let is_given = PROVIDER.keys.iter().any(|key| reader.table.has(key));
    if !is_given {
        return Some(vec![Link::WebIdentity(Config::Environment)]);
    }
    reader.require("role-arn", &format!("\"{}\"", sts::ROLE_ARN));
    reader.require("token-file", "\"/var/run/secrets/token\"");
    let (role_arn, token_file) = (sts::role_arn(reader), reader.file("token-file"));
    let (session_name, lifetime) = (
        sts::session_name(reader),
        sts::lifetime(reader, &assume_role::LIFETIME),
    );
    let given = Given {
        settings: sts::settings(reader),
        role_arn: role_arn?,
        token_file: token_file?,
        lifetime,
        session_name,
    };
    Some(vec![Link::WebIdentity(Config::Given(given))])
}
