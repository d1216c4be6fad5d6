//! Whether the SDK of a program comes as far as credd: what stands before the endpoint in its
//! environment, and what is wrong with the endpoint's own variables.
//!
//! The order of the SDKs: AWS SDKs and Tools Reference Guide, "Standardized credential providers",
//! and their sources where they differ from it.

use std::path::PathBuf;

use hyper::Uri;
use serde::Serialize;

use super::sdk_environment::{FULL_URI, TOKEN, TOKEN_FILE};
use crate::api;
use crate::aws::profile_file::{DEFAULT_PROFILE, OTHER_SOURCES, Profiles};
use crate::environment::Environment;
use crate::printable;

/// All that an SDK would look at.
pub(super) struct Client<'a> {
    pub(super) environment: &'a Environment,
    /// Its profile files, or why they cannot be read.
    pub(super) profiles: &'a Result<Profiles, String>,
    /// How reading its token file went, if it names one.
    pub(super) token_file: TokenFile,
    /// Where credd listens on TCP, if it does.
    pub(super) url: Option<&'a str>,
}

/// What the file that holds the endpoint's token is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenFile {
    Good,
    Empty,
    /// botocore, Rust and Go refuse a token with a newline.
    EndsInNewline,
    Unreadable(String),
}

impl TokenFile {
    pub(super) fn of(text: &str) -> Self {
        match text {
            "" => Self::Empty,
            text if text.contains(['\r', '\n']) => Self::EndsInNewline,
            _ => Self::Good,
        }
    }

    /// The file that is named.
    pub(super) fn path(environment: &Environment) -> Option<PathBuf> {
        environment.variable(TOKEN_FILE).map(PathBuf::from)
    }
}

/// What something in the environment means for the way to credd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Effect {
    /// An SDK finds it before it comes to the endpoint.
    Outranks,
    /// The way to the endpoint is not as it must be.
    Fault,
    /// As it should be.
    Good,
    /// It changes nothing here, although it looks as if it did.
    Irrelevant,
}

impl Effect {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Outranks => "outranks",
            Self::Fault => "fault",
            Self::Good => "good",
            Self::Irrelevant => "irrelevant",
        }
    }
}

/// One finding. Names variables, never their values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Finding {
    pub(super) effect: Effect,
    pub(super) variables: Vec<&'static str>,
    pub(super) meaning: String,
}

const KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
const RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const WEB_IDENTITY: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const ROLE: &str = "AWS_ROLE_ARN";
const PROFILE: &str = "AWS_PROFILE";
const OLD_PROFILE: &str = "AWS_DEFAULT_PROFILE";

/// Everything that matters, in the order in which the SDKs come to it.
pub(super) fn findings(client: &Client<'_>) -> Vec<Finding> {
    let mut findings = Findings {
        client,
        found: Vec::new(),
    };
    findings.keys();
    findings.web_identity();
    findings.profiles();
    findings.old_files();
    findings.endpoint();
    findings.found
}

/// The identity that the client's endpoint is, where that is credd's: a name, or the default one.
pub(super) fn endpoint_identity<'e>(
    environment: &'e Environment,
    url: Option<&str>,
) -> Option<&'e str> {
    let text = environment.variable(FULL_URI)?;
    let (theirs, ours) = (text.parse::<Uri>().ok()?, url?.parse::<Uri>().ok()?);
    let is_loopback = |host: &str| host.eq_ignore_ascii_case("localhost");
    let is_same_host = theirs.host() == ours.host() || theirs.host().is_some_and(is_loopback);
    let is_here = theirs.scheme() == ours.scheme()
        && is_same_host
        && theirs.port_u16().unwrap_or(80) == ours.port_u16().unwrap_or(80);
    let (_, path) = text.split_once(api::CREDENTIALS).filter(|_| is_here)?;
    match path.strip_prefix('/') {
        Some(name) => Some(name),
        None => path.is_empty().then_some(""),
    }
}

struct Findings<'a> {
    client: &'a Client<'a>,
    found: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, effect: Effect, variables: &[&'static str], meaning: impl Into<String>) {
        self.found.push(Finding {
            effect,
            variables: variables.to_vec(),
            meaning: meaning.into(),
        });
    }

    fn has(&self, name: &str) -> bool {
        self.client.environment.variable(name).is_some()
    }

    fn keys(&mut self) {
        // Go takes any of its two names for either, Rust another for the secret.
        const GO_KEY: &str = "AWS_ACCESS_KEY";
        const GO_SECRET: &str = "AWS_SECRET_KEY";
        const RUST_SECRET: &str = "SECRET_ACCESS_KEY";
        match (self.has(KEY), self.has(SECRET)) {
            (true, true) if self.has(PROFILE) => self.add(
                Effect::Outranks,
                &[KEY, SECRET],
                "keys come first in every SDK but JavaScript's, which takes the profile",
            ),
            (true, true) => {
                self.add(
                    Effect::Outranks,
                    &[KEY, SECRET],
                    "keys come first in every SDK",
                );
            }
            (true, false) if self.has(RUST_SECRET) => self.add(
                Effect::Outranks,
                &[KEY, RUST_SECRET],
                "keys come first in the Rust SDK, and others stop at half a pair",
            ),
            (true, false) if !self.has(GO_SECRET) => self.add(
                Effect::Outranks,
                &[KEY],
                format!("half a pair of keys, at which some SDKs stop: {SECRET} is not set"),
            ),
            (false, true) if !self.has(GO_KEY) => self.add(
                Effect::Outranks,
                &[SECRET],
                format!("half a pair of keys, at which some SDKs stop: {KEY} is not set"),
            ),
            _ => {}
        }
        let of_go = [(KEY, GO_KEY), (SECRET, GO_SECRET)].map(|(name, older)| {
            let names = [name, older];
            names.into_iter().find(|name| self.has(name))
        });
        if let [Some(key), Some(secret)] = of_go
            && (key, secret) != (KEY, SECRET)
        {
            self.add(
                Effect::Outranks,
                &[key, secret],
                "keys come first in the Go SDK",
            );
        }
    }

    fn web_identity(&mut self) {
        match (self.has(WEB_IDENTITY), self.has(ROLE)) {
            (true, true) => self.add(
                Effect::Outranks,
                &[WEB_IDENTITY, ROLE],
                "a web identity comes before the endpoint in every SDK",
            ),
            (true, false) => self.add(
                Effect::Outranks,
                &[WEB_IDENTITY],
                format!("half of a web identity, at which some SDKs stop: {ROLE} is not set"),
            ),
            // Other tools set it, and no SDK looks at it alone.
            (false, _) => {}
        }
    }

    fn profiles(&mut self) {
        let profiles = match self.client.profiles {
            Ok(profiles) => profiles,
            Err(problem) => {
                let meaning =
                    format!("SDKs stop at profile files that they cannot read: {problem}");
                return self.add(Effect::Outranks, &[], meaning);
            }
        };
        let environment = self.client.environment;
        let mut is_named = false;
        for (variable, whose) in [
            (PROFILE, "every SDK"),
            (OLD_PROFILE, "botocore (the AWS CLI)"),
        ] {
            let Some(name) = environment.variable(variable) else {
                continue;
            };
            is_named = true;
            let shown = printable(name);
            match (
                profiles.profile(name).is_some(),
                credentials(profiles, name),
            ) {
                (_, Some(key)) => self.add(
                    Effect::Outranks,
                    &[variable],
                    format!(
                        "profile `{shown}` has `{key}` and comes before the endpoint in {whose}"
                    ),
                ),
                (true, None) => self.add(
                    Effect::Irrelevant,
                    &[variable],
                    format!("profile `{shown}` names no credentials"),
                ),
                (false, None) => self.add(
                    Effect::Outranks,
                    &[variable],
                    format!("there is no profile `{shown}`, and most SDKs stop at that"),
                ),
            }
        }
        if let Some(key) = credentials(profiles, DEFAULT_PROFILE).filter(|_| !is_named) {
            let meaning = format!(
                "profile `{DEFAULT_PROFILE}` has `{key}` and comes before the endpoint in every SDK"
            );
            self.add(Effect::Outranks, &[], meaning);
        }
    }

    fn old_files(&mut self) {
        for name in ["AWS_CREDENTIAL_FILE", "BOTO_CONFIG"] {
            if self.has(name) {
                let meaning = "names a file whose keys come before the endpoint in botocore";
                self.add(Effect::Outranks, &[name], meaning);
            }
        }
    }

    fn endpoint(&mut self) {
        if self.has(RELATIVE_URI) {
            let meaning = format!("comes before {FULL_URI} in every SDK but Go's");
            self.add(Effect::Outranks, &[RELATIVE_URI], meaning);
        }
        let (environment, url) = (self.client.environment, self.client.url);
        let start = "start the program with `credd exec`, or set what `credd env` prints";
        let Some(text) = environment.variable(FULL_URI) else {
            let meaning = format!("is not set, so that no SDK finds credd; {start}");
            return self.add(Effect::Fault, &[FULL_URI], meaning);
        };
        match (endpoint_identity(environment, url), url) {
            (Some(""), _) => {
                self.add(
                    Effect::Good,
                    &[FULL_URI],
                    "leads here, to the default identity",
                );
            }
            (Some(name), _) => {
                let meaning = format!("leads here, to identity {}", printable(name));
                self.add(Effect::Good, &[FULL_URI], meaning);
            }
            (None, None) => {
                let meaning = "this credd has no HTTP endpoint; add [serve.http] with an address \
                               to its config";
                return self.add(Effect::Fault, &[FULL_URI], meaning);
            }
            // Not the path: those of ECS are secrets.
            (None, Some(url)) => {
                let place = text.parse::<Uri>().ok();
                let place = place.and_then(|uri| uri.authority().map(ToString::to_string));
                let place = place.map_or("nowhere".to_owned(), |it| printable(&it));
                let place = place.rsplit('@').next().unwrap_or_default();
                let meaning = format!("leads to {place}, and this credd is at {url}; {start}");
                return self.add(Effect::Fault, &[FULL_URI], meaning);
            }
        }
        self.token();
        self.proxies();
        if environment.is_true("AWS_EC2_METADATA_DISABLED") {
            let meaning = "concerns instance metadata, which comes after credd";
            self.add(Effect::Irrelevant, &["AWS_EC2_METADATA_DISABLED"], meaning);
        }
    }

    fn token(&mut self) {
        let (has_file, has_token) = (self.has(TOKEN_FILE), self.has(TOKEN));
        if !has_file && !has_token {
            let meaning = "neither is set, and credd answers nobody without a token";
            return self.add(Effect::Fault, &[TOKEN_FILE, TOKEN], meaning);
        }
        if has_file {
            let (effect, meaning) = match &self.client.token_file {
                TokenFile::Good => (Effect::Good, "names a file that holds a token".to_owned()),
                TokenFile::Empty => (Effect::Fault, "names a file that is empty".to_owned()),
                TokenFile::EndsInNewline => (
                    Effect::Fault,
                    "names a file with a newline, which botocore, Rust and Go refuse".to_owned(),
                ),
                TokenFile::Unreadable(why) => (
                    Effect::Fault,
                    format!("names a file that cannot be read: {why}"),
                ),
            };
            self.add(effect, &[TOKEN_FILE], meaning);
        }
        if has_file && has_token {
            let meaning = "the file counts, but for Java, which takes this";
            self.add(Effect::Irrelevant, &[TOKEN], meaning);
        } else if has_token {
            self.add(Effect::Good, &[TOKEN], "holds a token");
        }
    }

    fn proxies(&mut self) {
        const PROXIES: [&str; 4] = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
        let environment = self.client.environment;
        let is_excepted = ["NO_PROXY", "no_proxy"].into_iter().any(|name| {
            let exceptions = environment.variable(name).unwrap_or_default();
            exceptions
                .split([',', ' '])
                .any(|it| ["*", "127.0.0.1", "localhost", "127.0.0.0/8"].contains(&it.trim()))
        });
        let proxy = PROXIES.into_iter().find(|name| self.has(name));
        if let Some(proxy) = proxy.filter(|_| !is_excepted) {
            let meaning = "some SDKs send even loopback requests there; add 127.0.0.1 to NO_PROXY";
            self.add(Effect::Fault, &[proxy], meaning);
        }
    }
}

/// The key by which a profile names credentials.
fn credentials(profiles: &Profiles, name: &str) -> Option<&'static str> {
    let profile = profiles.profile(name)?;
    let mut keys = std::iter::once("aws_access_key_id").chain(OTHER_SOURCES);
    keys.find(|key| profile.property(key).is_some())
}

fn printable(text: &str) -> String {
    printable::line(text, 128)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::aws::profile_file::{FileKind, parse};

    /// Variables, and those of them that outrank the endpoint.
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

    const URL: &str = "http://127.0.0.1:9169";
    const HERE: (&str, &str) = (FULL_URI, "http://127.0.0.1:9169/v1/credentials");
    const WITH_TOKEN: (&str, &str) = (TOKEN, "CANARY");

    fn all(variables: &[(&str, &str)], profiles: &str, token_file: TokenFile) -> Vec<Finding> {
        let variables = variables
            .iter()
            .map(|&(name, value)| (name.into(), value.into()));
        let profiles = parse(FileKind::Config, Path::new("config"), profiles);
        findings(&Client {
            environment: &variables.collect(),
            profiles: &profiles.map_err(|error| error.to_string()),
            token_file,
            url: Some(URL),
        })
    }

    /// The variables with that effect, in their order.
    fn with(effect: Effect, variables: &[(&str, &str)], profiles: &str) -> Vec<String> {
        let all = all(variables, profiles, TokenFile::Good).into_iter();
        all.filter(|it| it.effect == effect)
            .map(|it| it.variables.join(" "))
            .collect()
    }

    #[test]
    fn what_outranks_the_endpoint_is_named_by_the_rules_of_the_sdks() {
        let keys = [(KEY, "AKIA"), (SECRET, "CANARY")];
        let table: &[Row<'_>] = &[
            (&[], &[]),
            (&keys, &["AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY"]),
            (&keys[..1], &["AWS_ACCESS_KEY_ID"]),
            (&keys[1..], &["AWS_SECRET_ACCESS_KEY"]),
            (&[(KEY, " "), (SECRET, "")], &[]),
            (
                &[("AWS_ACCESS_KEY", "x"), ("AWS_SECRET_KEY", "x")],
                &["AWS_ACCESS_KEY AWS_SECRET_KEY"],
            ),
            (&[("AWS_ACCESS_KEY", "x")], &[]),
            (
                &[(KEY, "x"), ("AWS_SECRET_KEY", "x")],
                &["AWS_ACCESS_KEY_ID AWS_SECRET_KEY"],
            ),
            (
                &[(KEY, "x"), ("SECRET_ACCESS_KEY", "x")],
                &["AWS_ACCESS_KEY_ID SECRET_ACCESS_KEY"],
            ),
            (&[("SECRET_ACCESS_KEY", "x")], &[]),
            (&[("AWS_SESSION_TOKEN", "x")], &[]),
            (
                &[(WEB_IDENTITY, "/t"), (ROLE, "arn")],
                &["AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_ARN"],
            ),
            (&[(WEB_IDENTITY, "/t")], &["AWS_WEB_IDENTITY_TOKEN_FILE"]),
            (&[(ROLE, "arn")], &[]),
            (
                &[(RELATIVE_URI, "/v2/credentials/id")],
                &["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"],
            ),
            (&[("AWS_CREDENTIAL_FILE", "/f")], &["AWS_CREDENTIAL_FILE"]),
            (&[("BOTO_CONFIG", "/f")], &["BOTO_CONFIG"]),
            (&[("AWS_EC2_METADATA_DISABLED", "true")], &[]),
            (&[(PROFILE, "none")], &["AWS_PROFILE"]),
            (&[(PROFILE, "region")], &[]),
            (&[(PROFILE, "role")], &["AWS_PROFILE"]),
            (&[(OLD_PROFILE, "role")], &["AWS_DEFAULT_PROFILE"]),
        ];
        let profiles = "[profile region]\nregion = x\n[profile role]\nrole_arn = x\n";
        for (variables, expected) in table {
            let variables = [*variables, &[HERE, WITH_TOKEN]].concat();
            let found = with(Effect::Outranks, &variables, profiles);
            assert_eq!(found, *expected, "{variables:?}");
            assert!(with(Effect::Fault, &variables, profiles).is_empty());
        }
    }

    #[test]
    fn the_default_profile_outranks_only_with_credentials_and_where_no_other_is_named() {
        let outranking = |variables: &[(&str, &str)], profiles: &str| {
            let variables = [variables, &[HERE, WITH_TOKEN]].concat();
            with(Effect::Outranks, &variables, profiles).len()
        };
        let keys = "[default]\naws_access_key_id = x\n[profile a]\nregion = x\n";
        assert_eq!(outranking(&[], keys), 1);
        assert_eq!(outranking(&[(PROFILE, "a")], keys), 0);
        assert_eq!(outranking(&[], "[default]\nregion = x\n"), 0);
        for key in OTHER_SOURCES {
            assert_eq!(
                outranking(&[], &format!("[default]\n{key} = x\n")),
                1,
                "{key}"
            );
        }
        assert_eq!(outranking(&[], "[default\n"), 1);
    }

    #[test]
    fn the_way_to_the_endpoint_is_followed_to_its_end() {
        let faults = |variables: &[(&str, &str)]| with(Effect::Fault, variables, "");
        assert!(faults(&[HERE, WITH_TOKEN]).is_empty());
        assert_eq!(faults(&[WITH_TOKEN]), [FULL_URI]);
        for elsewhere in [
            "http://127.0.0.1:9170/v1/credentials",
            "http://169.254.170.23/v1/credentials",
            "http://127.0.0.1:9169/v2/credentials",
            "http://127.0.0.1:9169/v1/credentialsx",
            "https://127.0.0.1:9169/v1/credentials",
            "nonsense",
            "http://u:CANARY@host/CANARY",
        ] {
            let variables = [(FULL_URI, elsewhere), WITH_TOKEN];
            assert_eq!(faults(&variables), [FULL_URI], "{elsewhere}");
            let all = all(&variables, "", TokenFile::Good);
            assert!(!format!("{all:?}").contains("CANARY"), "{all:?}");
        }
        let token = format!("{TOKEN_FILE} {TOKEN}");
        assert_eq!(faults(&[HERE]), [token]);
        assert_eq!(
            faults(&[HERE, WITH_TOKEN, ("HTTP_PROXY", "x")]),
            ["HTTP_PROXY"]
        );
        let excepted = [
            HERE,
            WITH_TOKEN,
            ("HTTP_PROXY", "x"),
            ("no_proxy", "a, 127.0.0.1"),
        ];
        assert!(faults(&excepted).is_empty());
    }

    #[test]
    fn a_token_file_must_hold_a_token_and_nothing_else() {
        let effect = |file: TokenFile| {
            let all = all(&[HERE, (TOKEN_FILE, "/t")], "", file);
            let mut found = all.into_iter().filter(|it| it.variables == [TOKEN_FILE]);
            found.next().unwrap().effect
        };
        assert_eq!(effect(TokenFile::of("token")), Effect::Good);
        assert_eq!(effect(TokenFile::of("token\n")), Effect::Fault);
        assert_eq!(effect(TokenFile::of("")), Effect::Fault);
        assert_eq!(
            effect(TokenFile::Unreadable("no".to_owned())),
            Effect::Fault
        );
    }

    #[test]
    fn the_endpoint_says_which_identity_it_is() {
        let identity = |uri: &str| {
            let environment = [(FULL_URI.to_owned(), uri.to_owned())]
                .into_iter()
                .collect();
            endpoint_identity(&environment, Some(URL)).map(str::to_owned)
        };
        let billing = "http://localhost:9169/v1/credentials/billing";
        assert_eq!(identity(billing).as_deref(), Some("billing"));
        assert_eq!(identity(HERE.1).as_deref(), Some(""));
        assert_eq!(identity("http://10.0.0.1:9169/v1/credentials"), None);
    }

    #[test]
    fn no_finding_shows_a_value() {
        let variables = [
            (KEY, "CANARY"),
            (SECRET, "CANARY"),
            ("AWS_SESSION_TOKEN", "CANARY"),
            (RELATIVE_URI, "/CANARY"),
            (WEB_IDENTITY, "CANARY"),
            ("HTTP_PROXY", "http://u:CANARY@p"),
            HERE,
            WITH_TOKEN,
        ];
        let profiles = "[default]\naws_access_key_id = CANARY\n";
        let all = all(&variables, profiles, TokenFile::Good);
        assert!(all.len() > 5);
        assert!(!format!("{all:?}").contains("CANARY"), "{all:?}");
    }
}
