//! Codes that no person types: the one that a virtual device shows now, unless it is used up.

use std::time::Duration;

use super::{MfaCode, Totp, UsedCodes};
use crate::clock::{BootInstant, Timestamp};

/// The code to send now, or how long to wait for the device's next one. Whoever sends it claims
/// it first, as any other.
pub fn automatic(
    totp: &Totp,
    used: &UsedCodes,
    serial: &str,
    now: Timestamp,
    boot: BootInstant,
) -> Result<MfaCode, Duration> {
    let code = totp.code(now);
    match used.check(serial, &code, boot) {
        Ok(()) => Ok(code),
        Err(_) => Err(now.until(totp.next_step(now))),
    }
}

/// Devices show each code this long (RFC 6238, 4.1).
const STEP: Duration = Duration::from_secs(30);

/// How long until a device of which nothing more is known shows its next code.
pub fn until_next_step(now: Timestamp) -> Duration {
    let step = i64::try_from(STEP.as_millis()).unwrap_or(i64::MAX);
    let next = (now.unix_millis().div_euclid(step) + 1).saturating_mul(step);
    now.until(Timestamp::from_unix_millis(next))
}
