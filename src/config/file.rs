//! From the file as written to the config as meant.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::DeTable;

use super::allow::{self, Ground};
use super::findings::Findings;
use super::lines::Lines;
use super::problem::Problems;
use super::relations::Names;
use super::table::Table;
use super::vocabulary::{self, Vocabulary};
use super::{Config, audit, default_identities, identity, mfa, relations, serve, syntax, token};
use crate::identity::IdentityName;
use crate::os::users::Accounts;
use crate::providers::chain::Link;

const TOP: Vocabulary<'_> = Vocabulary {
    place: vocabulary::TOP,
    keys: &["serve", "identity", "allow", "token", "mfa", "audit"],
};

/// Reads the text of the file at `path`, which is not touched: it is cited in problems, and paths
/// in the config start from its directory. Users and groups are those that `accounts` knows.
pub fn parse(path: &Path, text: &str, accounts: &dyn Accounts) -> Result<Config, Problems> {
    let base = path.parent().unwrap_or(Path::new(""));
    parse_as(path, base, text, accounts)
}

/// The same for a text that is cited as of `origin`, and in which paths start from `base`.
pub(super) fn parse_as(
    origin: &Path,
    base: &Path,
    text: &str,
    accounts: &dyn Accounts,
) -> Result<Config, Problems> {
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
    let config = config(Table::of(document.get_ref()), base, accounts, &mut findings);
    if findings.is_incomplete() {
        syntax::hide(&lines, &mut findings);
    }
    match findings.cite(origin, &lines) {
        None => Ok(config),
        Some(problems) => Err(problems),
    }
}

fn config(
    mut top: Table<'_>,
    base: &Path,
    accounts: &dyn Accounts,
    findings: &mut Findings,
) -> Config {
    let mut config = Config::default();
    if let Some(table) = top.table("mfa", findings) {
        config.challenges = mfa::read(table, findings);
    }
    if let Some(table) = top.table("audit", findings) {
        config.audit = audit::read(table, findings);
    }
    let read = top.table("identity", findings);
    let read = read.map_or_else(Vec::new, |table| identities(table, base, findings));
    let names = Names::of(&read);
    config.identities = of_names(read);
    let serve = top.table("serve", findings).map(|table| {
        let config = &mut config.serve;
        serve::read(table, config, &names, accounts, findings)
    });
    let serve = serve.unwrap_or_default();
    let ground = Ground {
        base,
        accounts,
        names: &names,
        sockets: &serve.sockets,
    };
    config.allow = serve.rules;
    let mut are_all_rules = true;
    if let Some(entry) = top.take("allow") {
        let read = allow::read(&entry, &ground, &mut config.identities, findings);
        config.allow.extend(read.rules);
        are_all_rules = read.is_whole;
    }
    if let Some(imds) = serve.imds.filter(|_| are_all_rules) {
        imds.check(&config.allow, findings);
    }
    let tokens = top.table("token", findings);
    let tokens = tokens.map(|table| token::read(table, accounts, findings));
    let tokens = tokens.unwrap_or_default();
    config.tokens = tokens.of_rules(&config.allow, are_all_rules, findings);
    top.refuse_rest(&TOP, findings);
    config
}

fn identities<'t>(
    table: Table<'t>,
    base: &Path,
    findings: &mut Findings,
) -> Vec<identity::Read<'t>> {
    let read: Vec<_> = table
        .into_entries()
        .filter_map(|entry| identity::read(&entry, base, findings))
        .collect();
    relations::check(&read, findings);
    read
}

fn of_names(read: Vec<identity::Read<'_>>) -> BTreeMap<IdentityName, Vec<Link>> {
    let read = read.into_iter().filter_map(|identity| {
        let name = IdentityName::parse(identity.name).ok()?;
        Some((name, identity.links?))
    });
    let identities: BTreeMap<_, _> = read.collect();
    if identities.is_empty() {
        default_identities()
    } else {
        identities
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::os::users::HostAccounts;

    const SECRET: &str = "do+not/show7EXAMPLE0do+not/show7EXAMPLE0";

    fn shown(text: &str) -> String {
        match parse(Path::new("credd.toml"), text, &HostAccounts) {
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
            policy-arns access-key-id secret-access-key [mfa] warn hook "/a" [identity.default]
            [[allow]] caller caller={user="root"} caller={token="worker"} identity=["ops"]
            identity=["default"] user group unit executable container token listener tcp
            tcp="without-token" session-name="{caller}" source-identity="{caller}" tags={a="b"}
            session-policy="a.json" [token.worker] [token.default] mode="0640" rotate="24h"
            overlap="10m" [serve.unix.default] [serve.unix.ops] path="/a/b" owner=0 group=0
            [serve.imds] listen="127.0.0.1:80" region="eu-west-1" [serve.limits] connections=1
            requests-per-second=1 [audit] to="stderr" to="file:/a""#;
        let blanks = ["\n", "\r\n", "\r", " ", "\t", "\u{feff}", "\u{1b}"];
        let words: Vec<_> = WORDS.split_whitespace().chain(blanks).collect();
        let words = prop::collection::vec(prop::sample::select(words), 0..60);
        // Whole keys and headers are on lines of their own as often as not.
        (words, any::<bool>())
            .prop_map(|(words, are_lines)| words.join(if are_lines { "\n" } else { "" }))
    }

    const LINES_WITH_SECRETS: &str = r#"
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
        [[allow]]
        [[allow
        [allow]
        allow = ['SECRET', { caller = 'SECRET' }]
        caller = { user = 'SECRET' }
        caller = { user = 'root', secret = 'SECRET' }
        caller = { group = 'SECRET', unit = 'SECRET' }
        caller = { executable = 'SECRET' }
        caller = { container = 'SECRET' }
        caller = { token = 'SECRET' }
        caller = { token = 'SECRET
        caller = { listener = 'SECRET', tcp = 'SECRET' }
        caller = ['SECRET']
        caller = 'SECRET'
        identity = ['SECRET']
        identity = ['role']
        token = 'SECRET'
        token = SECRET
        [token.SECRET]
        [token.worker]
        rotate = 'SECRET'
        overlap = 'SECRET'
        mode = 'SECRET'
        owner = 'SECRET'
        group = 'SECRET'
        [serve.unix]
        [serve.unix.SECRET]
        [serve.unix.own]
        path = 'SECRET'
        [serve.imds]
        listen = 'SECRET'
        [serve.limits]
        connections = 'SECRET'
        identity.role = { provider = 'assume-role', from = 'ops', role-arn = 'arn:aws:iam::123456789012:role/a' }
        identity.role = { external-id = 'SECRET', provider = 'asume-role', a = 1 }
    "#;

    /// Lines, some of which hold the secret where it does not belong.
    fn with_secrets() -> impl Strategy<Value = String> {
        let lines: Vec<_> = LINES_WITH_SECRETS.trim().lines().map(str::trim).collect();
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
