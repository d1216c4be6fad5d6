//! `caller`: what must be true of whoever asks.

use std::path::Path;

use super::{Ground, combination};
use crate::authz::{Conditions, ListenerName, TokenName, Tokens};
use crate::config::account::{self, Account};
use crate::config::findings::Findings;
use crate::config::identity::narrowing::Word;
use crate::config::table::{Entry, Table, Text};
use crate::config::vocabulary::{self, Vocabulary, is_presentable, nearest, quoted};
use crate::identity::{DEFAULT, IdentityName};

const VOCABULARY: Vocabulary<'_> = Vocabulary {
    place: vocabulary::CALLER,
    keys: &[
        "user",
        "group",
        "unit",
        "executable",
        "container",
        "token",
        "listener",
        "tcp",
    ],
};

/// A rule's caller.
pub(super) struct Caller {
    pub(super) conditions: Conditions,
    /// Its user and its group, as written.
    user: Option<String>,
    group: Option<String>,
}

impl Caller {
    /// What `{caller}` stands for.
    pub(super) fn word(&self) -> Word {
        let Conditions {
            unit,
            executable,
            container,
            token,
            listener,
            ..
        } = &self.conditions;
        let unit = unit.as_deref();
        let unit = unit.map(|unit| unit.rsplit_once('.').map_or(unit, |(name, _)| name));
        let executable = executable.as_deref().and_then(Path::file_name);
        let executable = executable.and_then(|name| name.to_str());
        let listener = listener.as_ref().filter(|_| self.group.is_none());
        let word = self.user.as_deref();
        let word = word.or(token.as_ref().map(IdentityName::as_str));
        let word = word.or(unit).or(container.as_deref()).or(executable);
        match word.or(listener.map(ListenerName::as_str)) {
            Some(word) => Word::Is(word.to_owned()),
            None => Word::None,
        }
    }

    /// What tells this caller from others, for people.
    pub(super) fn label(&self) -> String {
        match (self.word(), &self.group) {
            (Word::Is(word), _) => word,
            (_, Some(group)) => group.clone(),
            _ => "caller".to_owned(),
        }
    }

    /// The socket of `[serve.unix.NAME]` that the rule is about, and what that opens.
    pub(super) fn own_socket<'g>(
        &self,
        ground: &'g Ground<'_, '_>,
    ) -> Option<&'g (&'g str, Option<IdentityName>)> {
        let listener = self.conditions.listener.as_ref()?;
        let mut sockets = ground.sockets.iter();
        sockets.find(|(name, _)| ListenerName::own(name) == *listener)
    }
}

/// Reads the table.
pub(super) fn read(
    entry: &Entry<'_>,
    ground: &Ground<'_, '_>,
    findings: &mut Findings,
) -> Option<Caller> {
    let mut table = entry.inline_table("{ user = \"app\" }", findings)?;
    if table.is_empty() && !findings.is_incomplete() {
        findings
            .meaning(entry.key_span.clone(), "an empty `caller` is anybody")
            .hint("say who, as in `{ user = \"app\" }`");
        return None;
    }
    let combined = combination::refuse(&table, ground, findings);
    let mut reader = Reader {
        table: &mut table,
        ground,
        findings,
    };
    // Each is read for its problems, whatever becomes of the others.
    let (user, group) = (reader.user(), reader.group());
    let (unit, executable, container) = (reader.unit(), reader.executable(), reader.container());
    let (token, listener, tcp) = (reader.token(), reader.listener(), reader.tcp());
    let is_known = table.is_empty();
    table.refuse_rest(&VOCABULARY, findings);
    combined.ok()?;
    let (user, group) = (user.ok()?, group.ok()?);
    let conditions = Conditions {
        user: user.as_ref().map(|user| user.number),
        group: group.as_ref().map(|group| group.number),
        unit: unit.ok()?.map(|text| text.value.into()),
        executable: executable.ok()?.map(|text| text.value.into()),
        container: container.ok()?.map(|text| text.value.into()),
        token: token.ok()?,
        listener: listener.ok()?,
        tcp_without_token: tcp.ok()?,
    };
    is_known.then_some(Caller {
        conditions,
        user: user.map(|user| user.written),
        group: group.map(|group| group.written),
    })
}

/// A problem that has been reported.
pub(super) struct Refused;

type Outcome<T> = Result<T, Refused>;

struct Reader<'r, 't> {
    table: &'r mut Table<'t>,
    ground: &'r Ground<'r, 't>,
    findings: &'r mut Findings,
}

impl<'t> Reader<'_, 't> {
    fn user(&mut self) -> Outcome<Option<Account>> {
        let Some(entry) = self.table.take("user") else {
            return Ok(None);
        };
        let user = account::user(&entry, self.ground.accounts, self.findings);
        user.map(Some).ok_or(Refused)
    }

    fn group(&mut self) -> Outcome<Option<Account>> {
        let Some(entry) = self.table.take("group") else {
            return Ok(None);
        };
        let group = account::group(&entry, self.ground.accounts, self.findings);
        group.map(Some).ok_or(Refused)
    }

    fn unit(&mut self) -> Outcome<Option<Text<'t>>> {
        self.checked("unit", "app.service", |unit| {
            let (stem, suffix) = unit.rsplit_once('.').unwrap_or((unit, ""));
            if stem.is_empty() || !["service", "scope"].contains(&suffix) {
                return Err((
                    "a process runs in a service or in a scope, which the unit's name ends with",
                    format!(
                        "as in `{}.service`",
                        if fits_in_hint(unit) { unit } else { "app" }
                    ),
                ));
            }
            if unit.contains(['/', ' ']) {
                return Err((
                    "this is not the name of a unit",
                    "as in `app.service`".to_owned(),
                ));
            }
            Ok(())
        })
    }

    fn executable(&mut self) -> Outcome<Option<Text<'t>>> {
        self.checked("executable", "/usr/bin/app", |path| {
            let is_plain = |part: &str| !["", ".", ".."].contains(&part);
            if path
                .strip_prefix('/')
                .is_some_and(|path| path.split('/').all(is_plain))
            {
                return Ok(());
            }
            Err((
                "an executable is named by its absolute path, without `.` and `..`, as the kernel \
                 does",
                "as in `/usr/bin/app`: no symbolic link, but what it leads to".to_owned(),
            ))
        })
    }

    fn container(&mut self) -> Outcome<Option<Text<'t>>> {
        self.checked("container", "CONTAINER", |id| {
            let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            let is_short = id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_short {
                let hint = "`docker ps --no-trunc` shows it".to_owned();
                return Err((
                    "this is a container's short id, and its whole one is needed",
                    hint,
                ));
            }
            if id.len() > 128 || !id.bytes().all(is_fit) {
                let hint = "it is that of the container engine, often 64 hexadecimal digits";
                return Err(("this is not the id of a container", hint.to_owned()));
            }
            Ok(())
        })
    }

    fn token(&mut self) -> Outcome<Option<TokenName>> {
        let text = self.checked("token", "worker", |name| {
            if name == DEFAULT {
                return Err((
                    "the token `default` opens every identity already",
                    "give this caller a token of its own: choose its name, as in `worker`".to_owned(),
                ));
            }
            if Tokens::is_well_formed(name) {
                return Err((
                    "this is a token itself, and its name is wanted",
                    "choose a name, as in `worker`; whoever has read this token has it".to_owned(),
                ));
            }
            if TokenName::parse(name).is_err() {
                return Err((
                    "a token's name is like an identity's: 1 to 64 letters, digits, `-`, `_` and `.`",
                    "choose a name such as `worker` or `team-1`".to_owned(),
                ));
            }
            Ok(())
        })?;
        Ok(text.and_then(|text| TokenName::parse(text.value).ok()))
    }

    fn listener(&mut self) -> Outcome<Option<ListenerName>> {
        let Some(entry) = self.table.take("listener") else {
            return Ok(None);
        };
        let text = entry.string("unix", self.findings).ok_or(Refused)?;
        if !is_presentable(text.value) {
            self.findings.hide(text.span.clone());
        }
        let sockets = self.ground.sockets.iter().map(|(name, _)| *name);
        let listener = match text.value {
            "unix" => ListenerName::unix(),
            "http" => ListenerName::http(),
            "imds" => ListenerName::imds(),
            name if sockets.clone().any(|socket| socket == name) => ListenerName::own(name),
            // After a mistake in syntax, what seems to be missing may be there.
            _ if self.findings.is_incomplete() => return Err(Refused),
            name => {
                let names: Vec<&str> = ["unix", "http", "imds"]
                    .into_iter()
                    .chain(sockets)
                    .collect();
                let hint = match nearest(name, &names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => {
                        "it is `unix`, `http`, `imds`, or NAME of `[serve.unix.NAME]`".to_owned()
                    }
                };
                let message = format!("there is no listener {}", quoted(name));
                self.findings.refuse(&text, message).hint(hint);
                return Err(Refused);
            }
        };
        Ok(Some(listener))
    }

    fn tcp(&mut self) -> Outcome<bool> {
        let text = self.checked("tcp", WITHOUT_TOKEN, |tcp| {
            if tcp == WITHOUT_TOKEN {
                return Ok(());
            }
            let hint = format!("write `\"{WITHOUT_TOKEN}\"`, or remove it and hand out a token");
            Err(("`tcp` says that callers on TCP need no token", hint))
        })?;
        Ok(text.is_some())
    }

    /// A text that `check` has nothing against.
    fn checked(
        &mut self,
        key: &str,
        example: &str,
        check: impl FnOnce(&str) -> Result<(), (&'static str, String)>,
    ) -> Outcome<Option<Text<'t>>> {
        let Some(entry) = self.table.take(key) else {
            return Ok(None);
        };
        let text = entry.string(example, self.findings).ok_or(Refused)?;
        if let Err((message, hint)) = check(text.value) {
            // A token's name may be the token by mistake.
            if key == "token" {
                entry.hide(self.findings);
            }
            self.findings.refuse(&text, message).hint(hint);
            return Err(Refused);
        }
        Ok(Some(text))
    }
}

const WITHOUT_TOKEN: &str = "without-token";

fn fits_in_hint(unit: &str) -> bool {
    !unit.contains('.') && IdentityName::parse(unit).is_ok() && is_presentable(unit)
}
