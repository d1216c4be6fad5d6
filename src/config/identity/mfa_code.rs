//! `mfa-code`: how the codes of an MFA device are come by.

use super::reader::Reader;
use crate::config::table::{Entry, Table};
use crate::config::vocabulary::{self, Vocabulary};
use crate::config::{command, secret_place};
use crate::providers::session_token::CodeSource;

const VOCABULARY: Vocabulary<'_> = Vocabulary {
    place: vocabulary::MFA_CODE,
    keys: &["command", "totp-secret"],
};

const HINT: &str = "it is `\"ask\"`, `{ command = [\"/usr/bin/ykman\", \"…\"] }` or \
                    `{ totp-secret = \"credential:NAME\" }`";

/// Reads it, if it is there. Nothing of it is shown: it may be a code or a secret by mistake.
pub(super) fn read(reader: &mut Reader<'_, '_>) -> Option<CodeSource> {
    let entry = reader.table.take("mfa-code")?;
    entry.hide(reader.findings);
    if entry.is_table() {
        let table = entry.table(reader.findings)?;
        return automatic(&entry, table, reader);
    }
    let text = entry.string("ask", reader.findings)?;
    if text.value == "ask" {
        return Some(CodeSource::Ask);
    }
    reader
        .findings
        .meaning(text.span, "`mfa-code` says how codes are come by")
        .hint(HINT);
    None
}

fn automatic(
    entry: &Entry<'_>,
    mut table: Table<'_>,
    reader: &mut Reader<'_, '_>,
) -> Option<CodeSource> {
    let (base, findings) = (reader.base, &mut *reader.findings);
    let (by_command, by_secret) = (table.take("command"), table.take("totp-secret"));
    let (has_rest, is_complete) = (!table.is_empty(), !findings.is_incomplete());
    table.refuse_rest(&VOCABULARY, findings);
    match (by_command, by_secret) {
        (Some(by_command), None) => {
            let command = command::read(&by_command, findings)?;
            Some(CodeSource::Command(command))
        }
        (None, Some(by_secret)) => {
            let place = secret_place::read(&by_secret, base, findings)?;
            Some(CodeSource::Totp(place))
        }
        (None, None) => {
            if is_complete && !has_rest {
                findings
                    .meaning(entry.key_span.clone(), "`mfa-code` says nothing")
                    .hint(HINT);
            }
            None
        }
        (Some(_), Some(by_secret)) => {
            findings
                .meaning(
                    by_secret.key_span,
                    "codes come from a command or from a secret, not from both",
                )
                .hint("remove one of them");
            None
        }
    }
}
