//! Which conditions go together.

use std::ops::Range;

use super::Ground;
use super::caller::Refused;
use crate::config::findings::Findings;
use crate::config::table::Table;

/// Reports what cannot be true of any caller, or would be true of more than are meant.
pub(super) fn refuse(
    table: &Table<'_>,
    ground: &Ground<'_, '_>,
    findings: &mut Findings,
) -> Result<(), Refused> {
    // Without a key that went unread, the others may mean something else.
    if findings.is_incomplete() {
        return Ok(());
    }
    match combination(table, ground) {
        Some((span, message, hint)) => {
            findings.meaning(span, message).hint(hint);
            Err(Refused)
        }
        None => Ok(()),
    }
}

/// Known of callers on Unix sockets only.
const OF_PROCESS: [&str; 4] = ["group", "unit", "executable", "container"];

fn combination(
    table: &Table<'_>,
    ground: &Ground<'_, '_>,
) -> Option<(Range<usize>, String, String)> {
    let at = |key| table.key_span(key);
    let (token, listener, tcp) = (at("token"), at("listener"), at("tcp"));
    let name = table.text("listener").unwrap_or_default();
    let is_tcp_listener = ["http", "imds"].contains(&name);
    let is_own = ground.sockets.iter().any(|(socket, _)| *socket == name);
    let is_unix_listener = !is_tcp_listener && (is_own || name == "unix");
    let only_tcp = [
        token.as_ref().map(|_| "token".to_owned()),
        tcp.as_ref().map(|_| "tcp".to_owned()),
        is_tcp_listener.then(|| format!("listener = \"{name}\"")),
    ];
    let problem = |span: Range<usize>, message: &str, hint: &str| {
        Some((span, message.to_owned(), hint.to_owned()))
    };
    if let Some(other) = only_tcp.into_iter().flatten().next()
        && let Some(key) = OF_PROCESS.into_iter().find(|key| table.has(key))
    {
        let message = format!(
            "no caller meets both `{key}` and `{other}`: on TCP the kernel tells the user only"
        );
        let hint = format!("write `user` in place of `{key}`, or remove `{other}`");
        return Some((at(key)?, message, hint));
    }
    match (token, tcp, listener) {
        (Some(token), Some(_), _) => problem(
            token,
            "no caller comes both with a token and without one",
            "remove `token` or `tcp`; what either opens can be said in two rules",
        ),
        (Some(_), _, Some(listener)) if is_unix_listener => problem(
            listener,
            "tokens count on TCP only, and this listener is a Unix socket",
            "remove `token`, or `listener`",
        ),
        (Some(token), _, _) if name == "imds" => problem(
            token,
            "clients of instance metadata have no token to show",
            "write `tcp = \"without-token\"` and a `user` in its place",
        ),
        (_, Some(tcp), Some(_)) if is_unix_listener => problem(
            tcp,
            "`tcp` is about callers on TCP, and this listener is a Unix socket",
            "remove `tcp`: on a Unix socket nobody needs a token",
        ),
        (None, None, Some(listener)) if is_tcp_listener => problem(
            listener,
            "nobody comes in there without a token, unless the rule says so",
            "add `tcp = \"without-token\"`, or for `http` a `token`",
        ),
        (_, Some(tcp), None) if !table.has("user") => problem(
            tcp,
            "this opens to every user of this host",
            "add `user`; or, if all of them are meant, say where: `listener = \"http\"` or `\"imds\"`",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use crate::authz::{
        self, Bearer, Conditions, Decision, ListenerName, Policy, Presented, Process, Rule,
        TokenName, Transport, User,
    };
    use crate::config;
    use crate::identity::IdentityName;
    use crate::os::users::HostAccounts;

    const CONDITIONS: [&str; 7] = [
        "user = 1001",
        "group = 1002",
        "unit = 'app.service'",
        "executable = '/usr/bin/app'",
        "container = 'c1'",
        "token = 'worker'",
        "tcp = 'without-token'",
    ];

    fn on(listener: ListenerName) -> authz::Caller {
        let is_tcp = [ListenerName::http(), ListenerName::imds()].contains(&listener);
        let process = Process {
            pid: 1,
            executable: Some("/usr/bin/app".into()),
            unit: Some("app.service".into()),
            container: Some("c1".into()),
        };
        authz::Caller {
            listener,
            transport: if is_tcp {
                Transport::Tcp
            } else {
                Transport::Unix
            },
            user: Some(User {
                uid: 1001,
                gid: (!is_tcp).then_some(1002),
                groups: Arc::new([]),
            }),
            process: (!is_tcp).then_some(process),
        }
    }

    /// Whether there is anybody whom the conditions admit.
    fn can_be_met(conditions: &Conditions) -> bool {
        let rule = Rule {
            name: "rule".into(),
            caller: conditions.clone(),
            opens: authz::Opens::Only(vec![authz::Opening::of(IdentityName::default())]),
        };
        let policy = Policy::new(vec![rule], 1, vec![]);
        let worker = Bearer::Token(TokenName::parse("worker").unwrap());
        let nothing = Presented::Nothing;
        [
            (on(ListenerName::unix()), &nothing),
            (on(ListenerName::own("own")), &nothing),
            (on(ListenerName::http()), &nothing),
            (on(ListenerName::http()), &Presented::Bearer(worker)),
            // Its clients have nothing to show.
            (on(ListenerName::imds()), &nothing),
        ]
        .iter()
        .any(|(caller, presented)| {
            matches!(policy.decide(caller, presented, None), Decision::Allow(_))
        })
    }

    #[test]
    fn exactly_those_combinations_are_taken_that_somebody_meets_and_that_say_who() {
        let listeners = [
            None,
            Some(ListenerName::unix()),
            Some(ListenerName::http()),
            Some(ListenerName::imds()),
            Some(ListenerName::own("own")),
        ];
        let (mut taken, mut refused) = (0, 0);
        for (bits, listener) in
            (0..1 << CONDITIONS.len()).flat_map(|bits| listeners.iter().map(move |it| (bits, it)))
        {
            let has = |index: usize| bits >> index & 1 == 1;
            let said = (0..CONDITIONS.len()).filter(|index| has(*index));
            let said = said.map(|index| CONDITIONS[index].to_owned());
            let said = said.chain(listener.iter().map(|it| format!("listener = '{it}'")));
            let said: Vec<String> = said.collect();
            let conditions = Conditions {
                user: has(0).then_some(1001),
                group: has(1).then_some(1002),
                unit: has(2).then(|| "app.service".into()),
                executable: has(3).then(|| "/usr/bin/app".into()),
                container: has(4).then(|| "c1".into()),
                token: has(5).then(|| TokenName::parse("worker").unwrap()),
                listener: listener.clone(),
                tcp_without_token: has(6),
            };
            // A token is one of TCP's, though a rule that names it may well be met elsewhere.
            let excludes = has(5) && has(6) || has(6) && (1..5).any(has);
            let says_who = !said.is_empty() && (!has(6) || has(0) || listener.is_some());
            let on_unix = [Some(ListenerName::unix()), Some(ListenerName::own("own"))];
            let is_idle = has(6) && on_unix.contains(listener);
            let text = format!(
                "[serve.unix.own]\npath = '/own'\nidentity = 'a'\n[identity.a]\n[identity.b]\n\
                 [[allow]]\nidentity = ['b']\ncaller = {{ {} }}",
                said.join(", ")
            );
            let config = config::parse(Path::new("credd.toml"), &text, &HostAccounts);
            let expected = can_be_met(&conditions) && says_who && !excludes && !is_idle;
            assert_eq!(config.is_ok(), expected, "{text}\n{config:?}");
            if let Ok(config) = config {
                assert_eq!(config.allow.last().unwrap().caller, conditions);
                taken += 1;
            } else {
                refused += 1;
            }
        }
        assert!(taken > 50 && refused > 50, "{taken} {refused}");
    }
}
