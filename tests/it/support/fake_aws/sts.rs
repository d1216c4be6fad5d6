//! The STS of the fake AWS: whom it knows, whom it lets in, and what it has issued.
//!
//! Codes and messages are what AWS answers, as its documents and its users quote them.

mod caller;
mod calls;
mod mfa;

use std::collections::BTreeMap;
use std::time::Duration;

use credd::clock::Timestamp;

use self::mfa::Device;
use super::{CANARY, FakeAws, Reply, Seen, Set};
use crate::support::sinks;

/// Whose role the metadata and the container endpoint give away.
const HOST_ROLE: &str = "arn:aws:iam::123456789012:role/app";

#[derive(Default)]
pub(super) struct Sts {
    users: Vec<User>,
    devices: Vec<Device>,
    roles: Vec<Role>,
    /// Tokens of web identities that are taken, and for whom each is.
    web_identities: BTreeMap<String, Web>,
    /// What `DecodeAuthorizationMessage` knows.
    messages: BTreeMap<String, String>,
    /// Of the host's role, not of this service's making.
    host_sessions: Vec<Session>,
    sessions: Vec<Session>,
    /// Also those that were deactivated since.
    issued: u32,
    region: Option<String>,
    rate: Option<Rate>,
}

struct User {
    key: String,
    secret: String,
    arn: String,
}

struct Web {
    subject: String,
    has_expired: bool,
}

struct Rate {
    per_second: u32,
    second: i64,
    calls: u32,
}

/// A role, and its trust policy.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    arn: String,
    trusted: Vec<String>,
    longest: Duration,
    external_id: Option<String>,
    requires_mfa: bool,
}

impl Role {
    /// That nobody may assume yet, for an hour at most, as AWS makes them.
    pub(crate) fn new(arn: &str) -> Self {
        Self {
            arn: arn.to_owned(),
            trusted: Vec::new(),
            longest: Duration::from_hours(1),
            external_id: None,
            requires_mfa: false,
        }
    }

    /// Also the user or the role of this ARN, or the web identity of this subject, may assume it.
    pub(crate) fn trusting(mut self, principal: &str) -> Self {
        self.trusted.push(principal.to_owned());
        self
    }

    pub(crate) fn lasting_at_most(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    pub(crate) fn requiring_external_id(mut self, external_id: &str) -> Self {
        self.external_id = Some(external_id.to_owned());
        self
    }

    pub(crate) fn requiring_mfa(mut self) -> Self {
        self.requires_mfa = true;
        self
    }
}

/// Temporary credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) key: String,
    pub(crate) secret: String,
    pub(crate) token: String,
    /// By this AWS's clock, to the second.
    pub(crate) issued: Timestamp,
    pub(crate) expiry: Timestamp,
    /// `arn:aws:sts::123456789012:assumed-role/deploy/name`, or the ARN of a user.
    pub(crate) arn: String,
    /// What trust policies call it: the ARN of the role or of the user.
    pub(crate) principal: String,
    pub(crate) has_mfa: bool,
}

impl FakeAws {
    /// A user by a long-lived key. The same user may have several.
    pub(crate) fn user(&self, key: &str, secret: &str, arn: &str) {
        sinks::secret(secret);
        self.world.lock().unwrap().sts.users.push(User {
            key: key.to_owned(),
            secret: secret.to_owned(),
            arn: arn.to_owned(),
        });
    }

    /// The key is unknown from now on, whether it is a user's or a session's.
    pub(crate) fn deactivate(&self, key: &str) {
        let sts = &mut self.world.lock().unwrap().sts;
        sts.users.retain(|user| user.key != key);
        sts.sessions.retain(|session| session.key != key);
        sts.host_sessions.retain(|session| session.key != key);
    }

    /// The session ends now, whatever its expiry said.
    pub(crate) fn expire(&self, key: &str) {
        let mut world = self.world.lock().unwrap();
        let now = world.now();
        let mut sessions = world.sts.sessions.iter_mut();
        let session = sessions.find(|session| session.key == key).unwrap();
        session.expiry = now;
    }

    /// Gives the user a device of which no code is good before `mfa_codes`.
    pub(crate) fn mfa_device(&self, user: &str, serial: &str) {
        self.device(Device::of_codes(user, serial));
    }

    /// These codes are good now, each once, and no others.
    pub(crate) fn mfa_codes(&self, serial: &str, codes: &[&str]) {
        let sts = &mut self.world.lock().unwrap().sts;
        let mut devices = sts.devices.iter_mut();
        let device = devices.find(|device| device.serial == serial).unwrap();
        device.accept(codes);
    }

    /// Gives the user a device as of RFC 6238, with 6 digits and steps of 30 s by this AWS's
    /// clock. The steps beside the current one are taken too, each once.
    pub(crate) fn totp_device(&self, user: &str, serial: &str, secret: &[u8]) {
        self.device(Device::of_secret(user, serial, secret));
    }

    fn device(&self, device: Device) {
        self.world.lock().unwrap().sts.devices.push(device);
    }

    /// Adds the role, in place of one of the same ARN.
    pub(crate) fn role(&self, role: Role) {
        let sts = &mut self.world.lock().unwrap().sts;
        sts.roles.retain(|it| it.arn != role.arn);
        sts.roles.push(role);
    }

    /// Takes this token, to the letter, for the identity of a `subject`.
    pub(crate) fn web_identity(&self, token: &str, subject: &str) {
        let identity = Web {
            subject: subject.to_owned(),
            has_expired: false,
        };
        let sts = &mut self.world.lock().unwrap().sts;
        sts.web_identities.insert(token.to_owned(), identity);
    }

    pub(crate) fn expire_web_identity(&self, token: &str) {
        let sts = &mut self.world.lock().unwrap().sts;
        sts.web_identities.get_mut(token).unwrap().has_expired = true;
    }

    /// What `DecodeAuthorizationMessage` makes of an encoded message.
    pub(crate) fn authorization_message(&self, encoded: &str, decoded: &str) {
        let sts = &mut self.world.lock().unwrap().sts;
        sts.messages.insert(encoded.to_owned(), decoded.to_owned());
    }

    /// Throttles what goes beyond so many calls to STS in one second of its clock.
    pub(crate) fn limit_rate(&self, per_second: Option<u32>) {
        self.world.lock().unwrap().sts.rate = per_second.map(|per_second| Rate {
            per_second,
            second: 0,
            calls: 0,
        });
    }

    /// Takes no signature for another region.
    pub(crate) fn be_in_region(&self, region: &str) {
        self.world.lock().unwrap().sts.region = Some(region.to_owned());
    }

    /// All that STS has issued, in order.
    pub(crate) fn sessions(&self) -> Vec<Session> {
        self.world.lock().unwrap().sts.sessions.clone()
    }
}

struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
}

fn refuse<T>(status: u16, code: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal {
        status,
        code,
        message: message.into(),
    })
}

impl Sts {
    /// Takes the keys that the host was given for those of a role's session.
    pub(super) fn know(&mut self, set: &Set) {
        self.host_sessions.push(Session {
            key: set.key(),
            secret: format!("{CANARY}-secret-{}", set.serial),
            token: format!("{CANARY}-token-{}", set.serial),
            issued: set.issued,
            expiry: set.expiry,
            arn: "arn:aws:sts::123456789012:assumed-role/app/i-0123456789abcdef0".to_owned(),
            principal: HOST_ROLE.to_owned(),
            has_mfa: false,
        });
    }

    pub(super) fn answer(&mut self, seen: &Seen, now: Timestamp) -> Reply {
        let reply = match self.throttle(now).and_then(|()| self.decide(seen, now)) {
            Ok(reply) => reply,
            Err(Refusal {
                status,
                code,
                message,
            }) => Reply::sts_error(status, code, &message),
        };
        reply.with("x-amzn-RequestId", super::reply::REQUEST)
    }

    fn throttle(&mut self, now: Timestamp) -> Result<(), Refusal> {
        let second = now.unix_millis().div_euclid(1000);
        let Some(rate) = &mut self.rate else {
            return Ok(());
        };
        if rate.second != second {
            (rate.second, rate.calls) = (second, 0);
        }
        if rate.calls == rate.per_second {
            return refuse(400, "Throttling", "Rate exceeded");
        }
        rate.calls += 1;
        Ok(())
    }
}
