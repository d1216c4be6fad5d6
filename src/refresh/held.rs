//! A set in hand: what is known of it, the body that clients get, and for how long.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::schedule::{LONGEST_LIFETIME, Life};
use crate::aws::formats;
use crate::clock::{BootInstant, Timestamp};
use crate::credentials::{Credentials, Failure, Provided, Renewal};
use crate::random::Draw;
use crate::state::{KeptSet, Mark};

/// What a client is told of a set always leaves at least this much: with less, botocore, .NET and
/// Java come back at each use. The second more is what whole seconds take away.
const LIFE_FLOOR: Duration = Duration::from_secs(15 * 60 + 1);

/// Advertised ahead for a session whose expiry its source does not tell.
const UNKNOWN_AHEAD: Duration = Duration::from_mins(16);

/// Advertised ahead for an IMDS set past its expiry: 17 to 25 minutes, as botocore does it.
const STRETCH_LEAST: Duration = Duration::from_mins(17);
const STRETCH_RANGE: Duration = Duration::from_mins(8);

/// The C SDK refuses larger bodies (`credentials_provider_ecs.c`).
const LARGEST_BODY: usize = 10_000;

/// When a set ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    Known(Timestamp),
    /// The source does not say; no AWS session lives beyond this.
    Unknown {
        at_the_latest: Timestamp,
    },
    /// Long-lived keys.
    Never,
}

/// A set that was good when it was obtained.
#[derive(Clone)]
pub struct Held {
    credentials: Arc<Credentials>,
    pub source: Cow<'static, str>,
    pub renewal: Renewal,
    pub issued: Option<Timestamp>,
    pub obtained: Timestamp,
    pub expiry: Expiry,
    /// The set's own share of chance, for its refresh and its stretch.
    pub draw: Draw,
    handed_out: HandedOut,
}

/// What clients get of a set.
#[derive(Clone)]
enum HandedOut {
    Body {
        bytes: Bytes,
        advertised: Timestamp,
    },
    /// Nothing: it is there for what is derived from it.
    Nothing(Arc<Failure>),
}

impl Held {
    /// Takes over what a provider gave, unless it is worse than what `held` has: expired.
    pub fn adopt(
        provided: Provided,
        held: Option<&Self>,
        now: Timestamp,
        draw: Draw,
    ) -> Result<Self, Failure> {
        let Provided {
            credentials,
            renewal,
            issued,
            source,
        } = provided;
        let same = held.filter(|held| held.is_same_set(&credentials));
        let expiry = match (credentials.expiry, same) {
            (Some(expiry), _) => Expiry::Known(expiry),
            (None, _) if credentials.is_long_lived() => Expiry::Never,
            // Reading it again gives an old session no new life.
            (None, Some(held)) => held.expiry,
            (None, None) => Expiry::Unknown {
                at_the_latest: now.plus(LONGEST_LIFETIME),
            },
        };
        refuse_expired(expiry, renewal, held, now, &source)?;
        let (obtained, draw) = same.map_or((now, draw), |held| (held.obtained, held.draw));
        let adopted = Self {
            credentials: Arc::new(credentials),
            source,
            renewal,
            issued,
            obtained,
            expiry,
            draw,
            handed_out: HandedOut::Body {
                bytes: Bytes::new(),
                advertised: now,
            },
        };
        Ok(adopted.rendered(now))
    }

    /// What of it is to outlast the process: nothing of long-lived keys.
    pub fn kept(
        &self,
        identity: Option<Mark>,
        definition: Mark,
        due: Option<BootInstant>,
    ) -> Option<KeptSet> {
        let at_the_latest = match self.expiry {
            Expiry::Known(_) => None,
            Expiry::Unknown { at_the_latest } => Some(at_the_latest),
            Expiry::Never => return None,
        };
        Some(KeptSet {
            identity,
            definition,
            credentials: Arc::clone(&self.credentials),
            at_the_latest,
            source: self.source.to_string(),
            renewal: self.renewal,
            issued: self.issued,
            obtained: self.obtained,
            draw: self.draw,
            due,
        })
    }

    /// What has outlasted a process, if it is of use at `now`.
    pub fn restored(kept: KeptSet, now: Timestamp) -> Option<Self> {
        if !kept.is_usable(now) || kept.credentials.is_long_lived() {
            return None;
        }
        let expiry = match (kept.credentials.expiry, kept.at_the_latest) {
            (Some(expiry), _) => Expiry::Known(expiry),
            (None, Some(at_the_latest)) => Expiry::Unknown { at_the_latest },
            (None, None) => return None,
        };
        let restored = Self {
            credentials: kept.credentials,
            source: kept.source.into(),
            renewal: kept.renewal,
            issued: kept.issued,
            obtained: kept.obtained,
            expiry,
            draw: kept.draw,
            handed_out: HandedOut::Body {
                bytes: Bytes::new(),
                advertised: now,
            },
        };
        Some(restored.rendered(now))
    }

    /// Whether these are the credentials that are already held.
    pub fn is_same_set(&self, credentials: &Credentials) -> bool {
        self.credentials.access_key_id == credentials.access_key_id
            && self.credentials.expiry == credentials.expiry
    }

    pub fn credentials(&self) -> &Arc<Credentials> {
        &self.credentials
    }

    pub fn life(&self) -> Life {
        Life {
            renewal: self.renewal,
            issued: self.issued,
            obtained: self.obtained,
            expiry: match self.expiry {
                Expiry::Known(expiry) => Some(expiry),
                Expiry::Unknown { .. } | Expiry::Never => None,
            },
        }
    }

    /// When AWS stops honouring the set, as far as anyone knows.
    pub fn ends(&self) -> Timestamp {
        match self.expiry {
            Expiry::Known(expiry) => expiry,
            Expiry::Unknown { at_the_latest } => at_the_latest,
            Expiry::Never => Timestamp::from_unix_millis(i64::MAX),
        }
    }

    /// The body for clients, or why there is none for them. There is neither while a body whose
    /// `Expiration` has passed waits for being rendered anew.
    pub fn body(&self, now: Timestamp) -> Option<Result<Bytes, &Failure>> {
        match &self.handed_out {
            HandedOut::Body { bytes, advertised } => (now < *advertised).then(|| Ok(bytes.clone())),
            HandedOut::Nothing(why) => Some(Err(why)),
        }
    }

    /// Whether clients get the set.
    pub fn is_handed_out(&self) -> bool {
        matches!(self.handed_out, HandedOut::Body { .. })
    }

    fn advertised(&self) -> Option<Timestamp> {
        match self.handed_out {
            HandedOut::Body { advertised, .. } => Some(advertised),
            HandedOut::Nothing(_) => None,
        }
    }

    /// When the body's `Expiration`, where it is not the true expiry, leaves a client too little.
    pub fn render_again_at(&self) -> Option<Timestamp> {
        let advertised = self.advertised()?;
        let is_true = self.expiry == Expiry::Known(advertised);
        (!is_true).then(|| advertised.minus(LIFE_FLOOR))
    }

    /// Whether the body tells clients something other than it should at `now`.
    pub fn is_outdated(&self, now: Timestamp) -> bool {
        let Some(advertised) = self.advertised() else {
            return false;
        };
        let ahead = now.until(advertised);
        // Too early or too far only after the wall clock was set back.
        let is_stretched_wrongly = match self.expiry {
            Expiry::Known(expiry) if advertised == expiry => false,
            Expiry::Known(expiry) => now < expiry || ahead > STRETCH_LEAST + STRETCH_RANGE,
            Expiry::Unknown { .. } => ahead > UNKNOWN_AHEAD,
            Expiry::Never => false,
        };
        is_stretched_wrongly
            || ahead.is_zero()
            || self.render_again_at().is_some_and(|at| at <= now)
    }

    /// The same set with a body for `now`.
    #[must_use]
    pub fn rendered(mut self, now: Timestamp) -> Self {
        let advertised = match self.expiry {
            Expiry::Known(expiry) if now < expiry => expiry,
            Expiry::Known(_) => now.plus(STRETCH_LEAST + STRETCH_RANGE.mul_f64(self.draw.share())),
            Expiry::Unknown { .. } => now.plus(UNKNOWN_AHEAD),
            Expiry::Never => self.ends(),
        };
        let Some(bytes) = formats::container(&self.credentials, advertised) else {
            let why = Arc::new(Failure::long_lived(&self.source));
            self.handed_out = HandedOut::Nothing(why);
            return self;
        };
        if bytes.len() >= LARGEST_BODY {
            tracing::warn!(
                bytes = bytes.len(),
                source = %self.source,
                "these credentials make a body of 10,000 bytes or more, which C++ and other SDKs \
                 built on the C one refuse"
            );
        }
        self.handed_out = HandedOut::Body { bytes, advertised };
        self
    }
}

/// Not the body, which is nothing but secrets.
impl std::fmt::Debug for Held {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Held")
            .field("credentials", &self.credentials)
            .field("source", &self.source)
            .field("renewal", &self.renewal)
            .field("obtained", &self.obtained)
            .field("expiry", &self.expiry)
            .field("advertised", &self.advertised())
            .finish_non_exhaustive()
    }
}

/// An expired set is worse than any unexpired one, and as good as nothing unless AWS says that it
/// keeps working.
fn refuse_expired(
    expiry: Expiry,
    renewal: Renewal,
    held: Option<&Held>,
    now: Timestamp,
    source: &str,
) -> Result<(), Failure> {
    let expiry = match expiry {
        Expiry::Known(expiry) => expiry,
        Expiry::Never => return Ok(()),
        Expiry::Unknown { at_the_latest } if now < at_the_latest => return Ok(()),
        Expiry::Unknown { .. } => {
            return Err(Failure::transient(format!(
                "{source} still gives a session that is older than any that AWS honours; put a \
                 new one there"
            )));
        }
    };
    if now < expiry {
        return Ok(());
    }
    let is_no_worse = held.is_none_or(|held| held.ends() <= now && held.ends() <= expiry);
    if renewal == Renewal::WatchStable && is_no_worse {
        return Ok(());
    }
    Err(Failure::transient(format!(
        "{source} gave credentials that expired at {expiry}, and it is {now} here; if this host's \
         clock is wrong, correct it"
    )))
}
