//! One `[identity.NAME]`: its provider, and what that provider is told.

use std::path::{Path, PathBuf};

use hyper::Uri;

use super::findings::Findings;
use super::table::{Entry, Table, Text};
use super::vocabulary::{self, Vocabulary, is_known, is_presentable, listed, nearest, quoted};
use crate::identity::IdentityName;
use crate::providers::chain::{self, Link};
use crate::providers::{container, imds, profile};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Chain,
    Environment,
    Profile,
    Container,
    Imds,
}

const KINDS: [Kind; 5] = [
    Kind::Chain,
    Kind::Environment,
    Kind::Profile,
    Kind::Container,
    Kind::Imds,
];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Environment => "environment",
            Self::Profile => "profile",
            Self::Container => "container",
            Self::Imds => "imds",
        }
    }

    /// Its keys, beside `provider`.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Chain | Self::Environment => &[],
            Self::Profile => &["profile", "config-file", "credentials-file"],
            Self::Container => &["uri", "token-file"],
            Self::Imds => &["endpoint", "endpoint-mode", "instance-profile-name"],
        }
    }
}

/// Providers that credd is to have.
const PLANNED_PROVIDERS: [&str; 8] = [
    "assume-role",
    "session-token",
    "web-identity",
    "process",
    "sso",
    "login",
    "roles-anywhere",
    "keys",
];

/// Keys that those will take.
const PLANNED_KEYS: [&str; 6] = [
    "from",
    "mfa-serial",
    "mfa-code",
    "role-arn",
    "session-policy",
    "lifetime",
];

/// Reads one identity. Where it has problems, what is returned does not matter.
pub(super) fn read(
    entry: &Entry<'_>,
    base: &Path,
    findings: &mut Findings,
) -> Option<(IdentityName, Vec<Link>)> {
    if !entry.is_table() && is_known(entry.key) {
        entry.hide(findings);
        findings
            .meaning(
                entry.key_span.clone(),
                format!("`{}` stands outside of any identity", entry.key),
            )
            .hint("name the identity in the header, as in `[identity.default]`");
        return None;
    }
    let name = name(entry, findings);
    let mut table = entry.table(findings)?;
    let kind = kind(&mut table, findings);
    match kind {
        Provider::Kind(kind) => refuse_keys_of_others(kind, &mut table, findings),
        Provider::Planned => {
            // What its keys hold is not known here.
            for entry in table.into_entries() {
                entry.hide(findings);
            }
            return None;
        }
        Provider::Unknown => {}
    }
    let profile = profile::Config {
        profile: owned(table.string("profile", findings)),
        config_file: file(table.string("config-file", findings), base, findings),
        credentials_file: file(table.string("credentials-file", findings), base, findings),
        ..profile::Config::default()
    };
    let container = container::Config {
        uri: uri(table.string("uri", findings), findings),
        token_file: file(table.string("token-file", findings), base, findings),
    };
    let imds = imds::Config {
        endpoint: endpoint(table.string("endpoint", findings), findings),
        endpoint_mode: endpoint_mode(table.string("endpoint-mode", findings), findings),
        instance_profile_name: role(table.string("instance-profile-name", findings), findings),
    };
    refuse_unknown(kind, table, findings);
    let links = match kind {
        Provider::Kind(Kind::Chain) => chain::default_chain(),
        Provider::Kind(Kind::Environment) => vec![Link::Environment],
        Provider::Kind(Kind::Profile) => vec![Link::Profile(profile)],
        Provider::Kind(Kind::Container) => vec![Link::Container(container)],
        Provider::Kind(Kind::Imds) => vec![Link::InstanceMetadata(imds)],
        Provider::Planned | Provider::Unknown => return None,
    };
    Some((name?, links))
}

fn name(entry: &Entry<'_>, findings: &mut Findings) -> Option<IdentityName> {
    let name = IdentityName::parse(entry.key);
    if let Err(error) = &name {
        if !is_presentable(entry.key) {
            findings.hide(entry.key_span.clone());
        }
        findings
            .meaning(entry.key_span.clone(), error.to_string())
            .hint("choose a name such as `billing` or `team-1`");
    }
    name.ok()
}

#[derive(Clone, Copy)]
enum Provider {
    Kind(Kind),
    Planned,
    Unknown,
}

fn kind(table: &mut Table<'_>, findings: &mut Findings) -> Provider {
    if !table.has("provider") {
        // After a mistake in syntax it may be there and have gone unread.
        return if findings.is_incomplete() {
            Provider::Unknown
        } else {
            Provider::Kind(Kind::Chain)
        };
    }
    let Some(text) = table.string("provider", findings) else {
        return Provider::Unknown;
    };
    if let Some(kind) = KINDS.into_iter().find(|kind| kind.name() == text.value) {
        return Provider::Kind(kind);
    }
    let (name, names) = (quoted(text.value), KINDS.map(Kind::name));
    if PLANNED_PROVIDERS.contains(&text.value) {
        let message = format!("provider {name} is not supported in this version of credd yet");
        findings
            .meaning(text.span, message)
            .hint(format!("this version has {}", listed(&names)));
        return Provider::Planned;
    }
    let hint = match nearest(text.value, &names) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("the providers are {}", listed(&names)),
    };
    findings
        .meaning(text.span, format!("unknown provider {name}"))
        .hint(hint);
    Provider::Unknown
}

/// Takes the keys that only another provider understands.
fn refuse_keys_of_others(kind: Kind, table: &mut Table<'_>, findings: &mut Findings) {
    for owner in KINDS.into_iter().filter(|owner| *owner != kind) {
        for key in owner.keys() {
            let Some(entry) = table.take(key) else {
                continue;
            };
            // Nobody looked at the value, which may be a URI with a password.
            entry.hide(findings);
            let (own, other) = (kind.name(), owner.name());
            let message =
                format!("`{key}` belongs to provider `{other}`, and this identity has `{own}`");
            findings
                .meaning(entry.key_span, message)
                .hint(format!("remove it, or set `provider = \"{other}\"`"));
        }
    }
}

fn refuse_unknown(provider: Provider, table: Table<'_>, findings: &mut Findings) {
    let keys = KINDS
        .into_iter()
        .filter(|kind| match provider {
            Provider::Kind(own) => own == *kind,
            Provider::Planned | Provider::Unknown => true,
        })
        .flat_map(Kind::keys);
    let keys: Vec<&str> = std::iter::once(&"provider").chain(keys).copied().collect();
    let place = match provider {
        Provider::Kind(kind) => format!("an identity with provider `{}`", kind.name()),
        Provider::Planned | Provider::Unknown => vocabulary::IDENTITY.to_owned(),
    };
    let vocabulary = Vocabulary {
        place: &place,
        keys: &keys,
        planned: &PLANNED_KEYS,
    };
    for entry in table.into_entries() {
        let is_table = entry.is_table() && !PLANNED_KEYS.contains(&entry.key);
        let finding = entry.refuse(&vocabulary, findings);
        if is_table {
            finding.hint("a name with a dot in it needs quotes, as in `[identity.\"a.b\"]`");
        }
    }
}

fn owned(text: Option<Text<'_>>) -> Option<String> {
    text.map(|text| text.value.to_owned())
}

/// A path, from the directory of the config file unless it is absolute.
fn file(text: Option<Text<'_>>, base: &Path, findings: &mut Findings) -> Option<PathBuf> {
    let text = text?;
    if text.value == "~" || text.value.starts_with("~/") {
        findings
            .meaning(text.span, "`~` has no meaning in the config")
            .hint("write the path out: the daemon's home need not be yours");
        return None;
    }
    Some(base.join(text.value))
}

fn uri(text: Option<Text<'_>>, findings: &mut Findings) -> Option<String> {
    let text = text?;
    absolute_uri(&text, findings)?;
    Some(text.value.to_owned())
}

fn endpoint(text: Option<Text<'_>>, findings: &mut Findings) -> Option<String> {
    let text = text?;
    let uri = absolute_uri(&text, findings)?;
    // Paths are added at its end.
    if uri.query().is_some() {
        findings
            .meaning(text.span, "an endpoint has no query")
            .hint("remove what follows the `?`, and the `?`");
        return None;
    }
    Some(text.value.to_owned())
}

fn absolute_uri(text: &Text<'_>, findings: &mut Findings) -> Option<Uri> {
    // A password or a token may stand there.
    if text.value.contains(['@', '?']) {
        findings.hide(text.span.clone());
    }
    let problem = match text.value.parse::<Uri>() {
        Err(error) => format!("not a URI: {error}"),
        Ok(uri) => match problem_of(&uri) {
            Some(problem) => problem.to_owned(),
            None => return Some(uri),
        },
    };
    findings
        .meaning(text.span.clone(), problem)
        .hint("as in `http://127.0.0.1:8080/path`");
    None
}

fn problem_of(uri: &Uri) -> Option<&'static str> {
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Some("the URI needs the scheme `http` or `https`");
    }
    let (Some(authority), Some(host)) = (uri.authority(), uri.host()) else {
        return Some("the URI names no host");
    };
    if host.is_empty() {
        return Some("the URI names no host");
    }
    if authority.as_str().contains('@') {
        return Some("the URI holds a user name, which is not sent");
    }
    // The port is read leniently: one that is no number is as good as none.
    let has_port = authority.as_str().len() > host.len();
    (has_port && uri.port_u16().is_none_or(|port| port == 0)).then_some("the URI's port is no port")
}

fn endpoint_mode(text: Option<Text<'_>>, findings: &mut Findings) -> Option<String> {
    let text = text?;
    let mode = ["IPv4", "IPv6"]
        .into_iter()
        .find(|mode| mode.eq_ignore_ascii_case(text.value));
    if mode.is_none() {
        findings
            .meaning(text.span, "not an endpoint mode")
            .hint("it is `IPv4` or `IPv6`");
    }
    mode.map(str::to_owned)
}

/// The letters of IAM role names (IAM API reference): the name becomes a part of a path.
fn role(text: Option<Text<'_>>, findings: &mut Findings) -> Option<String> {
    let text = text?;
    let is_fit = text
        .value
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte));
    if !is_fit {
        findings
            .meaning(
                text.span,
                "the name of an instance profile is letters, digits and `_+=,.@-`",
            )
            .hint("it is a name, not an ARN or a path");
        return None;
    }
    Some(text.value.to_owned())
}
