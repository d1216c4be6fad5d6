//! From the file as written to the config as meant.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::findings::Findings;
use super::lines::Lines;
use super::problem::Problems;
use super::table::{Table, Text};
use super::vocabulary::{self, Vocabulary};
use super::{Config, default_identities, identity, mfa, relations, syntax};
use crate::identity::IdentityName;
use crate::providers::chain::Link;
use crate::serve;

const TOP: Vocabulary<'_> = Vocabulary {
    place: vocabulary::TOP,
    keys: &["serve", "identity", "mfa"],
    planned: &["allow"],
};

const SERVE: Vocabulary<'_> = Vocabulary {
    place: vocabulary::SERVE,
    keys: &["http", "unix"],
    planned: &["imds"],
};

const HTTP: Vocabulary<'_> = Vocabulary {
    place: vocabulary::HTTP,
    keys: &["listen"],
    planned: &[],
};

const UNIX: Vocabulary<'_> = Vocabulary {
    place: vocabulary::UNIX,
    keys: &["path"],
    planned: &[],
};

/// Reads the text of the file at `path`, which is not touched: it is cited in problems, and paths
/// in the config start from its directory.
pub fn parse(path: &Path, text: &str) -> Result<Config, Problems> {
    let lines = Lines::of(text);
    let (mut document, mut errors) = DeTable::parse_recoverable(text);
    let blanked = syntax::blanked(text, &lines, &mut errors);
    if let Some(blanked) = &blanked {
        let (rest, more) = DeTable::parse_recoverable(blanked);
        document = rest;
        errors.extend(more);
    }
    let mut findings = Findings::default();
    syntax::report(&errors, document.get_ref(), &lines, &mut findings);
    let base = path.parent().unwrap_or(Path::new(""));
    let config = config(Table::of(document.get_ref()), base, &mut findings);
    if findings.is_incomplete() {
        syntax::hide(&lines, &mut findings);
    }
    match findings.cite(path, &lines) {
        None => Ok(config),
        Some(problems) => Err(problems),
    }
}

fn config(mut top: Table<'_>, base: &Path, findings: &mut Findings) -> Config {
    let mut config = Config::default();
    if let Some(table) = top.table("serve", findings) {
        serve(table, &mut config.serve, findings);
    }
    if let Some(table) = top.table("mfa", findings) {
        config.challenges = mfa::read(table, findings);
    }
    let identities = top
        .table("identity", findings)
        .map(|table| identities(table, base, findings));
    config.identities = identities
        .filter(|identities| !identities.is_empty())
        .unwrap_or_else(default_identities);
    top.refuse_rest(&TOP, findings);
    config
}

fn identities(
    table: Table<'_>,
    base: &Path,
    findings: &mut Findings,
) -> BTreeMap<IdentityName, Vec<Link>> {
    let read: Vec<_> = table
        .into_entries()
        .filter_map(|entry| identity::read(&entry, base, findings))
        .collect();
    relations::check(&read, findings);
    read.into_iter()
        .filter_map(|identity| Some((IdentityName::parse(identity.name).ok()?, identity.links?)))
        .collect()
}

fn serve(mut table: Table<'_>, config: &mut serve::Config, findings: &mut Findings) {
    if let Some(mut http) = table.table("http", findings) {
        if let Some(listen) = http.strings("listen", "127.0.0.1:9169", findings) {
            config.http = addresses(&listen, findings);
        }
        http.refuse_rest(&HTTP, findings);
    }
    if let Some(mut unix) = table.table("unix", findings) {
        config.unix = unix
            .string("path", "/run/app/credd.sock", findings)
            .and_then(|path| socket_path(path, findings));
        unix.refuse_rest(&UNIX, findings);
    }
    table.refuse_rest(&SERVE, findings);
}

fn addresses(listen: &[Text<'_>], findings: &mut Findings) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for text in listen {
        let Some(address) = address(text, findings) else {
            continue;
        };
        // The second of two would not get the port that the first has.
        if address.port() != 0 && addresses.contains(&address) {
            findings
                .meaning(text.span.clone(), "this address is listed twice")
                .hint("remove it");
        }
        addresses.push(address);
    }
    addresses
}

fn address(text: &Text<'_>, findings: &mut Findings) -> Option<SocketAddr> {
    let span = text.span.clone();
    let Ok(address) = text.value.parse::<SocketAddr>() else {
        findings
            .meaning(span, "not an IP address and a port")
            .hint(address_hint(text.value));
        return None;
    };
    if !address.ip().is_loopback() {
        findings
            .meaning(
                span,
                "credd listens on loopback addresses only in this version",
            )
            .hint("use `127.0.0.1` or `[::1]`");
        return None;
    }
    Some(address)
}

fn address_hint(text: &str) -> String {
    let port = text
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse::<u16>().ok())
        .unwrap_or(super::PORT);
    let inner = text.trim_start_matches('[').trim_end_matches(']');
    match inner.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => format!("add a port: `{address}:{port}`"),
        Ok(IpAddr::V6(address)) if address == Ipv6Addr::LOCALHOST => {
            format!("brackets and a port: `[{address}]:{port}`")
        }
        // What stands last may be a port or a part of the address.
        Ok(IpAddr::V6(_)) => format!("brackets and a port: `[::1]:{port}`"),
        Err(_) => format!("as in `127.0.0.1:{port}`"),
    }
}

/// `sun_path` has 108 bytes, the last of which is a NUL (unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;

fn socket_path(text: Text<'_>, findings: &mut Findings) -> Option<PathBuf> {
    let path = Path::new(text.value);
    if !path.is_absolute() {
        findings
            .meaning(text.span, "the path of the socket must be absolute")
            .hint("start it with `/`");
        return None;
    }
    if text.value.len() > LONGEST_SOCKET_PATH {
        let message = format!(
            "the path of the socket has {} bytes, and no socket can have more than \
             {LONGEST_SOCKET_PATH}",
            text.value.len()
        );
        findings.meaning(text.span, message).hint("shorten it");
        return None;
    }
    Some(path.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "do+not/show7EXAMPLE0do+not/show7EXAMPLE0";

    fn shown(text: &str) -> String {
        match parse(Path::new("credd.toml"), text) {
            Ok(config) => format!("{config:?}"),
            Err(problems) => problems.to_string(),
        }
    }

    /// Texts that get further into the reader than letters by chance do.
    fn nearly_toml() -> impl Strategy<Value = String> {
        const WORDS: &str = r#"= . , [ ] [[ ]] { } " ' """ ''' # \ \u00e9 é 日 1 9.5 true 2026-01-01
            serve http unix imds listen path identity ops provider profile config-file uri endpoint
            endpoint-mode from allow unknown "chain" "127.0.0.1:9169" "http://127.0.0.1/"
            [serve.http] [identity.ops] provider="imds" profile="ops" role-arn lifetime "12h" "1h"
            "arn:aws:iam::123456789012:role/a" provider="assume-role" provider="session-token"
            provider="process" provider="keys" provider="web-identity" from="ops" from="default"
            mfa-serial mfa-code command totp-secret "credential:a" "file:a" tags transitive-tags
            policy-arns access-key-id secret-access-key [mfa] warn hook "/a" [identity.default]"#;
        let blanks = ["\n", "\r\n", "\r", " ", "\t", "\u{feff}", "\u{1b}"];
        let words: Vec<_> = WORDS.split_whitespace().chain(blanks).collect();
        prop::collection::vec(prop::sample::select(words), 0..60).prop_map(|words| words.concat())
    }

    /// Lines, some of which hold the secret where it does not belong.
    fn with_secrets() -> impl Strategy<Value = String> {
        const LINES: &str = r#"
            SECRET
            SECRET=
            SECRET==
            [SECRET]
            'SECRET' = 1
            'SECRET'.a = 1
            key = 'SECRET'
            key.'SECRET' = 1
            key = SECRET
            key = 'SECRET
            key = ['SECRET', 'SECRET'
            key = { 'SECRET' = 'SECRET' }
            key 'SECRET'
            key: SECRET
            key = """
            """
            ]
            }
            unknown = ['SECRET', { 'SECRET' = 'SECRET' }]
            mfa-code = { totp-secret = 'SECRET' }
            mfa-code = { totp-secret = 'file:~/SECRET', command = ['SECRET'] }
            mfa-code = 'SECRET'
            mfa-code = SECRET
            secret-access-key = 'SECRET'
            secret-access-key = SECRET
            secret-access-key 'SECRET'
            session-token = ['SECRET']
            access-key-id = 'SECRET'
            command = ['SECRET', 'SECRET']
            command = ['/bin/sh', 'SECRET', 7]
            command = ['/bin/sh', 'SECRET
            command = 'SECRET'
            hook = ['tell', 'SECRET']
            hook = 'SECRET
            warn = ['SECRET', 'SECRET']
            from = 'SECRET'
            from = SECRET
            role-arn = 'SECRET'
            lifetime = 'SECRET'
            session-name = 'SECRET'
            session-policy = '{SECRET'
            policy-arns = ['SECRET']
            source-identity = 'SECRET'
            external-id = '*SECRET'
            external-id = ['SECRET']
            tags = { SECRET = 'SECRET', a = '*SECRET', b = ['SECRET'] }
            tags = 'SECRET'
            transitive-tags = ['SECRET']
            mfa-serial = '*SECRET'
            region = 'SECRET'
            endpoint = 'SECRET'
            endpoint = 'http://SECRET/'
            run-programs = 'SECRET'
            provider = 'SECRET'
            provider = 'assume-role'
            provider = 'session-token'
            provider = 'web-identity'
            provider = 'process'
            [mfa]
            [identity.ops.mfa-code]
            [identity.ops.tags]
            uri = 'http://user:SECRET@127.0.0.1/'
            [serve.http]
            listen = [1]
            [identity]
            [identity.ops]
            [identity.ops
            provider = 'profile'
            provider = 'keys'
            profile = { secret = 'SECRET' }
            identity.inline = { provider = 'profil', secret = 'SECRET', profle = 1 }
            identity.planned = { provider = 'sso', secret = 'SECRET' }
            identity.keys = { secret-access-key = 'SECRET', provider = 'keys', session-token = 'SECRET', a = 1 }
            identity.tool = { command = ['/a', 'SECRET'], provider = 'process', a = 1 }
            identity.role = { external-id = 'SECRET', provider = 'asume-role', a = 1 }
        "#;
        let lines: Vec<_> = LINES.trim().lines().map(str::trim).collect();
        prop::collection::vec(prop::sample::select(lines), 1..12)
            .prop_map(|lines| lines.join("\n").replace("SECRET", SECRET))
    }

    proptest! {
        #[test]
        fn any_text_is_a_config_or_a_list_of_problems(text in any::<String>()) {
            shown(&text);
        }

        #[test]
        fn what_is_nearly_toml_is_a_config_or_a_list_of_problems(text in nearly_toml()) {
            shown(&text);
        }

        #[test]
        fn what_does_not_belong_in_a_config_is_not_shown(text in with_secrets()) {
            let shown = shown(&text);
            prop_assert!(!shown.contains(SECRET), "{}", shown);
        }
    }

    #[test]
    fn a_file_of_nothing_but_problems_is_cited_in_part() {
        let shown = shown(&"unknown\n".repeat(100_000));
        assert!(shown.ends_with("\n\nand 99900 more; is this the right file?"));
        assert!(shown.len() < 100_000);
    }
}
