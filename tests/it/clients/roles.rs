//! Roles that credd assumes, by STSs that no one here wrote, in the hands of an unchanged SDK.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::cli;
use super::client::{Client, Sdk, Way};
use super::daemon::{Daemon, Told};
use super::judge::Judge;
use super::moto::Moto;
use super::{Outcome, PATIENCE, POLL, expect, tell, tools};

/// Sets that are due for a refresh after 30 s, the least wait that there is.
const LIFETIME: Duration = Duration::from_mins(1);

const DEPLOY: &str = "arn:aws:iam::123456789012:role/team/deploy";
const BILLING: &str = "arn:aws:iam::123456789012:role/billing";

/// A daemon whose default identity is this profile.
fn daemon(sts: SocketAddr, profiles: String) -> Result<Daemon, Box<dyn std::error::Error>> {
    Daemon::start_with(Told {
        variables: vec![
            ("AWS_ENDPOINT_URL_STS", format!("http://{sts}")),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AWS_PROFILE", "billing".to_owned()),
        ],
        files: vec![(".aws/config", profiles)],
        ..Told::default()
    })
}

fn user() -> String {
    format!(
        "[profile user]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        Judge::KEY,
        Judge::SECRET
    )
}

#[test]
fn botocore_takes_every_signature_of_a_role_that_is_kept() -> Outcome {
    let Some(tools) = tools() else { return Ok(()) };
    let judge = Judge::start(&tools, LIFETIME, &[])?;
    let profiles = format!(
        "[profile billing]\nrole_arn = {BILLING}\nsource_profile = deploy\n\
         external_id = a:b/c=d+e\nrole_session_name = a=b@c,d\nregion = eu-west-1\n\
         [profile deploy]\nrole_arn = {DEPLOY}\nsource_profile = user\n{}",
        user()
    );
    let daemon = daemon(judge.address, profiles)?;
    let (door, way) = (daemon.door()?, Way::TokenFile);
    let mut client = Client::start(Sdk::Boto3, way, &tools, &door, judge.address)?;
    let first = client
        .fetch()
        .map_err(|it| daemon.with_log(&it.to_string()))?;
    let (mut fetches, deadline) = (1, Instant::now() + 2 * PATIENCE);
    while client.fetch()? == first {
        fetches += 1;
        if Instant::now() > deadline {
            return Err(daemon.with_log("the set was never replaced"));
        }
        std::thread::sleep(POLL);
    }
    let counts = judge.counts()?;
    expect(&counts.refusals, &Vec::new())?;
    expect(&counts.rejected, &0)?;
    let assumed = counts.actions.get("AssumeRole").copied();
    expect(&assumed.is_some_and(|calls| calls >= 3), &true)?;
    tell(&format!(
        "{fetches} fetches across a refresh: {} signatures taken by botocore, none refused",
        counts.accepted
    ));
    Ok(())
}

#[test]
fn boto3_acts_as_a_role_of_a_role_by_moto() -> Outcome {
    let Some(tools) = tools() else { return Ok(()) };
    let moto = Moto::start(&tools)?;
    let profiles = format!(
        "[profile billing]\nrole_arn = {BILLING}\nsource_profile = deploy\n\
         role_session_name = a=b@c\n\
         [profile deploy]\nrole_arn = {DEPLOY}\nsource_profile = user\n{}",
        user()
    );
    let daemon = daemon(moto.address, profiles)?;
    let (door, way) = (daemon.door()?, Way::TokenFile);
    let mut client = Client::start(Sdk::Boto3, way, &tools, &door, moto.address)?;
    let key = client
        .fetch()
        .map_err(|it| daemon.with_log(&it.to_string()))?;
    expect(&key.starts_with("ASIA"), &true)?;
    // moto tells callers apart by their key.
    let keys = [key.as_str(), "secret", "token"].map(str::to_owned);
    let who = cli::sts(
        &tools,
        moto.address,
        &keys,
        "get-caller-identity --query Arn",
    )?;
    let arn = "arn:aws:sts::123456789012:assumed-role/billing/a=b@c";
    expect(&who.as_str(), &arn)
}
