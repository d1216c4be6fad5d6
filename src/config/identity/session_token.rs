//! `provider = "session-token"`: a session of a user's long-lived keys, with or without MFA.

use super::reader::Reader;
use super::sts::{self, Lifetime};
use super::{Provider, mfa_code};
use crate::aws::sts::limit;
use crate::providers::chain::Link;
use crate::providers::session_token::{Config, Mfa};

pub(super) const PROVIDER: Provider = Provider {
    name: "session-token",
    keys: &[
        "from",
        "mfa-serial",
        "mfa-code",
        "lifetime",
        "region",
        "endpoint",
    ],
    hidden: &["mfa-code"],
    read,
};

const LIFETIME: Lifetime = Lifetime {
    bounds: limit::SESSION_LIFETIME,
    problem: "a session of a user's keys lives for 15 minutes to 36 hours (STS API reference, \
              `GetSessionToken`)",
    hint: "write `15m` to `36h`",
};

fn read(reader: &mut Reader<'_, '_>) -> Option<Vec<Link>> {
    let from = sts::from(reader);
    let config = Config {
        mfa: mfa(reader),
        lifetime: sts::lifetime(reader, &LIFETIME),
        settings: sts::settings(reader),
        from: from?,
    };
    Some(vec![Link::SessionToken(config)])
}

fn mfa(reader: &mut Reader<'_, '_>) -> Option<Mfa> {
    if reader.table.has("mfa-code") {
        reader.require("mfa-serial", &format!("\"{DEVICE}\""));
    }
    let (serial, code) = (serial(reader), mfa_code::read(reader));
    Some(Mfa {
        serial: serial?,
        code: code.unwrap_or_default(),
    })
}

const DEVICE: &str = "arn:aws:iam::123456789012:mfa/ops";

fn serial(reader: &mut Reader<'_, '_>) -> Option<String> {
    let text = reader.string("mfa-serial", DEVICE)?;
    let hint = format!("it is the number on the device, or the ARN of a virtual one: `{DEVICE}`");
    reader.parsed(&text, &hint, |text| {
        // IAM User Guide, "AWS Multi-factor authentication": not supported by the API.
        if text.contains(":u2f/") {
            return Err("a FIDO key gives no codes; STS wants those of a TOTP device".to_owned());
        }
        limit::SERIAL_NUMBER
            .check(text)
            .map(|()| text.to_owned())
            .map_err(|problem| problem.to_string())
    })
}
