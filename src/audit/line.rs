//! A line of the audit log, and its two forms: JSON, and the fields of the journal.

use std::borrow::Cow;
use std::io::Write;

use super::coalescer::WINDOW;
use super::event::{Caller, Decision, Event, KeyTail, RequestId};
use crate::clock::Timestamp;
use crate::printable::is_hidden;

/// One decision, or several that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The first of them.
    pub(super) event: Event<'static>,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) count: u64,
    pub(super) last_request: RequestId,
    /// Decisions before this one that are in no line.
    pub(super) dropped: u64,
}

/// What is at a key.
enum Value<'a> {
    Null,
    Number(u64),
    Text(Cow<'a, str>),
}

impl Line {
    pub(super) fn begin(now: Timestamp, event: &Event<'_>, dropped: u64) -> Self {
        Self {
            event: event.retained(),
            first: now,
            last: now,
            count: 1,
            last_request: event.request,
            dropped,
        }
    }

    /// Whether it takes no more repeats: a clock that was set back ends it too.
    pub(super) fn is_closed(&self, now: Timestamp) -> bool {
        now < self.first || now >= self.first.plus(WINDOW)
    }

    pub(super) fn is_denial(&self) -> bool {
        self.event.decision != Decision::Granted
    }

    /// Every key, in the order of the documentation. They are those of the log pipelines that read
    /// them, so that `_` parts their words.
    fn values(&self) -> [(&'static str, Value<'_>); 23] {
        let event = &self.event;
        let Caller {
            uid,
            gid,
            pid,
            executable,
            unit,
            container,
            token,
        } = &event.caller;
        let (decision, reason) = match &event.decision {
            Decision::Granted => ("granted", Value::Null),
            Decision::Denied(why) => ("denied", Value::Text(printable(why))),
        };
        let key = event.access_key.as_ref();
        [
            ("time", precise(self.first)),
            ("last_time", precise(self.last)),
            ("count", Value::Number(self.count)),
            ("decision", Value::Text(decision.into())),
            ("reason", reason),
            ("rule", text(event.rule.as_deref())),
            ("identity", text(event.identity.as_deref())),
            ("asked", text(event.asked.as_deref())),
            ("role", text(event.role.as_deref())),
            ("access_key", text(key.map(KeyTail::as_str))),
            ("expiry", event.expiry.map_or(Value::Null, seconds)),
            ("uid", number(*uid)),
            ("gid", number(*gid)),
            ("pid", number(pid.and_then(|pid| u32::try_from(pid).ok()))),
            ("executable", text(executable.as_deref())),
            ("unit", text(unit.as_deref())),
            ("container", text(container.as_deref())),
            ("token", text(token.as_deref())),
            ("listener", text(Some(&event.listener))),
            ("user_agent", text(event.user_agent.as_deref())),
            ("request_id", Value::Text(event.request.to_string().into())),
            (
                "last_request_id",
                Value::Text(self.last_request.to_string().into()),
            ),
            ("dropped", Value::Number(self.dropped)),
        ]
    }

    /// A JSON object without a line break.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(1024);
        for (index, (key, value)) in self.values().into_iter().enumerate() {
            let opening = if index == 0 { '{' } else { ',' };
            // Writing to a Vec cannot fail.
            let _ = write!(json, "{opening}\"{key}\":");
            let _ = match value {
                Value::Null => write!(json, "null"),
                Value::Number(number) => write!(json, "{number}"),
                Value::Text(text) => serde_json::to_writer(&mut json, &*text).map_err(Into::into),
            };
        }
        json.push(b'}');
        json
    }

    /// A datagram of journald's native protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>): `MESSAGE` is
    /// the JSON. No value holds a line break, so that each is one line.
    pub(super) fn to_journal(&self, with_fields: bool) -> Vec<u8> {
        let priority = if self.is_denial() {
            NOTICE
        } else {
            INFORMATIONAL
        };
        let mut datagram = Vec::with_capacity(2048);
        datagram.extend_from_slice(b"MESSAGE=");
        datagram.append(&mut self.to_json());
        let _ = write!(
            datagram,
            "\nPRIORITY={priority}\nSYSLOG_IDENTIFIER=credd\nCREDD_AUDIT=1\n"
        );
        for (key, value) in self.values().into_iter().filter(|_| with_fields) {
            let key = key.to_ascii_uppercase();
            let _ = match value {
                Value::Null => Ok(()),
                Value::Number(number) => writeln!(datagram, "CREDD_{key}={number}"),
                Value::Text(text) => writeln!(datagram, "CREDD_{key}={text}"),
            };
        }
        datagram
    }
}

/// Levels of syslog(3).
const NOTICE: u8 = 5;
const INFORMATIONAL: u8 = 6;

fn number(number: Option<u32>) -> Value<'static> {
    number.map_or(Value::Null, |it| Value::Number(it.into()))
}

fn text(text: Option<&str>) -> Value<'_> {
    text.map_or(Value::Null, |it| Value::Text(printable(it)))
}

fn seconds(instant: Timestamp) -> Value<'static> {
    Value::Text(instant.to_string().into())
}

/// RFC 3339 with milliseconds.
fn precise(instant: Timestamp) -> Value<'static> {
    Value::Text(instant.precise().into())
}

fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(is_hidden) {
        text.replace(is_hidden, "\u{FFFD}").into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;
    use crate::credentials::AccessKeyId;
    use proptest::prelude::*;

    fn line() -> Line {
        let number = 42;
        let event = Event {
            decision: Decision::Granted,
            rule: Some("allow[2]".into()),
            identity: Some("billing".into()),
            asked: Some("billing".into()),
            role: Some("arn:aws:iam::123456789012:role/billing".into()),
            access_key: KeyTail::of(&AccessKeyId::from("ASIAIOSFODNN7EXAMPLE".to_owned())),
            expiry: Timestamp::parse("2026-11-22T13:30:00Z"),
            caller: Caller {
                uid: Some(1001),
                gid: Some(1001),
                pid: Some(4242),
                executable: Some("/usr/bin/python3.12".into()),
                unit: Some("report.service".into()),
                container: None,
                token: None,
            },
            listener: "unix".into(),
            user_agent: Some("Boto3/1.42".into()),
            request: RequestId {
                process: 0x3f9a_c21b,
                number,
            },
        };
        let now = Timestamp::parse("2026-11-22T09:30:00.123Z").unwrap();
        Line::begin(now, &event, 0)
    }

    fn bare() -> Line {
        let mut line = line();
        line.event = Event {
            decision: Decision::Denied("no token".into()),
            rule: None,
            identity: None,
            asked: None,
            role: None,
            access_key: None,
            expiry: None,
            caller: Caller::default(),
            user_agent: None,
            ..line.event
        };
        line
    }

    fn json(line: &Line) -> serde_json::Map<String, Json> {
        serde_json::from_slice(&line.to_json()).unwrap()
    }

    #[test]
    fn a_line_is_the_documented_one() {
        let mut line = line();
        line.count = 3;
        line.last = line.first.plus(std::time::Duration::from_millis(500));
        line.last_request.number += 7;
        let expected = concat!(
            r#"{"time":"2026-11-22T09:30:00.123Z","last_time":"2026-11-22T09:30:00.623Z","#,
            r#""count":3,"decision":"granted","reason":null,"rule":"allow[2]","#,
            r#""identity":"billing","asked":"billing","#,
            r#""role":"arn:aws:iam::123456789012:role/billing","access_key":"MPLE","#,
            r#""expiry":"2026-11-22T13:30:00Z","uid":1001,"gid":1001,"pid":4242,"#,
            r#""executable":"/usr/bin/python3.12","unit":"report.service","container":null,"#,
            r#""token":null,"listener":"unix","user_agent":"Boto3/1.42","#,
            r#""request_id":"3f9ac21b-000000002a","last_request_id":"3f9ac21b-0000000031","#,
            r#""dropped":0}"#
        );
        assert_eq!(String::from_utf8(line.to_json()).unwrap(), expected);
    }

    #[test]
    fn every_key_is_there_whatever_is_known() {
        let keys = |line: &Line| json(line).keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&line()), keys(&bare()));
        assert_eq!(json(&bare())["uid"], Json::Null);
        assert_eq!(json(&bare())["reason"], "no token");
    }

    #[test]
    fn the_journal_gets_the_line_and_a_field_for_each_value() {
        let datagram = String::from_utf8(line().to_journal(true)).unwrap();
        let fields: Vec<_> = datagram.lines().collect();
        assert!(fields[0].starts_with("MESSAGE={\"time\":"));
        assert_eq!(
            fields[1..4],
            ["PRIORITY=6", "SYSLOG_IDENTIFIER=credd", "CREDD_AUDIT=1"]
        );
        assert!(fields.contains(&"CREDD_DECISION=granted"));
        assert!(fields.contains(&"CREDD_UID=1001"));
        assert!(!datagram.contains("CREDD_CONTAINER"));
        let short = String::from_utf8(bare().to_journal(false)).unwrap();
        assert_eq!(short.lines().count(), 4);
        assert!(short.contains("\nPRIORITY=5\n"));
    }

    proptest! {
        /// What a caller says of itself begins no line and no field of its own, whatever it is.
        #[test]
        fn no_text_breaks_out_of_its_field(
            agent in "[\\PC\n\r\u{0}\u{1b}\u{85}\u{9b}\u{2028}\u{202e}\u{200f}=\"\\\\]{0,400}",
        ) {
            let mut event = line().event;
            event.user_agent = Some(agent.clone().into());
            let line = Line::begin(line().first, &event, 0);
            let text = String::from_utf8(line.to_json()).unwrap();
            prop_assert!(!text.contains(char::is_control));
            let shown = json(&line)["user_agent"].as_str().unwrap().to_owned();
            let is_hidden = shown.contains(['\u{2028}', '\u{202e}', '\u{200f}']);
            prop_assert!(!is_hidden);
            prop_assert!(shown.chars().count() <= agent.chars().count());
            let datagram = String::from_utf8(line.to_journal(true)).unwrap();
            prop_assert_eq!(datagram.lines().count(), 24);
        }
    }
}
