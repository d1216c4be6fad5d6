//! The AWS CLI with keys of its own, which asks an STS as credd does.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// Access key id, secret access key and session token.
pub(super) type Keys = [String; 3];

/// What `aws sts` with these words and keys says, or its error.
pub(super) fn sts(
    tools: &Path,
    address: SocketAddr,
    keys: &Keys,
    words: &str,
) -> Result<String, Box<dyn Error>> {
    let [key, secret, token] = keys;
    let home = tempfile::tempdir()?;
    let mut command = Command::new(tools.join("venv/bin/aws"));
    command
        .env_clear()
        .env("HOME", home.path())
        .env("AWS_DEFAULT_REGION", "eu-west-1")
        .env("AWS_ENDPOINT_URL_STS", format!("http://{address}"))
        .env("AWS_MAX_ATTEMPTS", "1")
        .env("AWS_ACCESS_KEY_ID", key)
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .args(["sts", "--output", "text"])
        .args(words.split_whitespace());
    if !token.is_empty() {
        command.env("AWS_SESSION_TOKEN", token);
    }
    let output = command.output()?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into())
    }
}

/// The keys that a call gives.
pub(super) fn keys(
    tools: &Path,
    address: SocketAddr,
    keys: &Keys,
    words: &str,
) -> Result<Keys, Box<dyn Error>> {
    let query = "--query Credentials.[AccessKeyId,SecretAccessKey,SessionToken]";
    let answer = sts(tools, address, keys, &format!("{words} {query}"))?;
    let fields: Vec<_> = answer.split('\t').map(str::to_owned).collect();
    fields
        .try_into()
        .map_err(|_| format!("`{answer}` is no set of credentials").into())
}
