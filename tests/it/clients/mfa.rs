//! One MFA code opens several roles, for SDKs that know nothing of codes, by STSs that no one here
//! wrote.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::cli;
use super::client::{Client, Sdk, Way};
use super::daemon::{Daemon, Told};
use super::judge::Judge;
use super::moto::Moto;
use super::{Outcome, PATIENCE, POLL, expect, systemd, tell, tools};

/// Of a role. A set is due for a refresh after 30 s, the least wait that there is.
const LIFETIME: Duration = Duration::from_mins(1);

const CODE: &str = "123456";

/// RFC 6238 appendix B, in base32.
const TOTP_SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// The second is assumed with the first.
const ROLES: [(&str, &str); 2] = [
    (
        "deploy",
        "arn:aws:sts::123456789012:assumed-role/deploy/a=b@c",
    ),
    (
        "billing",
        "arn:aws:sts::123456789012:assumed-role/billing/credd-billing",
    ),
];

/// A daemon with a user's keys, a session of theirs and two roles, and where its secrets are.
struct Desk {
    daemon: Daemon,
    _secrets: TempDir,
}

impl Desk {
    fn asking_a_person(sts: SocketAddr) -> Result<Self, Box<dyn Error>> {
        Self::open(sts, r#""ask""#, TempDir::new()?)
    }

    /// `secrets` becomes what systemd hands to a service as its credentials.
    fn open(sts: SocketAddr, mfa_code: &str, secrets: TempDir) -> Result<Self, Box<dyn Error>> {
        let [key, secret, serial] = [Judge::KEY, Judge::SECRET, Judge::SERIAL];
        std::fs::write(secrets.path().join("ops-key"), secret)?;
        let config = format!(
            "[identity.ops]\nprovider = \"keys\"\naccess-key-id = \"{key}\"\n\
             secret-access-key = \"credential:ops-key\"\n\
             [identity.ops-mfa]\nprovider = \"session-token\"\nfrom = \"ops\"\n\
             mfa-serial = \"{serial}\"\nmfa-code = {mfa_code}\n\
             [identity.deploy]\nprovider = \"assume-role\"\nfrom = \"ops-mfa\"\n\
             role-arn = \"arn:aws:iam::123456789012:role/team/deploy\"\nsession-name = \"a=b@c\"\n\
             [identity.billing]\nprovider = \"assume-role\"\nfrom = \"deploy\"\n\
             role-arn = \"arn:aws:iam::123456789012:role/billing\"\nexternal-id = \"a:b/c=d+e\"\n"
        );
        let folder = secrets.path().display().to_string();
        let mut variables = variables(sts);
        variables.push(("CREDENTIALS_DIRECTORY", folder));
        let daemon = Daemon::start_with(Told {
            config,
            variables,
            ..Told::default()
        })?;
        Ok(Self {
            daemon,
            _secrets: secrets,
        })
    }

    /// Waits until the code is asked for, and gives it.
    fn give_code(&self) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        while !self.list()?.contains("an MFA code is needed now") {
            if Instant::now() > deadline {
                return Err(self.daemon.with_log("no code is asked for"));
            }
            std::thread::sleep(POLL);
        }
        let words = ["mfa", "ops-mfa", "--code-stdin"];
        let said = self.daemon.credd(&words, &format!("{CODE}\n"))?;
        expect(&said.starts_with("accepted: ops-mfa is good until "), &true)
    }

    /// What waits for a code.
    fn list(&self) -> Result<String, Box<dyn Error>> {
        self.daemon.credd(&["mfa", "--list"], "")
    }

    fn needs_no_code(&self) -> Outcome {
        let start = "ops-mfa: no MFA code is needed before ";
        expect(&self.list()?.starts_with(start), &true)
    }

    /// An unchanged boto3 that gets its credentials from one of the identities over TCP.
    fn boto3(
        &self,
        tools: &Path,
        identity: &'static str,
        sts: SocketAddr,
    ) -> Result<Client, Box<dyn Error>> {
        let mut door = self.daemon.door()?;
        door.identity = identity;
        Client::start(Sdk::Boto3, Way::TokenFile, tools, &door, sts)
    }

    fn fetch(&self, client: &mut Client) -> Result<String, Box<dyn Error>> {
        client
            .fetch()
            .map_err(|error| self.daemon.with_log(&error.to_string()))
    }

    /// Fetches, without one failure, until a living boto3 has another set of both roles. Returns
    /// how often it fetched.
    fn outlive_sets_of_both_roles(
        &self,
        tools: &Path,
        sts: SocketAddr,
    ) -> Result<usize, Box<dyn Error>> {
        let mut fetches = 0;
        let mut clients = Vec::new();
        for (identity, _) in ROLES {
            let mut client = self.boto3(tools, identity, sts)?;
            let first = self.fetch(&mut client)?;
            clients.push((client, first));
        }
        let deadline = Instant::now() + 2 * PATIENCE;
        let mut are_replaced = ROLES.map(|_| false);
        while are_replaced.contains(&false) {
            for ((client, first), is_replaced) in clients.iter_mut().zip(&mut are_replaced) {
                fetches += 1;
                *is_replaced |= self.fetch(client)? != *first;
            }
            if Instant::now() > deadline {
                return Err(self.daemon.with_log("a set was never replaced"));
            }
            std::thread::sleep(POLL);
        }
        Ok(fetches)
    }

    /// That STS takes each role's credentials for those of the role.
    fn is_each_role(&self) -> Outcome {
        for (identity, arn) in ROLES {
            let said = self.daemon.credd(&["whoami", identity], "")?;
            expect(&said.lines().next(), &Some(&*format!("arn      {arn}")))?;
        }
        Ok(())
    }
}

fn variables(sts: SocketAddr) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL_STS", format!("http://{sts}")),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]
}

#[test]
fn one_code_opens_two_roles_for_boto3_by_moto_and_none_is_asked_for_a_refresh() -> Outcome {
    let Some(tools) = tools() else { return Ok(()) };
    let moto = Moto::start(&tools)?;
    let desk = Desk::asking_a_person(moto.address)?;
    desk.give_code()?;
    // A process of its own each time, since boto3 sees no reason to ask again within the hour.
    let fetch = || -> Result<Vec<String>, Box<dyn Error>> {
        let mut keys = Vec::new();
        for (identity, arn) in ROLES {
            let key = desk.fetch(&mut desk.boto3(&tools, identity, moto.address)?)?;
            // moto tells callers apart by their key.
            let triple = [key.as_str(), "secret", "token"].map(str::to_owned);
            let words = "get-caller-identity --query Arn";
            let who = cli::sts(&tools, moto.address, &triple, words)?;
            expect(&who.as_str(), &arn)?;
            keys.push(key);
        }
        Ok(keys)
    };
    let first = fetch()?;
    for (identity, _) in ROLES {
        desk.daemon.credd(&["refresh", identity], "")?;
    }
    let second = fetch()?;
    expect(&first.iter().any(|key| second.contains(key)), &false)?;
    desk.is_each_role()?;
    desk.needs_no_code()
}

#[test]
fn botocore_takes_every_signature_from_one_code_to_two_roles_that_are_kept() -> Outcome {
    let Some(tools) = tools() else { return Ok(()) };
    let judge = Judge::start(&tools, LIFETIME, &[CODE])?;
    let desk = Desk::asking_a_person(judge.address)?;
    desk.give_code()?;
    let fetches = desk.outlive_sets_of_both_roles(&tools, judge.address)?;
    desk.is_each_role()?;
    desk.needs_no_code()?;
    let counts = judge.counts()?;
    expect(&counts.refusals, &Vec::new())?;
    expect(&counts.rejected, &0)?;
    expect(&counts.actions.get("GetSessionToken"), &Some(&1))?;
    let assumed = counts.actions.get("AssumeRole").copied();
    expect(&assumed.is_some_and(|calls| calls >= 4), &true)?;
    tell(&format!(
        "{fetches} fetches across a refresh of two roles: {} signatures taken by botocore ({:?}), \
         none refused",
        counts.accepted, counts.actions
    ));
    Ok(())
}

#[test]
fn a_web_identity_is_shown_unsigned_and_its_roles_ask_who_they_are_and_decode() -> Outcome {
    let Some(tools) = tools() else { return Ok(()) };
    let judge = Judge::start(&tools, LIFETIME, &[])?;
    let config = "[identity.deploy]\nprovider = \"web-identity\"\n\
                  role-arn = \"arn:aws:iam::123456789012:role/team/deploy\"\n\
                  token-file = \"home/token\"\nsession-name = \"a=b@c\"\n\
                  [identity.billing]\nprovider = \"assume-role\"\nfrom = \"deploy\"\n\
                  role-arn = \"arn:aws:iam::123456789012:role/billing\"\n";
    let daemon = Daemon::start_with(Told {
        config: config.to_owned(),
        variables: variables(judge.address),
        files: vec![("token", Judge::WEB_IDENTITY.to_owned())],
        ..Told::default()
    })?;
    let mut door = daemon.door()?;
    door.identity = "billing";
    let mut client = Client::start(Sdk::Boto3, Way::TokenFile, &tools, &door, judge.address)?;
    client
        .fetch()
        .map_err(|error| daemon.with_log(&error.to_string()))?;
    for (identity, arn) in ROLES {
        let said = daemon.credd(&["whoami", identity], "")?;
        expect(&said.lines().next(), &Some(&*format!("arn      {arn}")))?;
    }
    let message = "Xb2_-+/=".repeat(20);
    let said = daemon.credd(&["decode", "--identity", "billing"], &message)?;
    let expected = format!("{{\n  \"encoded\": \"{message}\"\n}}\n");
    expect(&said, &expected)?;
    let counts = judge.counts()?;
    expect(&counts.refusals, &Vec::new())?;
    let actions: Vec<_> = counts.actions.keys().map(String::as_str).collect();
    let expected = [
        "AssumeRole",
        "AssumeRoleWithWebIdentity",
        "DecodeAuthorizationMessage",
        "GetCallerIdentity",
    ];
    expect(&actions, &expected.to_vec())?;
    tell(&format!(
        "{} signatures taken by botocore ({:?}), none refused",
        counts.accepted, counts.actions
    ));
    Ok(())
}

#[test]
fn a_totp_secret_that_systemd_encrypted_keeps_roles_without_a_person() -> Outcome {
    let Some(tools) = tools() else { return Ok(()) };
    let Some(secrets) = systemd::decrypted("ops-totp", TOTP_SECRET)? else {
        tell("skipped: there is no systemd-creds here");
        return Ok(());
    };
    let judge = Judge::with_totp(&tools, LIFETIME, TOTP_SECRET)?;
    let mfa_code = r#"{ totp-secret = "credential:ops-totp" }"#;
    let desk = Desk::open(judge.address, mfa_code, secrets)?;
    let fetches = desk.outlive_sets_of_both_roles(&tools, judge.address)?;
    expect(&judge.counts()?.actions.get("GetSessionToken"), &Some(&1))?;
    // With the code of the next half minute, since one is good once.
    desk.daemon.credd(&["refresh", "ops-mfa"], "")?;
    desk.is_each_role()?;
    let counts = judge.counts()?;
    expect(&counts.refusals, &Vec::new())?;
    expect(&counts.actions.get("GetSessionToken"), &Some(&2))?;
    tell(&format!(
        "{fetches} fetches and a second session without a person: {} signatures taken by botocore \
         ({:?}), none refused",
        counts.accepted, counts.actions
    ));
    Ok(())
}
