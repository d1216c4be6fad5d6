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
