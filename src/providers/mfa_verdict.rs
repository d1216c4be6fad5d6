//! What an MFA code has come to, by what STS has answered.

use std::time::Duration;

use super::sts::Unanswered;
use crate::aws::sts::Refusal;
use crate::challenge::Verdict;
use crate::credentials::Failure;

/// A wrong code of a device that nobody types is no slip: the next one is tried this much later,
/// so that AWS is not asked with one after the other.
const AFTER_WRONG_CODE: Duration = Duration::from_mins(5);

/// What whoever left the code is told.
pub(super) fn for_person(unanswered: &Unanswered) -> Verdict {
    let message = unanswered.failure.message.clone();
    match &unanswered.refusal {
        _ if !unanswered.was_sent => Verdict::Unsent(message),
        Some(refusal) if refusal.is_wrong_mfa_code() => Verdict::Refused(word(refusal)),
        Some(_) if !unanswered.failure.class.may_pass() => Verdict::Refused(message),
        _ => Verdict::Unclear(message),
    }
}

/// AWS's own, without its full stop.
fn word(refusal: &Refusal) -> String {
    refusal.message.trim_end_matches(['.', ' ']).to_owned()
}

/// What a code that nobody typed has come to.
pub(super) fn without_person(unanswered: Unanswered, serial: &str) -> Failure {
    let is_wrong = |it: &&Refusal| it.is_wrong_mfa_code();
    match unanswered.refusal.as_ref().filter(is_wrong) {
        Some(refusal) => Failure {
            retry_after: Some(AFTER_WRONG_CODE),
            ..Failure::denied(format!(
                "AWS refused the code of MFA device {serial}: {}; check that the serial is that of \
                 the device whose secret or command this is, that nobody else uses its codes, and \
                 that the clocks are right",
                word(refusal)
            ))
        },
        None => unanswered.failure,
    }
}
