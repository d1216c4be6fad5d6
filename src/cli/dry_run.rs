//! `credd check --dry-run`: every identity resolved once, in this process and its environment.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Outcome, SYS, block_on, output};
use crate::clock::{Clock, SharedClock, SystemClock, timeout};
use crate::config::Config;
use crate::credentials::{Failure, FailureClass};
use crate::daemon::{keep, surroundings};
use crate::environment::Environment;
use crate::identity::IdentityName;
use crate::os::host::is_ec2_instance;
use crate::os::process;
use crate::providers::Surroundings;
use crate::providers::chain::{INSTANCE_ADVICE, Link};
use crate::providers::sts::Sts;
use crate::providers::survey::{Surveyed, Surveyor, chosen, rests_on_long_lived_keys};
use crate::pulse::Pulse;
use crate::random::SystemDraws;
use crate::refresh::{Identities, Ledger, Parts, SnapshotReader};
use crate::secret_place::SecretPlace;

/// For everything: a person waits.
const TIME: Duration = Duration::from_secs(30);

/// What systemd keeps for a unit is in its folder below `/run/credentials` (systemd.exec(5)), which
/// root can read while the unit runs.
const ELSEWHERE: &str = "to try those as well, while credd runs: sudo env \
    CREDENTIALS_DIRECTORY=/run/credentials/credd.service credd check --dry-run; before that: the same \
    command by `sudo systemd-run --pipe --wait`, with the unit's LoadCredentialEncrypted= or \
    LoadCredential= as --property";

/// What came of one identity.
enum Resolved {
    /// Whom AWS takes it for, and where it comes from.
    As {
        arn: String,
        source: String,
    },
    /// Only a person can go on. The config is good as far as that.
    NeedsPerson(String),
    /// It cannot be seen from here.
    NotTried(String),
    Failed(String),
}

pub(super) fn run(config: Config, environment: Environment) -> Outcome {
    process::hide_memory();
    let resolved = block_on(async { Ok(resolve(config, environment).await) })?;
    if resolved
        .values()
        .any(|it| matches!(it, Resolved::NotTried(_)))
    {
        output::note(ELSEWHERE);
    }
    let width = resolved.keys().map(|name| name.as_str().len()).max();
    let width = width.unwrap_or(0);
    let has_failed = |it: &Resolved| matches!(it, Resolved::Failed(_));
    let code = if resolved.values().any(has_failed) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    };
    for (name, resolved) in &resolved {
        let said = match resolved {
            Resolved::As { arn, source } => format!("{arn} ({source})"),
            Resolved::NeedsPerson(why) => format!("needs a person: {why}"),
            Resolved::NotTried(why) => format!("not tried: {why}"),
            Resolved::Failed(why) => format!("failed: {why}"),
        };
        let name = name.as_str();
        output::line(&output::harmless(&format!("{name:width$}  {said}")))?;
    }
    Ok(code)
}

/// Says so where identities rest on long-lived keys and need not.
pub(super) fn warn_of_keys_on_an_instance(config: &Config, environment: &Environment) -> Outcome {
    if is_ec2_instance(Path::new(SYS)) {
        let clock: SharedClock = Arc::new(SystemClock::new());
        let surroundings = here(config, environment.clone(), clock);
        let surveyor = Surveyor::new(config.identities.clone(), surroundings);
        let surveyed = block_on(async { Ok(surveyor.survey(config.identities.keys()).await) })?;
        for (name, _) in surveyed
            .iter()
            .filter(|(name, surveyed)| !name.is_narrowed() && rests_on_long_lived_keys(surveyed))
        {
            output::note(&format!("warning: {name}: {INSTANCE_ADVICE}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a daemon would look at, whose own addresses are not to be asked.
fn here(config: &Config, environment: Environment, clock: SharedClock) -> Surroundings {
    let imds = config.serve.imds.iter().flat_map(|imds| &imds.listen);
    let own = config.serve.http.iter().chain(imds).copied();
    let own: Vec<_> = own.collect();
    surroundings(Arc::new(environment), own, clock)
}

async fn resolve(config: Config, environment: Environment) -> BTreeMap<IdentityName, Resolved> {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let begun = clock.boot();
    let surroundings = here(&config, environment, Arc::clone(&clock));
    let mut identities = config.identities;
    let mut resolved = BTreeMap::new();
    for (name, secret) in resting_on_the_unit(&identities, &surroundings.environment) {
        let why = format!("it rests on {secret}, which systemd gives to credd's unit alone");
        identities.remove(&name);
        resolved.insert(name, Resolved::NotTried(why));
    }
    // Found out beforehand, so that no code is spent on a look.
    let surveyor = Surveyor::new(identities.clone(), surroundings.clone());
    for (name, surveyed) in surveyor.survey(identities.keys()).await {
        if let Some(serial) = mfa_serial(&surveyed) {
            let why = format!(
                "it takes a code of MFA device {serial}, and a dry run spends none: not tried"
            );
            identities.remove(&name);
            resolved.insert(name, Resolved::NeedsPerson(why));
        }
    }
    let sts = Arc::new(Sts::of_environment(surroundings.clone()));
    let parts = Parts {
        surroundings,
        draws: |_| Box::new(SystemDraws),
        pulse: Pulse::default(),
        ledger: Ledger::default(),
    };
    let (opened, to_run) = Identities::open_all(identities, parts);
    let mut asking = JoinSet::new();
    for (name, reader) in opened.readers() {
        let (sts, clock) = (Arc::clone(&sts), Arc::clone(&clock));
        let left = TIME.saturating_sub(begun.until(clock.boot()));
        asking.spawn(async move {
            let outcome = timeout(&*clock, left, outcome(&reader, &sts, &*clock)).await;
            let late = |_| Resolved::Failed("nothing came of it within 30 s".to_owned());
            (name, outcome.unwrap_or_else(late))
        });
    }
    let asked = async {
        while let Some(one) = asking.join_next().await {
            resolved.extend(one);
        }
    };
    tokio::select! {
        () = asked => {}
        () = keep(to_run) => {}
    }
    resolved
}

/// Those that take a secret which systemd hands to a unit, and not to this process, or that are
/// derived from such.
fn resting_on_the_unit(
    identities: &BTreeMap<IdentityName, Vec<Link>>,
    environment: &Environment,
) -> BTreeMap<IdentityName, SecretPlace> {
    let mut resting: BTreeMap<IdentityName, SecretPlace> = BTreeMap::new();
    // As deep as identities are derived from each other.
    loop {
        let before = resting.len();
        for (name, links) in identities {
            let of_link = |link: &Link| {
                let own = link
                    .secret_places()
                    .find(|it| it.path(environment).is_none());
                own.or_else(|| resting.get(link.built_on()?)).cloned()
            };
            if let Some(secret) = links.iter().find_map(of_link) {
                resting.insert(name.clone(), secret);
            }
        }
        if resting.len() == before {
            return resting;
        }
    }
}

fn mfa_serial(surveyed: &[Surveyed]) -> Option<&str> {
    chosen(surveyed)?.found()?.mfa_serial.as_deref()
}

/// Waits for the first attempt, and asks AWS whose credentials it has brought.
async fn outcome(reader: &SnapshotReader, sts: &Sts, clock: &dyn Clock) -> Resolved {
    reader.demand();
    reader.until(|snapshot| snapshot.attempts > 0).await;
    let snapshot = reader.load();
    let held = snapshot
        .held
        .as_ref()
        .filter(|_| snapshot.is_usable(clock.now()));
    let Some(held) = held else {
        let failure = snapshot.trouble.as_ref().map(|trouble| &trouble.failure);
        return failure.map_or_else(
            || Resolved::Failed("its attempt has ended".to_owned()),
            failed,
        );
    };
    let (credentials, source) = (Arc::clone(held.credentials()), held.source.to_string());
    drop(snapshot);
    match sts.caller_identity(&credentials).await {
        Ok(caller) => Resolved::As {
            arn: caller.arn,
            source,
        },
        Err(failure) => Resolved::Failed(format!("has credentials ({source}), but {failure}")),
    }
}

fn failed(failure: &Failure) -> Resolved {
    let why = failure.message.clone();
    if failure.class == FailureClass::NeedsPerson {
        Resolved::NeedsPerson(why)
    } else {
        Resolved::Failed(why)
    }
}
