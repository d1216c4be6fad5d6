//! `[serve.unix]`: the public Unix socket, and those of `[serve.unix.NAME]`, each of which opens
//! one identity to whoever gets to it.

use std::path::{Path, PathBuf};

use crate::authz::{Conditions, ListenerName, Opening, Opens, Rule};
use crate::config::findings::Findings;
use crate::config::relations::Names;
use crate::config::table::{Entry, Table, Text};
use crate::config::vocabulary::{self, Vocabulary, quoted};
use crate::config::{account, mode};
use crate::identity::IdentityName;
use crate::os::users::Accounts;
use crate::serve::OwnSocket;

const UNIX: Vocabulary<'_> = Vocabulary {
    place: vocabulary::UNIX,
    keys: &["path"],
};

const OWN: Vocabulary<'_> = Vocabulary {
    place: vocabulary::OWN_SOCKET,
    keys: &["path", "identity", "owner", "group", "mode"],
};

/// Names of listeners that there are without any config.
pub(in crate::config) const RESERVED: [&str; 5] = ["unix", "http", "imds", "admin", "metrics"];

#[derive(Default)]
pub(super) struct Sockets<'t> {
    pub(super) public: Option<PathBuf>,
    pub(super) own: Vec<OwnSocket>,
    pub(super) rules: Vec<Rule>,
    /// Those with problems included.
    pub(super) names: Vec<(&'t str, Option<IdentityName>)>,
}

pub(super) fn read<'t>(
    mut table: Table<'t>,
    names: &Names<'t>,
    accounts: &dyn Accounts,
    findings: &mut Findings,
) -> Sockets<'t> {
    let mut reader = Reader {
        names,
        accounts,
        findings,
        paths: Vec::new(),
        sockets: Sockets::default(),
    };
    if let Some(text) = table.string("path", EXAMPLE, reader.findings) {
        reader.sockets.public = reader.path(&text);
    }
    for entry in table.into_entries() {
        if entry.is_table() {
            reader.own(&entry);
        } else {
            entry.refuse(&UNIX, reader.findings);
        }
    }
    reader.sockets
}

const EXAMPLE: &str = "/run/app/credd.sock";

struct Reader<'r, 't> {
    names: &'r Names<'t>,
    accounts: &'r dyn Accounts,
    findings: &'r mut Findings,
    /// Those of all sockets so far.
    paths: Vec<PathBuf>,
    sockets: Sockets<'t>,
}

impl<'t> Reader<'_, 't> {
    fn own(&mut self, entry: &Entry<'t>) {
        let Some(mut table) = entry.table(self.findings) else {
            return;
        };
        let has_name = self.has_name(entry);
        let findings = &mut *self.findings;
        if table.lacks("path") && !findings.is_incomplete() {
            findings
                .meaning(
                    entry.key_span.clone(),
                    format!("socket {} lacks `path`", quoted(entry.key)),
                )
                .hint(format!("add `path = \"{EXAMPLE}\"`"));
        }
        let path = table.string("path", EXAMPLE, findings);
        let owner = table.take("owner");
        let owner = owner.map(|entry| account::user(&entry, self.accounts, findings));
        let group = table.take("group");
        let group = group.map(|entry| account::group(&entry, self.accounts, findings));
        let usual = if group.is_some() { 0o660 } else { 0o600 };
        let mode = table.take("mode").map(|entry| mode(&entry, findings));
        let identity = table.take("identity");
        let identity = match &identity {
            Some(entry) => entry.string("billing", findings),
            None => Some(Text {
                value: entry.key,
                span: entry.key_span.clone(),
            }),
        };
        table.refuse_rest(&OWN, findings);
        let path = path.and_then(|text| self.path(&text));
        // A name that cannot be is problem enough.
        let identity = identity.filter(|text| has_name || text.value != entry.key);
        let identity = identity.and_then(|text| self.names.find(&text, self.findings));
        self.sockets.names.push((entry.key, identity.clone()));
        let (Some(path), Some(identity)) = (path, identity) else {
            return;
        };
        let listener = ListenerName::own(entry.key);
        self.sockets.rules.push(Rule {
            name: format!("serve.unix.{}", entry.key).as_str().into(),
            caller: Conditions {
                listener: Some(listener.clone()),
                ..Conditions::default()
            },
            opens: Opens::Only(vec![Opening::of(identity)]),
        });
        self.sockets.own.push(OwnSocket {
            listener,
            path,
            owner: owner.flatten().map(|owner| owner.number),
            group: group.flatten().map(|group| group.number),
            mode: mode.flatten().unwrap_or(usual),
        });
    }

    fn has_name(&mut self, entry: &Entry<'_>) -> bool {
        let (message, hint) = if RESERVED.contains(&entry.key) {
            (
                format!("`{}` is the name of another listener", entry.key),
                "choose another, such as that of the identity",
            )
        } else if IdentityName::parse(entry.key).is_err() {
            (
                "a socket's name is like an identity's: 1 to 64 letters, digits, `-`, `_` and `.`"
                    .to_owned(),
                "choose a name such as `billing` or `team-1`",
            )
        } else {
            return true;
        };
        let header = Text {
            value: entry.key,
            span: entry.key_span.clone(),
        };
        self.findings.refuse(&header, message).hint(hint);
        false
    }

    /// The path of one more socket.
    fn path(&mut self, text: &Text<'_>) -> Option<PathBuf> {
        let path = socket_path(text, self.findings)?;
        if self.paths.contains(&path) {
            self.findings
                .refuse(text, "another socket has this path already")
                .hint("give each a path of its own");
        }
        self.paths.push(path.clone());
        Some(path)
    }
}

fn mode(entry: &Entry<'_>, findings: &mut Findings) -> Option<u32> {
    let (text, mode) = mode::read(entry, "0660", findings)?;
    // unix(7): connecting takes the permission to write.
    if mode & 0o222 == 0 {
        findings
            .refuse(
                &text,
                "nobody could connect, which takes the right to write",
            )
            .hint("as in `\"0660\"`, for its owner and its group");
        return None;
    }
    Some(mode)
}

/// `sun_path` has 108 bytes, the last of which is a NUL (unix(7)).
const LONGEST_PATH: usize = 107;

fn socket_path(text: &Text<'_>, findings: &mut Findings) -> Option<PathBuf> {
    let path = Path::new(text.value);
    if !path.is_absolute() {
        findings
            .refuse(text, "the path of the socket must be absolute")
            .hint("start it with `/`");
        return None;
    }
    if text.value.len() > LONGEST_PATH {
        let message = format!(
            "the path of the socket has {} bytes, and no socket can have more than {LONGEST_PATH}",
            text.value.len()
        );
        findings
            .meaning(text.span.clone(), message)
            .hint("shorten it");
        return None;
    }
    Some(path.to_owned())
}
