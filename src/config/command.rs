//! A program and its arguments, as an array that starts with the program's absolute path.

use super::findings::Findings;
use super::table::Entry;
use super::vocabulary::is_presentable;
use crate::program::Command;

/// Reads such an array. None of it is shown but a bare name: arguments may hold secrets.
pub(super) fn read(entry: &Entry<'_>, findings: &mut Findings) -> Option<Command> {
    entry.hide(findings);
    let words = entry.strings("/usr/bin/ykman", findings)?;
    let Some(program) = words.first() else {
        findings
            .meaning(
                entry.key_span.clone(),
                format!("`{}` names no program", entry.key),
            )
            .hint("start with its absolute path, as in `[\"/usr/bin/ykman\", \"info\"]`");
        return None;
    };
    if !program.value.starts_with('/') {
        let hint = if is_bare_name(program.value) {
            format!("write where it is, as in `/usr/bin/{}`", program.value)
        } else {
            "write where it is, as in `/usr/bin/ykman`, and each argument as a string of its own"
                .to_owned()
        };
        findings
            .meaning(
                program.span.clone(),
                "a program is named by its absolute path, so that it is the same one wherever \
                 credd runs",
            )
            .hint(hint);
        return None;
    }
    let words = words.iter().map(|word| word.value.to_owned());
    Some(Command::Arguments(words.collect()))
}

fn is_bare_name(word: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    is_presentable(word) && !word.starts_with('.') && word.bytes().all(is_fit)
}
