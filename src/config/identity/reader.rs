//! The table of one identity, as the providers' files read it: typed values, and what is missing.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::config::findings::Findings;
use crate::config::table::{Table, Text};
use crate::config::vocabulary::quoted;
use crate::config::{command, secret_place};
use crate::program::Command;
use crate::secret_place::SecretPlace;

pub(super) struct Reader<'r, 't> {
    /// The identity's name, where its table begins.
    pub(super) header: Text<'t>,
    /// Whether the provider is that which is meant, and nothing has gone unread.
    pub(super) is_sure: bool,
    pub(super) table: Table<'t>,
    /// Where relative paths start.
    pub(super) base: &'r Path,
    pub(super) findings: &'r mut Findings,
    /// As it is read: what the identity is derived from.
    pub(super) from: Option<Text<'t>>,
    /// As it is read.
    pub(super) lifetime: Option<Text<'t>>,
}

impl<'t> Reader<'_, 't> {
    /// Reports that a key is needed if it is not there, not even misspelt. `value` is what could stand there, in TOML.
    pub(super) fn require(&mut self, key: &str, value: &str) {
        if !self.is_sure || !self.table.lacks(key) {
            return;
        }
        let message = format!("identity {} lacks `{key}`", quoted(self.header.value));
        self.findings
            .refuse(&self.header, message)
            .hint(format!("add `{key} = {value}`"));
    }

    pub(super) fn string(&mut self, key: &str, example: &str) -> Option<Text<'t>> {
        self.table.string(key, example, self.findings)
    }

    pub(super) fn boolean(&mut self, key: &str) -> Option<bool> {
        self.table.boolean(key, self.findings)
    }

    /// What `parse` makes of the text, or its error with a hint.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        text: &Text<'_>,
        hint: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(text.value) {
            Ok(parsed) => Some(parsed),
            Err(problem) => {
                self.findings.refuse(text, problem.to_string()).hint(hint);
                None
            }
        }
    }

    /// A path, from the directory of the config file unless it is absolute.
    pub(super) fn file(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.string(key, "/etc/credd/file")?;
        self.path(&text)
    }

    /// The same, of a text that is read already.
    pub(super) fn path(&mut self, text: &Text<'_>) -> Option<PathBuf> {
        if text.value == "~" || text.value.starts_with("~/") {
            self.findings
                .refuse(text, "`~` has no meaning in the config")
                .hint("write the path out: the daemon's home need not be yours");
            return None;
        }
        Some(self.base.join(text.value))
    }

    pub(super) fn command(&mut self, key: &str) -> Option<Command> {
        let entry = self.table.take(key)?;
        command::read(&entry, self.findings)
    }

    pub(super) fn secret_place(&mut self, key: &str) -> Option<SecretPlace> {
        let entry = self.table.take(key)?;
        secret_place::read(&entry, self.base, self.findings)
    }
}
