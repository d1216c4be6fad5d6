//! A token's directory and the files in it, which a restart finds again.

use std::fmt::Write;

use super::folder::{Access, Folder, Found};
use super::unusable::Unusable;
use crate::authz::{TokenName, Tokens, new_token};
use crate::clock::Timestamp;
use crate::config::TokenSettings;
use crate::os::host;
use crate::secret::Secret;

/// `tokens/NAME/`: a directory for each token, so that a bind mount of it sees the next one.
#[derive(Debug)]
pub(super) struct TokenFile {
    folder: Folder,
    access: Access,
}

/// A token, and since when it is the one or is no longer.
pub(super) struct Dated {
    pub(super) secret: Secret,
    pub(super) since: Timestamp,
}

/// What clients read.
const TOKEN: &str = "token";

/// Those before it that are still honoured: a line each, with the Unix time in milliseconds at
/// which it was superseded.
const SUPERSEDED: &str = "superseded";

/// Of those, at most: somebody rotates in a loop.
pub(super) const MOST: usize = 16;

const LINE: usize = 64 + 1 + 20 + 1;

impl TokenFile {
    /// Makes the directory where needed, and lets those in who may read the token.
    pub(super) fn open(
        tokens: &Folder,
        name: &TokenName,
        settings: &TokenSettings,
    ) -> Result<Self, Unusable> {
        let folder = tokens.below(name.as_str())?;
        folder.let_in(access_of_folder(settings))?;
        let access = Access {
            group: settings.group,
            mode: settings.mode,
        };
        Ok(Self { folder, access })
    }

    /// The token of an earlier run, if nobody could have read or written it but those who may.
    pub(super) fn earlier(&self) -> Option<Dated> {
        let found = self.folder.read(TOKEN, 2 * LINE)?;
        let is_fine = is_unharmed(&found, self.access) && Tokens::is_well_formed(&found.text);
        is_fine.then(|| Dated {
            secret: Secret::from(found.text.to_string()),
            since: found.modified,
        })
    }

    /// Gives the earlier token's file the mode and the group that it is to have, if it has others.
    pub(super) fn renew(&self, token: &Dated) -> Result<(), Unusable> {
        let found = self.folder.read(TOKEN, 2 * LINE);
        let is_as_it_should_be = found.is_some_and(|found| {
            let is_its_group =
                self.access.group.is_none() || found.access.group == self.access.group;
            found.access.mode == self.access.mode && is_its_group
        });
        if is_as_it_should_be {
            return Ok(());
        }
        self.put(&token.secret, token.since)
    }

    /// Makes a new token.
    pub(super) fn make(&self, now: Timestamp) -> Result<Secret, Unusable> {
        let token = new_token();
        self.put(&token, now)?;
        Ok(token)
    }

    fn put(&self, token: &Secret, since: Timestamp) -> Result<(), Unusable> {
        // No newline: the Rust, C and Go SDKs and botocore refuse a token that ends in one.
        let text = token.expose().as_bytes();
        self.folder.write(TOKEN, text, self.access, since)
    }

    pub(super) fn superseded(&self) -> Vec<Dated> {
        let Some(found) = self.folder.read(SUPERSEDED, MOST * LINE) else {
            return Vec::new();
        };
        if !is_unharmed(&found, PRIVATE) {
            return Vec::new();
        }
        let read = |line: &str| {
            let (token, since) = line.split_once(' ')?;
            let since = Timestamp::from_unix_millis(since.parse().ok()?);
            Tokens::is_well_formed(token).then(|| Dated {
                secret: Secret::from(token.to_owned()),
                since,
            })
        };
        found.text.lines().filter_map(read).collect()
    }

    /// Writes down the last [`MOST`] of those that are honoured besides the token.
    pub(super) fn keep_superseded(&self, all: &[Dated], now: Timestamp) -> Result<(), Unusable> {
        if all.is_empty() {
            return self.folder.remove(SUPERSEDED);
        }
        let mut lines = zeroize::Zeroizing::new(String::with_capacity(MOST * LINE));
        for token in all.iter().skip(all.len().saturating_sub(MOST)) {
            let (text, since) = (token.secret.expose(), token.since.unix_millis());
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "{text} {since}");
        }
        let lines = lines.as_bytes();
        self.folder.write(SUPERSEDED, lines, PRIVATE, now)
    }

    /// Leaves nothing that a later run could take for a valid token.
    pub(super) fn clear(&self) -> Result<(), Unusable> {
        let removed = [TOKEN, SUPERSEDED].map(|name| self.folder.remove(name));
        removed.into_iter().collect()
    }
}

/// Removes the directories of all tokens but those that are kept.
pub(super) fn remove_others(
    tokens: &Folder,
    is_kept: impl Fn(&TokenName) -> bool,
) -> Result<(), Unusable> {
    for name in tokens.folders()? {
        let name = name.to_str().and_then(|name| TokenName::parse(name).ok());
        let Some(name) = name.filter(|name| !is_kept(name)) else {
            continue;
        };
        let folder = tokens.below(name.as_str())?;
        for file in [TOKEN, SUPERSEDED] {
            folder.remove(file)?;
            folder.remove(&format!("{file}.new"))?;
        }
        tokens.remove_folder(name.as_str())?;
        tracing::info!(token = %name, "removed, with its file");
    }
    Ok(())
}

/// Which start of the host these tokens are of.
const BOOT: &str = ".boot";

/// Ends all tokens that were made before the host was last started, where the directory outlives
/// that: whoever had one then may be nobody's client now. Where the host does not tell its starts
/// apart, none is ended.
pub(super) fn end_those_of_another_boot(tokens: &Folder, now: Timestamp) -> Result<(), Unusable> {
    let Some(boot) = host::boot_id() else {
        return Ok(());
    };
    let before = tokens.read(BOOT, 2 * boot.len());
    let before = before.filter(|it| it.is_ours && *it.text != boot);
    if before.is_some() {
        remove_others(tokens, |_| false)?;
    }
    tokens.write(BOOT, boot.as_bytes(), PRIVATE, now)
}

const PRIVATE: Access = Access {
    group: None,
    mode: 0o600,
};

/// Whoever may read the file may enter its directory, and see what is in it.
fn access_of_folder(settings: &TokenSettings) -> Access {
    let of_group = if settings.group.is_some() { 0o050 } else { 0 };
    let of_others = if settings.mode & 0o004 == 0 { 0 } else { 0o005 };
    Access {
        group: settings.group,
        mode: 0o700 | of_group | of_others,
    }
}

/// Whether nobody could have written the file, and nobody read it who may not.
fn is_unharmed(found: &Found, allowed: Access) -> bool {
    let is_read_by_group = found.access.mode & 0o040 != 0;
    let is_its_group = allowed.group.is_none() || found.access.group == allowed.group;
    found.is_ours
        && found.access.mode & 0o022 == 0
        && found.access.mode & 0o077 & !allowed.mode == 0
        && (!is_read_by_group || is_its_group)
}
