//! That each STS of the tests takes what the AWS CLI signs, and nothing else.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use credd::clock::Clock;

use super::cli::{self, Keys};
use super::judge::Judge;
use super::moto::Moto;
use super::{Outcome, expect, tools};
use crate::support::clock::TestClock;
use crate::support::fake_aws::{FakeAws, Role};
use crate::support::patience;

const LIFETIME: Duration = Duration::from_mins(15);
const ROLE: &str = "arn:aws:iam::123456789012:role/team/deploy";
const CODE: &str = "123456";

#[test]
fn the_judge_takes_what_the_aws_cli_signs() -> Outcome {
    let Some(tools) = tools() else { return Ok(()) };
    let judge = Judge::start(&tools, LIFETIME, &[CODE])?;
    go_the_whole_way(&tools, judge.address)?;
    let counts = judge.counts()?;
    let actions: Vec<_> = counts.actions.into_iter().collect();
    let actions: Vec<_> = actions
        .iter()
        .map(|(action, count)| (action.as_str(), *count))
        .collect();
    let expected = vec![
        ("AssumeRole", 2),
        ("AssumeRoleWithWebIdentity", 1),
        ("GetCallerIdentity", 2),
        ("GetSessionToken", 2),
    ];
    expect(&actions, &expected)?;
    expect(&(counts.accepted, counts.rejected), &(5, 1))?;
    let refusal = counts.refusals.first().ok_or("no refusal")?;
    expect(&refusal.starts_with("botocore signs otherwise:"), &true)
}

#[test]
fn the_fake_sts_takes_what_the_aws_cli_signs() {
    let Some(tools) = tools() else { return };
    patience::run(async move || {
        let clock = TestClock::new();
        let aws = FakeAws::start(&clock).await;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = i64::try_from(now.unwrap().as_millis()).unwrap();
        aws.skew(now - clock.now().unix_millis());
        let user = "arn:aws:iam::123456789012:user/judged";
        aws.user(Judge::KEY, Judge::SECRET, user);
        aws.mfa_device(user, Judge::SERIAL);
        aws.mfa_codes(Judge::SERIAL, &[CODE]);
        let role = Role::new(ROLE).trusting(user).trusting(ROLE);
        aws.role(role.trusting("a-subject"));
        aws.web_identity(Judge::WEB_IDENTITY, "a-subject");
        let address = SocketAddr::from(([127, 0, 0, 1], aws.port()));
        let way = tokio::task::spawn_blocking(move || {
            go_the_whole_way(&tools, address).map_err(|error| error.to_string())
        });
        way.await.unwrap().unwrap();
        assert_eq!(aws.sessions().len(), 4);
    });
}

#[test]
fn moto_goes_most_of_the_way() -> Outcome {
    let Some(tools) = tools() else { return Ok(()) };
    let moto = Moto::start(&tools)?;
    // It gives everybody everything, without a look at codes and signatures.
    go_from_role_to_role(&tools, moto.address, &user(Judge::SECRET))
}

/// From a user with a device to a role, and on from there; and by a web identity.
fn go_the_whole_way(tools: &Path, sts: SocketAddr) -> Outcome {
    let user = user(Judge::SECRET);
    let mfa = format!(
        "get-session-token --serial-number {} --token-code {CODE}",
        Judge::SERIAL
    );
    let session = cli::keys(tools, sts, &user, &mfa)?;
    go_from_role_to_role(tools, sts, &session)?;
    is_refused(
        cli::sts(tools, sts, &user, &mfa),
        "invalid MFA one time pass code",
    )?;
    let stranger = self::user("another-secret");
    is_refused(
        cli::sts(tools, sts, &stranger, "get-caller-identity"),
        "SignatureDoesNotMatch",
    )
}

fn go_from_role_to_role(tools: &Path, sts: SocketAddr, session: &Keys) -> Outcome {
    let assume = format!("assume-role --role-arn {ROLE} --role-session-name a=b@c");
    let first = cli::keys(tools, sts, session, &assume)?;
    let second = cli::keys(tools, sts, &first, &assume)?;
    let who = cli::sts(tools, sts, &second, "get-caller-identity --query Arn")?;
    let arn = "arn:aws:sts::123456789012:assumed-role/deploy/a=b@c";
    expect(&who.as_str(), &arn)?;
    let by_token = format!(
        "assume-role-with-web-identity --role-arn {ROLE} --role-session-name a=b@c \
         --web-identity-token {}",
        Judge::WEB_IDENTITY
    );
    cli::keys(tools, sts, &second, &by_token).map(drop)
}

fn user(secret: &str) -> Keys {
    [Judge::KEY, secret, ""].map(str::to_owned)
}

fn is_refused(answer: Result<String, Box<dyn Error>>, reason: &str) -> Outcome {
    match answer {
        Err(error) if error.to_string().contains(reason) => Ok(()),
        other => Err(format!("{other:?} is not refused with {reason}").into()),
    }
}
