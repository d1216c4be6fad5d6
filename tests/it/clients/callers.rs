//! boto3 as two users, without any token: the kernel knows whose its connections are.

use std::process::{Command, Stdio};

use super::{Outcome, expect, tell, tools};
use crate::callers::{ALICE, ALICES, BOB, BOBS, is_root, races, two_users};

/// Fetches again and again, each time on a connection of its own, after once as programs do it. Says
/// which keys it got.
const FETCH: &str = r"
import sys
import boto3
from botocore.credentials import ContainerProvider
found = {boto3.Session().get_credentials().get_frozen_credentials().access_key}
for _ in range(int(sys.argv[1])):
    found.add(ContainerProvider().load().get_frozen_credentials().access_key)
print(*found)
";

/// Of each user at the same time.
const PROCESSES: usize = 2;

#[test]
fn boto3_without_a_token_gets_its_users_own_identity_and_never_the_others() -> Outcome {
    let Some(tools) = tools().filter(|_| is_root()) else {
        return Ok(());
    };
    let world = two_users("127.0.0.1:0");
    let uri = format!("http://{}/v1/credentials", world.daemon.address);
    let fetches = races() / (2 * PROCESSES);
    let start = |uid: u32| {
        Command::new("setpriv")
            .args([format!("--reuid={uid}"), format!("--regid={uid}")])
            // The tools may be where this user cannot read.
            .args([
                "--inh-caps=+dac_read_search",
                "--ambient-caps=+dac_read_search",
            ])
            .args(["--clear-groups", "--"])
            .arg(tools.join("venv/bin/python"))
            .args(["-c", FETCH, &fetches.to_string()])
            .env_clear()
            .env("HOME", "/nonexistent")
            .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_REGION", "us-east-1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    };
    let users = [(ALICE, ALICES), (BOB, BOBS)];
    let running: Vec<_> = users
        .iter()
        .flat_map(|user| [user; PROCESSES])
        .map(|(uid, own)| (start(*uid), own))
        .collect();
    for (child, own) in running {
        let output = child?.wait_with_output()?;
        let said = String::from_utf8(output.stdout)?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        expect(&said.trim(), own)?;
    }
    let all = fetches * 2 * PROCESSES;
    tell(&format!(
        "boto3 without a token: {all} fetches by two users, each got its own"
    ));
    Ok(())
}
