//! Whose request it is, by its signature.

use std::time::Duration;

use credd::clock::Timestamp;

use super::{Refusal, Sts, refuse};
use crate::support::fake_aws::Seen;
use crate::support::fake_aws::signature::{Signable, compact, from_compact};

/// Who signed.
pub(super) struct Caller {
    /// What `GetCallerIdentity` says.
    pub(super) arn: String,
    pub(super) principal: String,
    pub(super) has_mfa: bool,
    /// Whether the key is a session's.
    pub(super) is_temporary: bool,
}

impl Caller {
    pub(super) fn is_of_role(&self) -> bool {
        self.principal.contains(":role/")
    }
}

impl Sts {
    /// Whoever signed, if the signature is right.
    pub(super) fn caller(&self, seen: &Seen, now: Timestamp) -> Result<Caller, Refusal> {
        const UNSIGNED: &str = "Request is missing Authentication Token";
        const UNKNOWN: &str = "The security token included in the request is invalid.";
        let Some(authorization) = seen.header("Authorization") else {
            return refuse(403, "MissingAuthenticationToken", UNSIGNED);
        };
        let Some(signature) = seen.signature() else {
            let message = format!("Authorization header is incomplete: {authorization}");
            return refuse(400, "IncompleteSignature", message);
        };
        let token = seen.header("X-Amz-Security-Token");
        let users = self.users.iter().map(|user| {
            let caller = Caller {
                arn: user.arn.clone(),
                principal: user.arn.clone(),
                has_mfa: false,
                is_temporary: false,
            };
            (&user.key, &user.secret, None, None, caller)
        });
        let sessions = self.sessions.iter().chain(&self.host_sessions);
        let sessions = sessions.map(|session| {
            let caller = Caller {
                arn: session.arn.clone(),
                principal: session.principal.clone(),
                has_mfa: session.has_mfa,
                is_temporary: true,
            };
            let (token, expiry) = (Some(session.token.as_str()), Some(session.expiry));
            (&session.key, &session.secret, token, expiry, caller)
        });
        let known = users
            .chain(sessions)
            .find(|(key, _, its_token, _, _)| **key == signature.key && *its_token == token);
        let Some((_, secret, _, expiry, caller)) = known else {
            return refuse(403, "InvalidClientTokenId", UNKNOWN);
        };
        if expiry.is_some_and(|expiry| expiry <= now) {
            let message = "The security token included in the request is expired";
            return refuse(403, "ExpiredToken", message);
        }
        match self.problem_of_signature(seen, secret, now) {
            Some(message) => refuse(403, "SignatureDoesNotMatch", message),
            None => Ok(caller),
        }
    }

    fn problem_of_signature(&self, seen: &Seen, secret: &str, now: Timestamp) -> Option<String> {
        const TOLERANCE: Duration = Duration::from_mins(5);
        const WRONG: &str = "The request signature we calculated does not match the signature you \
             provided. Check your AWS Secret Access Key and signing method. Consult the service \
             documentation for details.";
        let signature = seen.signature()?;
        let names = seen.headers.iter().map(|(name, _)| name.to_lowercase());
        for name in names.filter(|name| name == "host" || name.starts_with("x-amz-")) {
            if !signature.signs(&name) {
                let rule = "must be a 'SignedHeader' in the AWS Authorization.";
                return Some(format!("'{name}' {rule}"));
            }
        }
        if signature.service != "sts" {
            return Some("Credential should be scoped to correct service: 'sts'.".to_owned());
        }
        let is_here = |region: &String| *region == signature.region;
        if signature.region.is_empty() || !self.region.as_ref().is_none_or(is_here) {
            return Some("Credential should be scoped to a valid region.".to_owned());
        }
        let time = seen.header("X-Amz-Date").unwrap_or_default();
        let Some(signed_at) = from_compact(time) else {
            return Some(format!(
                "Date must be in ISO-8601 'basic format'. Got '{time}'."
            ));
        };
        let (date, given) = (&time[..8], &signature.date);
        if date != given {
            return Some(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date \
                 from HTTP: '{given}' != '{date}', from '{time}'."
            ));
        }
        let (earliest, latest) = (now.minus(TOLERANCE), now.plus(TOLERANCE));
        let now = compact(now);
        if signed_at < earliest {
            let earliest = compact(earliest);
            return Some(format!(
                "Signature expired: {time} is now earlier than {earliest} ({now} - 5 min.)"
            ));
        }
        if signed_at > latest {
            let latest = compact(latest);
            return Some(format!(
                "Signature not yet current: {time} is still later than {latest} ({now} + 5 min.)"
            ));
        }
        let request = Signable {
            method: &seen.method,
            path: &seen.path,
            headers: &seen.headers,
            body: &seen.body,
        };
        let expected = signature.by(secret, time, request);
        (expected.as_ref() != Some(&signature.value)).then(|| WRONG.to_owned())
    }
}
