//! `provider = "keys"`: an access key id as it is, and its secret by where it is kept.

use super::Provider;
use super::reader::Reader;
use crate::credentials::AccessKeyId;
use crate::providers::chain::Link;
use crate::providers::keys::Config;

pub(super) const PROVIDER: Provider = Provider {
    name: "keys",
    keys: &["access-key-id", "secret-access-key", "session-token"],
    hidden: &["access-key-id", "secret-access-key", "session-token"],
    read,
};

fn read(reader: &mut Reader<'_, '_>) -> Option<Vec<Link>> {
    reader.require("access-key-id", "\"AKIA…\"");
    reader.require(
        "secret-access-key",
        "\"credential:NAME\"` or `\"file:PATH\"",
    );
    let has_session = reader.table.has("session-token");
    let access_key_id = access_key_id(reader, has_session);
    let (secret_access_key, session_token) = (
        reader.secret_place("secret-access-key"),
        reader.secret_place("session-token"),
    );
    let config = Config {
        access_key_id: access_key_id?,
        secret_access_key: secret_access_key?,
        session_token,
    };
    Some(vec![Link::Keys(config)])
}

/// 16 to 128 letters, digits and `_` (IAM API reference, `AccessKeyId`). Secret keys have 40
/// characters, and with luck none of the others that base64 has.
fn access_key_id(reader: &mut Reader<'_, '_>, has_session: bool) -> Option<AccessKeyId> {
    const SECRET: usize = 40;
    let entry = reader.table.take("access-key-id")?;
    entry.hide(reader.findings);
    let text = entry.string("AKIA…", reader.findings)?;
    let is_fit = (16..=128).contains(&text.value.len())
        && text.value.len() != SECRET
        && text
            .value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_fit {
        reader
            .findings
            .meaning(text.span, "not an access key id")
            .hint("it starts with `AKIA` or `ASIA` and has 20 letters and digits");
        return None;
    }
    // IAM User Guide, "IAM identifiers": the prefix of temporary keys.
    if text.value.starts_with("ASIA") && !has_session && reader.is_sure {
        reader
            .findings
            .meaning(
                text.span,
                "this access key id is that of a session, and nothing works without the session's \
                 token",
            )
            .hint("add `session-token = \"credential:NAME\"` or `\"file:PATH\"`");
        return None;
    }
    Some(AccessKeyId::from(text.value.to_owned()))
}
