//! The permission bits of a file, as chmod(1) takes them: `"0640"`.

use super::findings::Findings;
use super::table::{Entry, Text};

/// Reads such bits. `example` is what would do.
pub(super) fn read<'t>(
    entry: &Entry<'t>,
    example: &str,
    findings: &mut Findings,
) -> Option<(Text<'t>, u32)> {
    let text = entry.string(example, findings)?;
    let is_octal = |byte: u8| (b'0'..=b'7').contains(&byte);
    let has_form = (3..=4).contains(&text.value.len()) && text.value.bytes().all(is_octal);
    let mode = u32::from_str_radix(text.value, 8).ok();
    let mode = mode.filter(|mode| has_form && *mode <= 0o777);
    if mode.is_none() {
        findings
            .refuse(&text, format!("`{}` is three octal digits", entry.key))
            .hint(format!(
                "for owner, group and others, as in `\"{example}\"`"
            ));
    }
    mode.map(|mode| (text, mode))
}
