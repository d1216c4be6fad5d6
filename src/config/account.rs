//! Users and groups, by name or by number.

use std::io;

use super::findings::Findings;
use super::table::{Entry, Text};
use super::vocabulary::quoted;
use crate::os::users::Accounts;

/// A user or a group.
pub(super) struct Account {
    pub(super) number: u32,
    pub(super) written: String,
}

/// The highest number; the one above means none (chown(2)).
const HIGHEST: u32 = u32::MAX - 1;

pub(super) fn user(
    entry: &Entry<'_>,
    accounts: &dyn Accounts,
    findings: &mut Findings,
) -> Option<Account> {
    let is_somebodys = |number| accounts.overflow().is_user(number);
    Kind("user", "passwd").read(entry, &is_somebodys, &|name| accounts.user(name), findings)
}

pub(super) fn group(
    entry: &Entry<'_>,
    accounts: &dyn Accounts,
    findings: &mut Findings,
) -> Option<Account> {
    let is_somebodys = |number| accounts.overflow().is_group(number);
    Kind("group", "group").read(entry, &is_somebodys, &|name| accounts.group(name), findings)
}

/// What it is, and where the host lists those.
struct Kind(&'static str, &'static str);

impl Kind {
    fn read(
        &self,
        entry: &Entry<'_>,
        is_somebodys: &dyn Fn(u32) -> bool,
        find: &dyn Fn(&str) -> io::Result<Option<u32>>,
        findings: &mut Findings,
    ) -> Option<Account> {
        let Self(kind, _) = self;
        let (number, written) = if entry.is_integer() {
            let number = entry.number(0..=HIGHEST, findings)?;
            (number, number.to_string())
        } else {
            let text = entry.string("app", findings)?;
            (self.found(&text, find, findings)?, text.value.to_owned())
        };
        if !is_somebodys(number) {
            let message =
                format!("{number} stands for every {kind} that this system has no number for");
            findings
                .meaning(entry.value_span(), message)
                .hint(format!("choose a {kind} that nobody else is"));
            return None;
        }
        Some(Account { number, written })
    }

    fn found(
        &self,
        text: &Text<'_>,
        find: &dyn Fn(&str) -> io::Result<Option<u32>>,
        findings: &mut Findings,
    ) -> Option<u32> {
        let Self(kind, database) = self;
        let name = quoted(text.value);
        let (message, hint) = match find(text.value) {
            Ok(Some(number)) => return Some(number),
            Ok(None) if text.value.bytes().all(|byte| byte.is_ascii_digit()) => (
                format!("there is no {kind} called {name}"),
                "a number is written without quotes".to_owned(),
            ),
            Ok(None) => (
                format!("this host has no {kind} {name}"),
                format!(
                    "`getent {database}` lists those that it has; in a container, which may have no \
                     names, write a number, without quotes"
                ),
            ),
            Err(error) => (
                format!("the {kind} {name} cannot be looked up: {error}"),
                "write its number, without quotes".to_owned(),
            ),
        };
        findings.refuse(text, message).hint(hint);
        None
    }
}
