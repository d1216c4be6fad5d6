//! A scripted AWS: an instance role, a task role and a mint, under the weather.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use credd::clock::{Clock, Timestamp};
use credd::credentials::{AccessKeyId, Credentials, Failure, Principal, Provided, Renewal};
use credd::http::{HttpError, Limits, Response, Route, Sending, Stage, Transport};
use credd::providers::{Provider, Providing};
use credd::secret::Secret;
use hyper::{HeaderMap, Request, StatusCode};
use serde_json::json;
use zeroize::Zeroizing;

use super::clock::{SimulatedClock, at};
use super::sts;
use super::weather::{Fault, HORIZON, Weather};
use crate::support::chance::Chance;

pub(super) const CANARY: &str = "CANARY";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Instance,
    Task,
    Minted,
    /// A role that is assumed with the instance's.
    Assumed,
    /// A role that is assumed with long-lived keys.
    Keyed,
}

impl Source {
    pub(super) const ALL: [Self; 5] = [
        Self::Instance,
        Self::Task,
        Self::Minted,
        Self::Assumed,
        Self::Keyed,
    ];

    /// Whether STS makes its sets.
    pub(super) fn is_derived(self) -> bool {
        matches!(self, Self::Assumed | Self::Keyed)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Task => "task",
            Self::Minted => "minted",
            Self::Assumed => "assumed",
            Self::Keyed => "keyed",
        }
    }
}

/// A set that this AWS has issued. Its secrets follow from its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Set {
    pub(super) source: Source,
    pub(super) serial: usize,
    issued: Timestamp,
    pub(super) expiry: Timestamp,
}

impl Set {
    pub(super) fn key(&self) -> String {
        format!("ASIA{}{:06}", self.source.name(), self.serial)
    }

    pub(super) fn secret(&self) -> String {
        format!("{CANARY}-secret-{}", self.key())
    }

    pub(super) fn token(&self) -> String {
        format!("{CANARY}-token-{}", self.key())
    }

    fn body(&self) -> serde_json::Value {
        json!({
            "Code": "Success",
            "LastUpdated": self.issued.to_string(),
            "AccessKeyId": self.key(),
            "SecretAccessKey": self.secret(),
            "Token": self.token(),
            "Expiration": self.expiry.to_string(),
        })
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) clock: Arc<SimulatedClock>,
    weather: Weather,
    sets: Mutex<Sets>,
    mint_lifetime: Duration,
    /// For what STS was asked, and when.
    asked: Mutex<Vec<(Source, Duration)>>,
}

#[derive(Debug)]
struct Sets {
    issued: Vec<Set>,
    /// Which set a watched source shows from when on.
    shown: Vec<(Source, Duration, usize)>,
}

impl World {
    pub(super) fn new(
        clock: &Arc<SimulatedClock>,
        weather: Weather,
        chance: &mut Chance,
    ) -> Arc<Self> {
        let mut sets = Sets {
            issued: Vec::new(),
            shown: Vec::new(),
        };
        for source in [Source::Instance, Source::Task] {
            sets.rotate(source, chance);
        }
        let lifetimes = [15, 60, 720];
        let lifetime = lifetimes[usize::try_from(chance.between(0, 2)).unwrap()];
        Arc::new(Self {
            clock: Arc::clone(clock),
            weather,
            sets: Mutex::new(sets),
            mint_lifetime: Duration::from_mins(lifetime),
            asked: Mutex::default(),
        })
    }

    pub(super) fn transport(
        self: &Arc<Self>,
        source: Source,
        chance: Chance,
    ) -> Arc<dyn Transport> {
        Arc::new(Wire {
            world: Arc::clone(self),
            source,
            chance: Mutex::new(chance),
        })
    }

    /// The set with this key, if there ever was one.
    pub(super) fn issued(&self, key: &str) -> Option<Set> {
        let sets = self.sets.lock().unwrap();
        sets.issued.iter().find(|set| set.key() == key).copied()
    }

    /// All sources show something new and good.
    pub(super) fn heal(&self) {
        let passed = self.clock.passed();
        let mut sets = self.sets.lock().unwrap();
        for source in [Source::Instance, Source::Task] {
            sets.shown
                .retain(|(it, from, _)| *it != source || *from <= passed);
            let serial = sets.issue(source, at(passed), Duration::from_hours(6));
            sets.shown.push((source, passed, serial));
        }
    }

    fn shown(&self, source: Source, back: usize) -> Set {
        let passed = self.clock.passed();
        let sets = self.sets.lock().unwrap();
        let shown = sets.shown.iter();
        let shown = shown.filter(|(it, from, _)| *it == source && *from <= passed);
        let shown: Vec<usize> = shown.map(|(_, _, serial)| *serial).collect();
        sets.issued[shown[(shown.len() - 1).saturating_sub(back)]]
    }

    /// When STS was asked for `source`.
    pub(super) fn asked(&self, source: Source) -> Vec<Duration> {
        let asked = self.asked.lock().unwrap();
        let asked = asked.iter().filter(|(it, _)| *it == source);
        asked.map(|(_, passed)| *passed).collect()
    }

    pub(super) fn mint(&self, source: Source) -> Set {
        let mut sets = self.sets.lock().unwrap();
        let serial = sets.issue(source, self.clock.truth(), self.mint_lifetime);
        sets.issued[serial]
    }

    fn fault(&self, source: Source) -> Option<Fault> {
        self.weather.fault(source, self.clock.passed())
    }
}

impl Sets {
    fn issue(&mut self, source: Source, issued: Timestamp, lifetime: Duration) -> usize {
        let serial = self.issued.len();
        // Whole seconds, as a body tells them.
        let expiry = issued.plus(lifetime);
        let expiry = Timestamp::from_unix_millis(expiry.unix_millis() / 1000 * 1000);
        self.issued.push(Set {
            source,
            serial,
            issued,
            expiry,
        });
        serial
    }

    /// Sets for the whole simulation: each of its own life, each shown in good time before the
    /// end of the one before, or now and then too late.
    fn rotate(&mut self, source: Source, chance: &mut Chance) {
        let mut from = Duration::ZERO;
        while from < HORIZON {
            let minutes = [15, 60, 360, 720][usize::try_from(chance.between(0, 3)).unwrap()];
            let lifetime = Duration::from_mins(minutes);
            let serial = self.issue(source, at(from), lifetime);
            self.shown.push((source, from, serial));
            let lead = Duration::from_mins(chance.between(minutes / 20, minutes / 3));
            from += if chance.one_in(6) {
                lifetime + Duration::from_secs(chance.between(0, 3_000))
            } else {
                lifetime.checked_sub(lead).unwrap()
            };
        }
    }
}

/// The link of one identity to this AWS.
#[derive(Debug)]
struct Wire {
    world: Arc<World>,
    source: Source,
    chance: Mutex<Chance>,
}

impl Wire {
    fn chance(&self) -> Chance {
        self.chance.lock().unwrap().fork()
    }

    async fn exchange(&self, request: Request<Bytes>, limits: Limits) -> Result<Response, Stage> {
        let clock = &self.world.clock;
        let mut chance = self.chance();
        let minted = sts::meant(&request);
        if let Some(source) = minted {
            let mut asked = self.world.asked.lock().unwrap();
            asked.push((source, clock.passed()));
        }
        let fault = self.world.fault(minted.unwrap_or(self.source));
        let latency = match fault {
            Some(Fault::NeverAnswers) => limits.total * 2,
            Some(Fault::IsSlow) => Duration::from_millis(chance.between(300, 1_300)),
            _ => Duration::from_millis(chance.between(0, 40)),
        };
        clock.deadline(latency.min(limits.read)).await;
        if latency > limits.read {
            return Err(Stage::Deadline("answer"));
        }
        if fault == Some(Fault::Refuses) {
            return Err(Stage::Connect(std::io::ErrorKind::ConnectionRefused.into()));
        }
        if let Some(source) = minted {
            return Ok(sts::answer(
                &self.world,
                source,
                &request,
                fault,
                &mut chance,
            ));
        }
        let (status, hint) = match fault {
            Some(Fault::Fails) => (503, None),
            Some(Fault::Throttles(hint)) => (429, hint),
            Some(Fault::Denies) => (403, None),
            _ => return Ok(self.answer(&request, fault, &mut chance)),
        };
        let mut headers = HeaderMap::new();
        if let Some(hint) = hint {
            headers.insert("retry-after", hint.into());
        }
        Ok(response(status, headers, ""))
    }

    fn answer(
        &self,
        request: &Request<Bytes>,
        fault: Option<Fault>,
        chance: &mut Chance,
    ) -> Response {
        let path = request.uri().path();
        if path.ends_with("/api/token") {
            let mut headers = HeaderMap::new();
            let lifetime = chance.between(60, 21_600);
            headers.insert("x-aws-ec2-metadata-token-ttl-seconds", lifetime.into());
            return response(200, headers, &format!("{CANARY}-imds"));
        }
        if self.source == Source::Instance && chance.one_in(40) {
            // The token is no longer taken.
            return response(401, HeaderMap::new(), "");
        }
        if path.ends_with("security-credentials-extended/") {
            return response(200, HeaderMap::new(), "app");
        }
        if self.source == Source::Instance && chance.one_in(100) {
            // The role is being swapped.
            return response(404, HeaderMap::new(), "");
        }
        let body = self.world.shown(self.source, 0).body();
        let body = if fault == Some(Fault::Lies) {
            self.lie(body, chance)
        } else {
            body.to_string()
        };
        response(200, HeaderMap::new(), &body)
    }

    fn lie(&self, mut body: serde_json::Value, chance: &mut Chance) -> String {
        match chance.between(0, 6) {
            0 => "<html>sign in</html>".to_owned(),
            1 => {
                let text = body.to_string();
                let length = chance.between(0, text.len() as u64 - 1);
                text[..usize::try_from(length).unwrap()].to_owned()
            }
            2 => {
                body["SecretAccessKey"] = json!(7);
                body.to_string()
            }
            3 => {
                body["Expiration"] = json!("soon");
                body.to_string()
            }
            4 => {
                body["Code"] = json!("InternalFailure");
                body.to_string()
            }
            // Truths of yesterday.
            5 => self.world.shown(self.source, 1).body().to_string(),
            _ => {
                body["Token"] = json!(null);
                body.to_string()
            }
        }
    }
}

impl Transport for Wire {
    fn send(&self, request: Request<Bytes>, limits: Limits, _: Route) -> Sending<'_> {
        let asked = format!("http://{}", self.source.name());
        Box::pin(async move {
            let outcome = self.exchange(request, limits).await;
            outcome.map_err(|stage| HttpError { asked, stage })
        })
    }
}

pub(super) fn response(status: u16, headers: HeaderMap, body: &str) -> Response {
    Response {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: Zeroizing::new(body.as_bytes().to_owned()),
        is_verified_tls: false,
        took: Duration::ZERO,
    }
}

/// A source that makes a new set at each call, as STS does.
pub(super) struct Mint {
    world: Arc<World>,
    chance: Chance,
}

impl Mint {
    pub(super) fn new(world: &Arc<World>, chance: Chance) -> Self {
        Self {
            world: Arc::clone(world),
            chance,
        }
    }

    async fn attempt(&mut self) -> Result<Provided, Failure> {
        let clock = &self.world.clock;
        let latency = Duration::from_millis(self.chance.between(5, 300));
        clock.deadline(latency).await;
        match self.world.fault(Source::Minted) {
            Some(Fault::NeverAnswers) => {
                std::future::pending::<()>().await;
            }
            Some(Fault::Refuses | Fault::Fails) => {
                return Err(Failure::transient("the mint fails"));
            }
            Some(Fault::Throttles(hint)) => {
                let hint = hint.map(Duration::from_secs);
                return Err(Failure::throttled("the mint is busy", hint));
            }
            Some(Fault::Denies) => return Err(Failure::denied("the mint refuses")),
            Some(Fault::Lies | Fault::IsSlow) | None => {}
        }
        let set = self.world.mint(Source::Minted);
        Ok(Provided {
            credentials: Credentials {
                access_key_id: AccessKeyId::from(set.key()),
                secret_access_key: Secret::from(set.secret()),
                session_token: Some(Secret::from(set.token())),
                expiry: Some(set.expiry),
                account_id: None,
                role_arn: None,
                principal: Principal::Role,
            },
            renewal: Renewal::Mint,
            issued: Some(set.issued),
            source: "mint".into(),
        })
    }
}

impl Provider for Mint {
    fn provide(&mut self) -> Providing<'_> {
        Box::pin(async { Ok(self.attempt().await?) })
    }

    fn draws_on_shared_quota(&self) -> bool {
        true
    }
}
