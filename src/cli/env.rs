//! `credd env`: shell commands for `eval`.

use std::process::ExitCode;

use super::daemon_socket::{DaemonSockets, daemon_path, parse};
use super::sdk_environment::{FULL_URI, OUTRANKING, TOKEN, TOKEN_FILE};
use super::{EnvArguments, Failed, Outcome, block_on, output};
use crate::api::{self, EndpointReport};
use crate::aws::profile_file::{self, DEFAULT_PROFILE, Locations, OTHER_SOURCES};
use crate::clock::SystemClock;
use crate::credentials::Credentials;
use crate::environment::Environment;
use crate::os::process;

pub(super) fn run(arguments: &EnvArguments, environment: &Environment) -> Outcome {
    process::hide_memory();
    let sockets = DaemonSockets::locate(&arguments.place, environment);
    let path = daemon_path(api::CREDENTIALS, arguments.identity.as_ref());
    let commands = block_on(async {
        let clock = SystemClock::new();
        if arguments.credentials {
            let identity = arguments.identity.as_ref();
            return Ok(key_commands(&sockets.credentials(&clock, identity).await?));
        }
        let endpoint = daemon_path(api::ENDPOINT, arguments.identity.as_ref());
        let report: EndpointReport = parse(&sockets.ask(&clock, &endpoint).await?)?;
        let commands = endpoint_commands(&report, &path)?;
        warn_of_a_profile(environment).await;
        Ok(commands)
    })?;
    output::data(commands.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Says so where SDKs will not come as far as the endpoint: the default profile comes before it.
async fn warn_of_a_profile(environment: &Environment) {
    let locations = Locations::of(environment);
    let Ok(profiles) = profile_file::load(&locations).await else {
        return;
    };
    let Some(profile) = profiles.profile(DEFAULT_PROFILE) else {
        return;
    };
    if let Some(key) = std::iter::once(&"aws_access_key_id")
        .chain(&OTHER_SOURCES)
        .find(|key| profile.property(key).is_some())
    {
        output::note(&format!(
            "warning: the profile `{DEFAULT_PROFILE}` has `{key}` and outranks credd in this \
             shell; use `credd exec`, or name no credentials in that profile"
        ));
    }
}

fn endpoint_commands(report: &EndpointReport, path: &str) -> Result<String, Failed> {
    let url = report.url.as_ref().ok_or_else(|| {
        Failed::new(
            "this credd has no HTTP endpoint; add [serve.http] with an address to its config",
        )
    })?;
    let token_file = report.token_file.as_ref().ok_or_else(|| {
        Failed::new(
            "there is no token that you may read; start the program with `credd exec`, or have a \
             token for a group of yours in credd's config",
        )
    })?;
    Ok([
        format!("unset {TOKEN} {}\n", OUTRANKING.join(" ")),
        export(FULL_URI, &format!("{url}{path}")),
        export(TOKEN_FILE, token_file),
    ]
    .concat())
}

fn key_commands(credentials: &Credentials) -> String {
    let token = credentials
        .session_token
        .as_ref()
        .map_or("", |token| token.expose());
    [
        "unset AWS_PROFILE AWS_DEFAULT_PROFILE AWS_SECURITY_TOKEN\n".to_owned(),
        export("AWS_ACCESS_KEY_ID", credentials.access_key_id.expose()),
        export(
            "AWS_SECRET_ACCESS_KEY",
            credentials.secret_access_key.expose(),
        ),
        export("AWS_SESSION_TOKEN", token),
        credentials
            .expiry
            .map(|expiry| export("AWS_CREDENTIAL_EXPIRATION", &expiry.to_string()))
            .unwrap_or_default(),
    ]
    .concat()
}

fn export(name: &str, value: &str) -> String {
    format!("export {name}={}\n", quoted(value))
}

/// As a POSIX shell reads it back (IEEE 1003.1, 2.2.2 Single-Quotes).
fn quoted(value: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:=+@%,".contains(&byte);
    if !value.is_empty() && value.bytes().all(is_plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_where_a_shell_would_read_them_otherwise() {
        assert_eq!(
            quoted("http://127.0.0.1:9169/v1/x"),
            "http://127.0.0.1:9169/v1/x"
        );
        assert_eq!(quoted("a b$(c)"), "'a b$(c)'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
