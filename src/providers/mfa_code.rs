//! Codes of MFA devices that come without a person: by a secret and the time, or by a program.

use std::time::Duration;

use super::session_token::CodeSource;
use super::{Context, unreadable};
use crate::challenge::{AlreadyUsed, Claim, MfaCode, Totp, automatic, until_next_step};
use crate::clock::Timestamp;
use crate::credentials::Failure;
use crate::environment::Environment;
use crate::program::{Command, Limits};
use crate::secret_place::SecretPlace;

/// A key that waits to be touched gives up after 15 s. What is printed later than this may be too
/// old for STS.
const PROGRAM: Limits = Limits {
    deadline: Duration::from_secs(20),
    output_bytes: 4 * 1024,
};

/// The code of `serial` at `at`, by AWS's time, and the right to send it.
pub(super) async fn claimed(
    source: &CodeSource,
    serial: &str,
    context: &Context,
    at: Timestamp,
) -> Result<(MfaCode, Claim), Failure> {
    let used = context.challenges.used();
    let boot = context.clock.boot();
    let (code, next) = match source {
        CodeSource::Totp(place) => {
            let totp = device(place, &context.environment).await?;
            let code = automatic(&totp, used, serial, at, boot);
            let code = code.map_err(|wait| spent(serial, wait))?;
            (code, at.until(totp.next_step(at)))
        }
        CodeSource::Command(command) => (printed(command, context).await?, until_next_step(at)),
        CodeSource::Ask => {
            return Err(Failure::mfa_required(context.identity.as_str(), serial));
        }
    };
    let claim = used.claim(serial, &code, boot).await;
    let claim = claim.map_err(|AlreadyUsed { .. }| spent(serial, next))?;
    Ok((code, claim))
}

/// The secret is read anew each time: whoever replaces it expects it.
async fn device(place: &SecretPlace, environment: &Environment) -> Result<Totp, Failure> {
    let secret = place.read(environment).await;
    let secret = secret.map_err(|error| unreadable(&error))?;
    let totp = Totp::parse(secret.expose())
        .map_err(|problem| Failure::misconfigured(format!("{place}: {problem}")))?;
    if totp.has_six_digits() {
        return Ok(totp);
    }
    Err(Failure::misconfigured(format!(
        "{place} is the secret of a device with more than six digits, and AWS takes six; use that \
         of the device which AWS knows"
    )))
}

async fn printed(command: &Command, context: &Context) -> Result<MfaCode, Failure> {
    let (environment, clock) = (&context.environment, &context.clock);
    let output = command.run(PROGRAM, environment, &**clock).await?;
    let text = std::str::from_utf8(&output.stdout).unwrap_or("?");
    MfaCode::parse(text).map_err(|problem| {
        Failure::misconfigured(format!(
            "`{}` did not print an MFA code: {problem}; have it print the six digits and nothing \
             else",
            command.name()
        ))
    })
}

fn spent(serial: &str, wait: Duration) -> Failure {
    Failure {
        retry_after: Some(wait),
        ..Failure::transient(format!(
            "the code that MFA device {serial} shows now has been sent before, and AWS takes each \
             once; the next one comes in {} s",
            wait.as_secs_f64().ceil()
        ))
    }
}
