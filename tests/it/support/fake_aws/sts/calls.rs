//! What the fake STS decides about each call.

use std::time::Duration;

use credd::clock::Timestamp;

use super::caller::Caller;
use super::{Refusal, Role, Session, Sts, refuse};
use crate::support::fake_aws::reply::escaped;
use crate::support::fake_aws::{CANARY, Call, Reply, Seen};
use crate::support::sinks;

/// What a role that was assumed by a role lasts at most.
const LONGEST_IN_A_CHAIN: Duration = Duration::from_hours(1);

impl Sts {
    pub(super) fn decide(&mut self, seen: &Seen, now: Timestamp) -> Result<Reply, Refusal> {
        let version = seen.parameter("Version").unwrap_or_default();
        if version != "2011-06-15" || seen.call == Call::Other {
            let action = seen.parameter("Action").unwrap_or_default();
            let message = format!("Could not find operation {action} for version {version}");
            return refuse(400, "InvalidAction", message);
        }
        if seen.call == Call::AssumeRoleWithWebIdentity {
            return self.assume_role_with_web_identity(seen, now);
        }
        let caller = self.caller(seen, now)?;
        match seen.call {
            Call::AssumeRole => self.assume_role(seen, &caller, now),
            Call::GetSessionToken => self.session_token(seen, &caller, now),
            // https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html says so,
            // but not in which words it is refused.
            Call::DecodeAuthorizationMessage if caller.is_temporary && !caller.is_of_role() => {
                let message = "Cannot call DecodeAuthorizationMessage with session credentials";
                refuse(403, "AccessDenied", message)
            }
            Call::DecodeAuthorizationMessage => self.decode(seen),
            _ => Ok(caller_identity(&caller)),
        }
    }

    fn assume_role(
        &mut self,
        seen: &Seen,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Reply, Refusal> {
        let arn = required(seen, "RoleArn", 20..=2048)?;
        let name = session_name(seen)?;
        let lifetime = lifetime(seen, Duration::from_hours(1), Duration::from_hours(12))?;
        if caller.is_of_role() && lifetime > LONGEST_IN_A_CHAIN {
            let message = "The requested DurationSeconds exceeds the 1 hour session limit for \
                 roles assumed by role chaining";
            return refuse(400, "ValidationError", message);
        }
        let has_mfa = self.mfa(seen, caller, now)? || caller.has_mfa;
        let role = self.roles.iter().find(|role| {
            role.arn == arn
                && role.trusted.contains(&caller.principal)
                && (has_mfa || !role.requires_mfa)
                && (role.external_id.is_none()
                    || role.external_id.as_deref() == seen.parameter("ExternalId"))
        });
        let Some(role) = role else {
            let message = format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}",
                caller.arn
            );
            return refuse(403, "AccessDenied", message);
        };
        let arn = allow(role, lifetime, name)?;
        let principal = role.arn.clone();
        let session = self.issue(arn, principal, false, lifetime, now);
        let result = credentials(&session) + &assumed(&session);
        Ok(Reply::sts_result("AssumeRole", &result))
    }

    fn session_token(
        &mut self,
        seen: &Seen,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Reply, Refusal> {
        let lifetime = lifetime(seen, Duration::from_hours(12), Duration::from_hours(36))?;
        if caller.is_temporary {
            let message = "Cannot call GetSessionToken with session credentials";
            return refuse(403, "AccessDenied", message);
        }
        let has_mfa = self.mfa(seen, caller, now)?;
        let (arn, principal) = (caller.arn.clone(), caller.principal.clone());
        let session = self.issue(arn, principal, has_mfa, lifetime, now);
        Ok(Reply::sts_result("GetSessionToken", &credentials(&session)))
    }

    /// Unsigned, and a signature is not looked at.
    fn assume_role_with_web_identity(
        &mut self,
        seen: &Seen,
        now: Timestamp,
    ) -> Result<Reply, Refusal> {
        let arn = required(seen, "RoleArn", 20..=2048)?;
        let name = session_name(seen)?;
        let lifetime = lifetime(seen, Duration::from_hours(1), Duration::from_hours(12))?;
        let token = required(seen, "WebIdentityToken", 4..=20_000)?;
        let Some(identity) = self.web_identities.get(token) else {
            let message = "No OpenIDConnect provider found in your account for \
                 https://oidc.example.com";
            return refuse(400, "InvalidIdentityToken", message);
        };
        if identity.has_expired {
            let now = now.unix_millis() / 1000;
            let message = format!(
                "Token expired: current date/time {now} must be before the expiration date/time \
                 {}",
                now - 60
            );
            return refuse(400, "ExpiredTokenException", message);
        }
        let role = self.roles.iter().find(|role| {
            role.arn == arn && !role.requires_mfa && role.trusted.contains(&identity.subject)
        });
        let Some(role) = role else {
            let message = "Not authorized to perform sts:AssumeRoleWithWebIdentity";
            return refuse(403, "AccessDenied", message);
        };
        let (subject, principal) = (identity.subject.clone(), role.arn.clone());
        let arn = allow(role, lifetime, name)?;
        let session = self.issue(arn, principal, false, lifetime, now);
        let mut result = credentials(&session) + &assumed(&session);
        result += &element("SubjectFromWebIdentityToken", &subject);
        result += &element(
            "Provider",
            "arn:aws:iam::123456789012:oidc-provider/example.com",
        );
        result += &element("Audience", "sts.amazonaws.com");
        Ok(Reply::sts_result("AssumeRoleWithWebIdentity", &result))
    }

    fn decode(&self, seen: &Seen) -> Result<Reply, Refusal> {
        let encoded = required(seen, "EncodedMessage", 1..=10_240)?;
        let Some(decoded) = self.messages.get(encoded) else {
            let (code, message) = ("InvalidAuthorizationMessageException", "Invalid token");
            return refuse(400, code, message);
        };
        let result = element("DecodedMessage", decoded);
        Ok(Reply::sts_result("DecodeAuthorizationMessage", &result))
    }

    /// Whether a code was shown, which has to be good, and is spent.
    fn mfa(&mut self, seen: &Seen, caller: &Caller, now: Timestamp) -> Result<bool, Refusal> {
        const FAILED: &str = "MultiFactorAuthentication failed";
        let serial = seen.parameter("SerialNumber");
        let code = seen.parameter("TokenCode");
        if let Some(code) = code.filter(|code| !code.bytes().all(|byte| byte.is_ascii_digit())) {
            let rule = "satisfy regular expression pattern: [\\d]*";
            return invalid(code, "tokenCode", rule);
        }
        if let Some(code) = code.filter(|code| code.len() != 6) {
            let bound = if code.len() < 6 { "greater" } else { "less" };
            let rule = format!("have length {bound} than or equal to 6");
            return invalid(code, "tokenCode", &rule);
        }
        let (serial, code) = match (serial, code) {
            (None, None) => return Ok(false),
            (Some(serial), Some(code)) => (serial, code),
            _ => {
                let rest = "must provide both MFA serial number and one time pass code.";
                return refuse(403, "AccessDenied", format!("{FAILED}, {rest}"));
            }
        };
        let device = self
            .devices
            .iter_mut()
            .find(|device| device.serial == serial && device.user == caller.principal);
        let Some(device) = device else {
            let rest = "unable to validate MFA code.  Please verify your MFA serial number is \
                 valid and associated with this user.";
            return refuse(403, "AccessDenied", format!("{FAILED}, {rest}"));
        };
        if device.takes(code, now) {
            return Ok(true);
        }
        let rest = "with invalid MFA one time pass code.";
        refuse(403, "AccessDenied", format!("{FAILED} {rest}"))
    }

    fn issue(
        &mut self,
        arn: String,
        principal: String,
        has_mfa: bool,
        lifetime: Duration,
        now: Timestamp,
    ) -> Session {
        self.issued += 1;
        let number = self.issued;
        let issued = Timestamp::from_unix_millis(now.unix_millis().div_euclid(1000) * 1000);
        let session = Session {
            key: format!("ASIAFAKESTS{number:05}"),
            secret: format!("{CANARY}-sts-secret-{number}"),
            token: format!("{CANARY}-sts-token-{number}"),
            issued,
            expiry: issued.plus(lifetime),
            arn,
            principal,
            has_mfa,
        };
        sinks::secret(&session.secret);
        sinks::secret(&session.token);
        self.sessions.push(session.clone());
        session
    }
}

/// The ARN of the session, if the role gives one of that lifetime.
fn allow(role: &Role, lifetime: Duration, name: &str) -> Result<String, Refusal> {
    if lifetime > role.longest {
        let message =
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
        return refuse(400, "ValidationError", message);
    }
    let (account, path) = role.arn.split_once(":role/").unwrap();
    let account = account.replace(":iam:", ":sts:");
    let role = path.rsplit('/').next().unwrap();
    Ok(format!("{account}:assumed-role/{role}/{name}"))
}

fn invalid<T>(value: &str, name: &str, rule: &str) -> Result<T, Refusal> {
    let message = format!(
        "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: \
         Member must {rule}"
    );
    refuse(400, "ValidationError", message)
}

fn required<'a>(
    seen: &'a Seen,
    name: &str,
    lengths: std::ops::RangeInclusive<usize>,
) -> Result<&'a str, Refusal> {
    let Some(value) = seen.parameter(name) else {
        return invalid("null", name, "not be null");
    };
    if value.len() < *lengths.start() {
        let rule = format!("have length greater than or equal to {}", lengths.start());
        return invalid(value, name, &rule);
    }
    if value.len() > *lengths.end() {
        let rule = format!("have length less than or equal to {}", lengths.end());
        return invalid(value, name, &rule);
    }
    Ok(value)
}

fn session_name(seen: &Seen) -> Result<&str, Refusal> {
    let name = required(seen, "RoleSessionName", 2..=64)?;
    let is_taken = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    if !name.bytes().all(is_taken) {
        let rule = "satisfy regular expression pattern: [\\w+=,.@-]*";
        return invalid(name, "roleSessionName", rule);
    }
    Ok(name)
}

/// Of `DurationSeconds`.
fn lifetime(seen: &Seen, default: Duration, longest: Duration) -> Result<Duration, Refusal> {
    const SHORTEST: Duration = Duration::from_mins(15);
    let Some(text) = seen.parameter("DurationSeconds") else {
        return Ok(default);
    };
    let Ok(seconds) = text.parse() else {
        let message = format!("'{text}' is no number of seconds");
        return refuse(400, "MalformedInput", message);
    };
    let lifetime = Duration::from_secs(seconds);
    let rule = if lifetime < SHORTEST {
        format!("have value greater than or equal to {}", SHORTEST.as_secs())
    } else if lifetime > longest {
        format!("have value less than or equal to {}", longest.as_secs())
    } else {
        return Ok(lifetime);
    };
    invalid(text, "durationSeconds", &rule)
}

fn caller_identity(caller: &Caller) -> Reply {
    let account = caller.arn.split(':').nth(4).unwrap_or_default();
    let result =
        element("Arn", &caller.arn) + &element("UserId", "AIDAFAKE") + &element("Account", account);
    Reply::sts_result("GetCallerIdentity", &result)
}

fn element(name: &str, text: &str) -> String {
    format!("    <{name}>{}</{name}>\n", escaped(text))
}

fn credentials(session: &Session) -> String {
    let fields = [
        ("AccessKeyId", &session.key),
        ("SecretAccessKey", &session.secret),
        ("SessionToken", &session.token),
        ("Expiration", &session.expiry.to_string()),
    ];
    let fields = fields.map(|(name, text)| format!("  {}", element(name, text)));
    format!("    <Credentials>\n{}    </Credentials>\n", fields.concat())
}

fn assumed(session: &Session) -> String {
    let name = session.arn.rsplit('/').next().unwrap();
    let id = element("AssumedRoleId", &format!("AROAFAKE:{name}"));
    let arn = element("Arn", &session.arn);
    format!("    <AssumedRoleUser>\n  {id}  {arn}    </AssumedRoleUser>\n")
}
