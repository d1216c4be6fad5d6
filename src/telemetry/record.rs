//! What one line tells: an event, with the fields of the spans around it.

use std::fmt::{self, Write};

use serde_json::{Map, Value};
use tracing::Level;
use tracing::field::{Field, Visit};

use crate::clock::Timestamp;

/// Named values, in the order in which they were first said. One said again is replaced.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn set(&mut self, name: &'static str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }

    pub(super) fn add(&mut self, others: &Self) {
        for (name, value) in &others.0 {
            self.set(name, value.clone());
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.remove(at).1)
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value.into());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        let value = u64::try_from(value).unwrap_or(u64::MAX);
        self.set(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), value.into());
    }
}

/// One line of the log.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) at: Timestamp,
    pub(super) level: Level,
    pub(super) target: String,
    message: String,
    fields: Fields,
}

impl Record {
    /// `fields` are those of the event, its message included, and of the spans around it.
    pub(super) fn new(at: Timestamp, level: Level, target: &str, mut fields: Fields) -> Self {
        let message = match fields.take("message") {
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
            None => String::new(),
        };
        Self {
            at,
            level,
            target: target.to_owned(),
            message,
            fields,
        }
    }

    /// The message and the fields. No control character gets out: what an upstream or a caller says
    /// begins no line of its own and steers no terminal.
    pub(super) fn body(&self, colours: bool) -> String {
        let mut body: String = self.message.chars().flat_map(visible).collect();
        let (dim, plain) = if colours { (DIM, PLAIN) } else { ("", "") };
        for (name, value) in &self.fields.0 {
            // Writing to a String cannot fail.
            let _ = write!(body, " {dim}{name}={plain}");
            match value {
                Value::String(text) if has_to_be_quoted(text) => {
                    let _ = write!(body, "{text:?}");
                }
                Value::String(text) => body.push_str(text),
                other => {
                    let _ = write!(body, "{other}");
                }
            }
        }
        body
    }

    /// A line for people.
    pub(super) fn text(&self, colours: bool) -> String {
        let (at, level, body) = (self.at.precise(), self.level, self.body(colours));
        if colours {
            let colour = colour(level);
            format!("{DIM}{at}{PLAIN} {colour}{level:>5}{PLAIN} {body}\n")
        } else {
            format!("{at} {level:>5} {body}\n")
        }
    }

    /// A JSON object on a line.
    pub(super) fn json(&self) -> String {
        let mut object = Map::new();
        object.insert("timestamp".to_owned(), self.at.precise().into());
        object.insert("level".to_owned(), self.level.as_str().into());
        object.insert("message".to_owned(), self.message.as_str().into());
        for (name, value) in &self.fields.0 {
            object.insert((*name).to_owned(), value.clone());
        }
        object.insert("target".to_owned(), self.target.as_str().into());
        format!("{}\n", Value::Object(object))
    }

    /// Names and values, as texts.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.fields.0.iter().map(|(name, value)| {
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            (*name, text)
        })
    }
}

/// Select Graphic Rendition (ECMA-48, section 8.3.117).
const PLAIN: &str = "\x1b[0m";
const DIM: &str = "\x1b[2m";

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

fn has_to_be_quoted(text: &str) -> bool {
    let is_odd = |it: char| it.is_whitespace() || "\"=\\".contains(it) || is_hidden(it);
    text.is_empty() || text.contains(is_odd)
}

/// What breaks lines, moves cursors, or shows text in another order than it has.
fn is_hidden(letter: char) -> bool {
    letter.is_control() || letter.escape_debug().len() > 2
}

fn visible(letter: char) -> impl Iterator<Item = char> {
    let hidden = is_hidden(letter).then(|| letter.escape_debug());
    let shown = hidden.is_none().then_some(letter);
    hidden.into_iter().flatten().chain(shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(message: &str, fields: &[(&'static str, Value)]) -> Record {
        let mut all = Fields(fields.to_vec());
        all.set("message", message.into());
        let at = Timestamp::parse("2026-11-22T09:30:00.007Z").unwrap();
        Record::new(at, Level::INFO, "credd::refresh", all)
    }

    #[test]
    fn a_line_is_the_documented_one() {
        let record = record(
            "refreshed",
            &[
                ("identity", "billing".into()),
                ("attempt", 1.into()),
                ("source", "profile ops".into()),
            ],
        );
        assert_eq!(
            record.text(false),
            "2026-11-22T09:30:00.007Z  INFO refreshed identity=billing attempt=1 source=\"profile \
             ops\"\n"
        );
        let json: Value = serde_json::from_str(&record.json()).unwrap();
        let expected = serde_json::json!({
            "timestamp": "2026-11-22T09:30:00.007Z", "level": "INFO", "message": "refreshed",
            "identity": "billing", "attempt": 1, "source": "profile ops",
            "target": "credd::refresh",
        });
        assert_eq!(json, expected);
        assert!(record.text(true).contains("\x1b[32m INFO\x1b[0m refreshed"));
    }

    #[test]
    fn what_an_event_says_goes_before_what_its_span_says() {
        let mut fields = Fields(vec![("identity", "a".into()), ("attempt", 2.into())]);
        fields.add(&Fields(vec![("identity", "b".into())]));
        assert_eq!(record("", &fields.0).body(false), " identity=b attempt=2");
    }

    proptest! {
        #[test]
        fn no_text_breaks_out_of_its_line(
            text in "[\\PC\n\r\u{0}\u{1b}\u{85}\u{9b}\u{2028}\u{202e}=\"\\\\ ]{0,200}",
        ) {
            let record = record(&text, &[("error", text.clone().into())]);
            let line = record.text(false);
            prop_assert_eq!(line.matches('\n').count(), 1);
            let is_hidden = |it: char| it.is_control() || "\u{2028}\u{202e}".contains(it);
            prop_assert!(!line.trim_end_matches('\n').contains(is_hidden), "{}", line);
            let json: Value = serde_json::from_str(&record.json()).unwrap();
            prop_assert_eq!(json["error"].as_str().unwrap(), text);
        }
    }
}
