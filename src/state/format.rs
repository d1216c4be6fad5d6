//! The contents as bytes, in JSON: what a later version adds is passed over by an earlier one.
//!
//! The bytes of keys and marks are numbers in it, instants are milliseconds, and every secret goes
//! from and to its own type here and nowhere else.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Contents, KEY, KeptSession, KeptSet, Keys, Mark};
use crate::clock::{BootInstant, Timestamp};
use crate::credentials::{AccessKeyId, Credentials, Principal, Renewal, Warnings};
use crate::random::Draw;
use crate::secret::Secret;

/// Bytes that are no contents. What they are is not said, since they may hold secrets.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("what it says makes no sense")
    }
}

impl std::error::Error for Malformed {}

/// Never anything long-lived, whatever `contents` has.
pub fn encode(contents: &Contents) -> Zeroizing<Vec<u8>> {
    let written = Written {
        boot: contents.boot.as_deref().map(Cow::Borrowed),
        marks: *contents.keys.marks,
        imds: *contents.keys.imds,
        upstream_at_boot: contents.upstream_at_boot,
        sessions: contents.sessions.iter().filter_map(session).collect(),
        sets: contents.sets.iter().filter_map(set).collect(),
    };
    let mut bytes = Zeroizing::new(Vec::new());
    // Nothing in it can fail to be written; if it did, there would be nothing to read.
    if serde_json::to_writer(&mut *bytes, &written).is_err() {
        bytes.clear();
    }
    bytes
}

pub fn decode(bytes: &[u8]) -> Result<Contents, Malformed> {
    let written: Written<'_> = serde_json::from_slice(bytes).map_err(|_| Malformed)?;
    Ok(Contents {
        boot: written.boot.map(Cow::into_owned),
        keys: Keys {
            marks: Zeroizing::new(written.marks),
            imds: Zeroizing::new(written.imds),
        },
        upstream_at_boot: written.upstream_at_boot,
        sets: written.sets.into_iter().map(KeptSet::from).collect(),
        sessions: written
            .sessions
            .into_iter()
            .map(KeptSession::from)
            .collect(),
    })
}

#[derive(Serialize, Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    boot: Option<Cow<'a, str>>,
    marks: [u8; KEY],
    imds: [u8; KEY],
    upstream_at_boot: Option<i64>,
    #[serde(borrow)]
    sessions: Vec<WrittenSession<'a>>,
    #[serde(borrow)]
    sets: Vec<WrittenSet<'a>>,
}

#[derive(Serialize, Deserialize)]
struct WrittenSession<'a> {
    owner: Mark,
    #[serde(borrow)]
    credentials: WrittenCredentials<'a>,
    issued: i64,
    ends: i64,
    users: Vec<Mark>,
}

#[derive(Serialize, Deserialize)]
struct WrittenSet<'a> {
    identity: Option<Mark>,
    definition: Mark,
    #[serde(borrow)]
    credentials: WrittenCredentials<'a>,
    at_the_latest: Option<i64>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    renewal: WrittenRenewal,
    issued: Option<i64>,
    obtained: i64,
    /// As its bits: in decimals it might come back as a neighbour.
    draw: u64,
    due: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct WrittenCredentials<'a> {
    #[serde(borrow)]
    access_key_id: Cow<'a, str>,
    #[serde(borrow)]
    secret_access_key: Cow<'a, str>,
    /// There is no way to write long-lived keys.
    #[serde(borrow)]
    session_token: Cow<'a, str>,
    expiry: Option<i64>,
    #[serde(borrow)]
    account_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    role_arn: Option<Cow<'a, str>>,
    principal: WrittenPrincipal,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenPrincipal {
    User,
    Role,
    Unknown,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenRenewal {
    Mint,
    Reread,
    Watch,
    WatchStable,
    Ask { first: u64, last: u64 },
}

fn session(session: &KeptSession) -> Option<WrittenSession<'_>> {
    Some(WrittenSession {
        owner: session.owner,
        credentials: credentials(&session.credentials)?,
        issued: session.issued.unix_millis(),
        ends: session.ends.unix_millis(),
        users: session.users.clone(),
    })
}

fn set(set: &KeptSet) -> Option<WrittenSet<'_>> {
    Some(WrittenSet {
        identity: set.identity,
        definition: set.definition,
        credentials: credentials(&set.credentials)?,
        at_the_latest: set.at_the_latest.map(Timestamp::unix_millis),
        source: Cow::Borrowed(&set.source),
        renewal: match set.renewal {
            Renewal::Mint => WrittenRenewal::Mint,
            Renewal::Reread => WrittenRenewal::Reread,
            Renewal::Watch => WrittenRenewal::Watch,
            Renewal::WatchStable => WrittenRenewal::WatchStable,
            Renewal::Ask(Warnings { first, last }) => WrittenRenewal::Ask {
                first: millis(first),
                last: millis(last),
            },
        },
        issued: set.issued.map(Timestamp::unix_millis),
        obtained: set.obtained.unix_millis(),
        draw: set.draw.share().to_bits(),
        due: set.due.map(|due| millis(START.until(due))),
    })
}

/// None for long-lived keys.
fn credentials(credentials: &Credentials) -> Option<WrittenCredentials<'_>> {
    let session_token = credentials.session_token.as_ref()?;
    Some(WrittenCredentials {
        access_key_id: credentials.access_key_id.expose().into(),
        secret_access_key: credentials.secret_access_key.expose().into(),
        session_token: session_token.expose().into(),
        expiry: credentials.expiry.map(Timestamp::unix_millis),
        account_id: credentials.account_id.as_deref().map(Cow::Borrowed),
        role_arn: credentials.role_arn.as_deref().map(Cow::Borrowed),
        principal: match credentials.principal {
            Principal::User => WrittenPrincipal::User,
            Principal::Role => WrittenPrincipal::Role,
            Principal::Unknown => WrittenPrincipal::Unknown,
        },
    })
}

impl From<WrittenSession<'_>> for KeptSession {
    fn from(written: WrittenSession<'_>) -> Self {
        Self {
            owner: written.owner,
            credentials: written.credentials.into(),
            issued: Timestamp::from_unix_millis(written.issued),
            ends: Timestamp::from_unix_millis(written.ends),
            users: written.users,
        }
    }
}

impl From<WrittenSet<'_>> for KeptSet {
    fn from(written: WrittenSet<'_>) -> Self {
        let instant = Timestamp::from_unix_millis;
        Self {
            identity: written.identity,
            definition: written.definition,
            credentials: written.credentials.into(),
            at_the_latest: written.at_the_latest.map(instant),
            source: written.source.into_owned(),
            renewal: match written.renewal {
                WrittenRenewal::Mint => Renewal::Mint,
                WrittenRenewal::Reread => Renewal::Reread,
                WrittenRenewal::Watch => Renewal::Watch,
                WrittenRenewal::WatchStable => Renewal::WatchStable,
                WrittenRenewal::Ask { first, last } => Renewal::Ask(Warnings {
                    first: Duration::from_millis(first),
                    last: Duration::from_millis(last),
                }),
            },
            issued: written.issued.map(instant),
            obtained: instant(written.obtained),
            draw: Draw::new(f64::from_bits(written.draw)),
            due: written
                .due
                .map(|due| START.after(Duration::from_millis(due))),
        }
    }
}

impl From<WrittenCredentials<'_>> for Arc<Credentials> {
    fn from(written: WrittenCredentials<'_>) -> Self {
        Self::new(Credentials {
            access_key_id: AccessKeyId::from(written.access_key_id.into_owned()),
            secret_access_key: Secret::from(written.secret_access_key.into_owned()),
            session_token: Some(Secret::from(written.session_token.into_owned())),
            expiry: written.expiry.map(Timestamp::from_unix_millis),
            account_id: written.account_id.map(Cow::into_owned),
            role_arn: written.role_arn.map(Cow::into_owned),
            principal: match written.principal {
                WrittenPrincipal::User => Principal::User,
                WrittenPrincipal::Role => Principal::Role,
                WrittenPrincipal::Unknown => Principal::Unknown,
            },
        })
    }
}

const START: BootInstant = BootInstant::since_boot(Duration::ZERO);

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Marker;
    use proptest::prelude::*;

    fn keys() -> Keys {
        Keys {
            marks: Zeroizing::new([1; KEY]),
            imds: Zeroizing::new([2; KEY]),
        }
    }

    fn mark(text: &str) -> Mark {
        Marker::new(&[1; KEY]).mark(&text)
    }

    fn of(session_token: Option<&str>, secret: &str) -> Arc<Credentials> {
        Arc::new(Credentials {
            access_key_id: AccessKeyId::from("ASIAEXAMPLE".to_owned()),
            secret_access_key: Secret::from(secret.to_owned()),
            session_token: session_token.map(|it| Secret::from(it.to_owned())),
            expiry: Some(Timestamp::from_unix_millis(1_800_000_000_123)),
            account_id: Some("123456789012".to_owned()),
            role_arn: None,
            principal: Principal::Role,
        })
    }

    fn kept(renewal: Renewal, credentials: Arc<Credentials>) -> KeptSet {
        KeptSet {
            identity: Some(mark("identity")),
            definition: mark("definition"),
            credentials,
            at_the_latest: None,
            source: "role \"billing\"".to_owned(),
            renewal,
            issued: Some(Timestamp::from_unix_millis(-1)),
            obtained: Timestamp::from_unix_millis(1_799_999_000_000),
            draw: Draw::new(0.123_456_789),
            due: Some(START.after(Duration::from_millis(987_654_321))),
        }
    }

    fn contents(sets: Vec<KeptSet>) -> Contents {
        let credentials = of(Some("token/+=\u{e9}\n\"\\"), "secret/+=");
        Contents {
            boot: Some("boot".to_owned()),
            keys: keys(),
            upstream_at_boot: Some(-5),
            sessions: vec![KeptSession {
                owner: mark("owner"),
                credentials,
                issued: Timestamp::from_unix_millis(1),
                ends: Timestamp::from_unix_millis(2),
                users: vec![mark("identity")],
            }],
            sets,
        }
    }

    /// Everything of it, since what it is made of has no equality on purpose.
    fn spelled(contents: &Contents) -> String {
        String::from_utf8(encode(contents).to_vec()).unwrap()
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let ask = Renewal::Ask(Warnings::default());
        let others = [Renewal::Mint, Renewal::Reread, Renewal::Watch];
        let renewals = others.into_iter().chain([Renewal::WatchStable, ask]);
        let set = |renewal| kept(renewal, of(Some("token"), "secret"));
        let all = contents(renewals.clone().map(set).collect());
        let decoded = decode(&encode(&all)).unwrap();
        assert_eq!(spelled(&decoded), spelled(&all));
        assert_eq!(*decoded.keys.marks, [1; KEY]);
        assert_eq!(*decoded.keys.imds, [2; KEY]);
        let session = &decoded.sessions[0];
        assert_eq!(session.owner, mark("owner"));
        let token = session.credentials.session_token.as_ref().unwrap();
        assert_eq!(token.expose(), "token/+=\u{e9}\n\"\\");
        assert_eq!(session.credentials.secret_access_key.expose(), "secret/+=");
        for (set, renewal) in decoded.sets.iter().zip(renewals) {
            assert_eq!(set.renewal, renewal);
            assert_eq!(set.definition, mark("definition"));
            assert_eq!(set.source, "role \"billing\"");
            assert_eq!(set.draw.share().to_bits(), 0.123_456_789_f64.to_bits());
            assert_eq!(
                set.due,
                Some(START.after(Duration::from_millis(987_654_321)))
            );
            assert_eq!(set.ends(), Timestamp::from_unix_millis(1_800_000_000_123));
        }
    }

    #[test]
    fn long_lived_keys_are_left_out() {
        let mut all = contents(vec![
            kept(Renewal::Reread, of(None, "CANARY")),
            kept(Renewal::Mint, of(Some("token"), "secret")),
        ]);
        all.sessions[0].credentials = of(None, "CANARY");
        let text = spelled(&all);
        assert!(!text.contains("CANARY"), "{text}");
        let decoded = decode(text.as_bytes()).unwrap();
        assert_eq!((decoded.sets.len(), decoded.sessions.len()), (1, 0));
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let text = spelled(&contents(vec![kept(Renewal::Mint, of(Some("t"), "s"))]));
        let more = text.replace('{', r#"{"added":[{"more":1}],"#);
        assert_ne!(more, text);
        assert_eq!(spelled(&decode(more.as_bytes()).unwrap()), text);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let text = spelled(&contents(vec![kept(Renewal::Mint, of(Some("t"), "s"))]));
        let without = |key: &str| text.replacen(key, "other", 1);
        for (what, other) in [
            ("a renewal", text.replace("\"mint\"", "\"steal\"")),
            ("a token", without("session_token")),
            ("sets", without("sets")),
            ("keys", without("marks")),
            ("a number", text.replace("-5", "1e999")),
            ("its end", text[..text.len() - 1].to_owned()),
            ("more", format!("{text}x")),
            ("depth", "[".repeat(100_000)),
            ("all", String::new()),
        ] {
            assert_ne!(text, other, "{what}");
            assert_eq!(decode(other.as_bytes()).err(), Some(Malformed), "{what}");
        }
    }

    #[test]
    fn a_changed_byte_does_no_harm_and_never_makes_anything_long_lived() {
        let all = contents(vec![kept(Renewal::Mint, of(Some("token"), "secret"))]);
        let bytes = encode(&all);
        for index in 0..bytes.len() {
            for flip in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
                let mut changed = bytes.to_vec();
                changed[index] ^= flip;
                if let Ok(contents) = decode(&changed) {
                    let mut credentials = contents.sets.iter().map(|it| &it.credentials);
                    assert!(credentials.all(|it| !it.is_long_lived()));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            prop_assert!(decode(&bytes).is_err());
        }
    }
}
