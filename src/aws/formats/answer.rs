//! Reading what IMDS and container endpoints answer: `{Code, AccessKeyId, SecretAccessKey, Token,
//! Expiration, AccountId, …}`, and the fields that `credential_process` output shares with it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::credentials::{Credentials, Principal};
use crate::printable;
use crate::secret::Secret;

/// A parsed answer: a complete set, or the service's word that there is none.
#[derive(Debug)]
pub enum Answer {
    Credentials {
        credentials: Credentials,
        /// `LastUpdated`, which IMDS sends: the start of the set's life.
        issued: Option<Timestamp>,
    },
    /// A `Code` other than `Success`.
    Refusal { code: String, message: String },
}

/// What is wrong with an answer. Names fields, never their values.
#[derive(Debug, PartialEq, Eq)]
pub struct MalformedAnswer(pub(super) String);

impl fmt::Display for MalformedAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for MalformedAnswer {}

impl Answer {
    /// Reads a body. Field names are compared without case, as the Rust SDK does; unknown fields
    /// are passed over, since AWS adds some now and then.
    pub fn parse(body: &[u8]) -> Result<Self, MalformedAnswer> {
        let fields: Fields = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
        match fields.code.as_ref().map(Secret::expose) {
            None | Some("Success") => {}
            Some(code) => {
                let message = fields.message.as_ref().map_or("", Secret::expose);
                return Ok(Self::Refusal {
                    code: printable(code),
                    message: printable(message),
                });
            }
        }
        let expiry = expiry(&required("Expiration", fields.expiration)?)?;
        let issued = fields
            .last_updated
            .and_then(|text| Timestamp::parse(text.expose()));
        let role_arn = plain(fields.role_arn);
        let credentials = Credentials {
            access_key_id: required("AccessKeyId", fields.access_key_id)?
                .expose()
                .to_owned()
                .into(),
            secret_access_key: required("SecretAccessKey", fields.secret_access_key)?,
            session_token: Some(required("Token", fields.token)?),
            expiry: Some(expiry),
            account_id: plain(fields.account_id),
            principal: if role_arn.is_some() {
                Principal::Role
            } else {
                Principal::Unknown
            },
            role_arn,
        };
        Ok(Self::Credentials {
            credentials,
            issued,
        })
    }
}

/// serde quotes a value of the wrong type, which here may be a secret: only the category and the
/// place are passed on.
pub(super) fn malformed(error: &serde_json::Error) -> MalformedAnswer {
    let what = match error.classify() {
        serde_json::error::Category::Syntax => "not JSON",
        serde_json::error::Category::Eof => "JSON that breaks off",
        serde_json::error::Category::Data => {
            "JSON of another shape: an object whose credential \
                                              fields are strings, each once, is needed"
        }
        serde_json::error::Category::Io => "unreadable",
    };
    MalformedAnswer(format!(
        "{what} (line {}, column {})",
        error.line(),
        error.column()
    ))
}

fn missing(field: &str) -> MalformedAnswer {
    MalformedAnswer(format!("no `{field}`"))
}

fn required(field: &str, value: Option<Secret>) -> Result<Secret, MalformedAnswer> {
    value
        .filter(|value| !value.expose().is_empty())
        .ok_or_else(|| missing(field))
}

pub(super) fn expiry(text: &Secret) -> Result<Timestamp, MalformedAnswer> {
    Timestamp::parse(text.expose())
        .ok_or_else(|| MalformedAnswer("`Expiration` is no RFC 3339 time".to_owned()))
}

pub(super) fn plain(value: Option<Secret>) -> Option<String> {
    value
        .map(|value| value.expose().to_owned())
        .filter(|value| !value.is_empty())
}

/// The `code` and `message` of an error body, in either casing and printable: ECS agents send
/// lower case, IMDS upper case. Nothing if it is no such body.
pub fn error_text(body: &[u8]) -> Option<String> {
    match error(body)? {
        (Some(code), Some(message)) => Some(format!("{code}: {message}")),
        (code, message) => code.or(message),
    }
}

/// The same without the `code`, where there is a `message`.
pub fn error_message(body: &[u8]) -> Option<String> {
    let (code, message) = error(body)?;
    message.or(code)
}

/// Those that say anything.
fn error(body: &[u8]) -> Option<(Option<String>, Option<String>)> {
    let fields: Fields = serde_json::from_slice(body).ok()?;
    let said = |field: Option<Secret>| {
        let text = field.map(|it| printable(it.expose()));
        text.filter(|text| !text.is_empty())
    };
    Some((said(fields.code), said(fields.message)))
}

fn printable(text: &str) -> String {
    printable::line(text, 200)
}

/// All values are held as secrets until it is known what they are.
#[derive(Default)]
pub(super) struct Fields {
    /// Of `credential_process` output, where it is a number.
    pub(super) version: Option<Value>,
    code: Option<Secret>,
    message: Option<Secret>,
    pub(super) access_key_id: Option<Secret>,
    pub(super) secret_access_key: Option<Secret>,
    token: Option<Secret>,
    /// What `credential_process` output calls the token.
    pub(super) session_token: Option<Secret>,
    pub(super) expiration: Option<Secret>,
    last_updated: Option<Secret>,
    pub(super) account_id: Option<Secret>,
    role_arn: Option<Secret>,
}

impl Fields {
    fn slot(&mut self, name: &str) -> Option<&mut Option<Secret>> {
        Some(match name.to_ascii_lowercase().as_str() {
            "code" => &mut self.code,
            "message" => &mut self.message,
            "accesskeyid" => &mut self.access_key_id,
            "secretaccesskey" => &mut self.secret_access_key,
            "token" => &mut self.token,
            "sessiontoken" => &mut self.session_token,
            "expiration" => &mut self.expiration,
            "lastupdated" => &mut self.last_updated,
            "accountid" => &mut self.account_id,
            "rolearn" => &mut self.role_arn,
            _ => return None,
        })
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        let twice = || serde::de::Error::custom("a field stands twice");
        while let Some(name) = map.next_key::<String>()? {
            if name.eq_ignore_ascii_case("Version") {
                if fields.version.replace(map.next_value()?).is_some() {
                    return Err(twice());
                }
                continue;
            }
            let Some(slot) = fields.slot(&name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value = map.next_value::<Option<String>>()?.map(Secret::from);
            // Two values for one field: no telling which is meant. One value under both casings
            // is how credd's own errors look.
            if let Some(before) = slot
                && value.as_ref().map(Secret::expose) != Some(before.expose())
            {
                return Err(twice());
            }
            *slot = value;
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHOLE: &str = r#"{"Code":"Success","LastUpdated":"2025-03-12T20:53:17.832308Z",
        "Type":"AWS-HMAC","AccessKeyId":"ASIAIOSFODNN7EXAMPLE","SecretAccessKey":"secret",
        "Token":"token","Expiration":"2025-03-12T21:53:17.832308Z","AccountId":"123456789101",
        "UnexpectedElement1":{"Name":["ignore-me-1"]}}"#;

    #[test]
    fn an_extended_imds_answer_is_read_whole() {
        let Answer::Credentials {
            credentials,
            issued,
        } = Answer::parse(WHOLE.as_bytes()).unwrap()
        else {
            panic!("refused");
        };
        assert_eq!(credentials.access_key_id.expose(), "ASIAIOSFODNN7EXAMPLE");
        assert_eq!(credentials.secret_access_key.expose(), "secret");
        assert_eq!(credentials.session_token.unwrap().expose(), "token");
        assert_eq!(
            credentials.expiry.unwrap().to_string(),
            "2025-03-12T21:53:17Z"
        );
        assert_eq!(issued.unwrap().to_string(), "2025-03-12T20:53:17Z");
        assert_eq!(credentials.account_id.as_deref(), Some("123456789101"));
    }

    #[test]
    fn names_are_compared_without_case() {
        let body = r#"{"accesskeyid":"a","secretAccessKey":"b","TOKEN":"c",
            "expiration":"2025-03-12T21:53:17Z"}"#;
        assert!(matches!(
            Answer::parse(body.as_bytes()),
            Ok(Answer::Credentials { .. })
        ));
    }

    #[test]
    fn a_code_other_than_success_is_a_refusal_with_a_printable_message() {
        let body = "{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"Message\":\"no\\u001b[2J\\nway\"}";
        let Ok(Answer::Refusal { code, message }) = Answer::parse(body.as_bytes()) else {
            panic!("accepted");
        };
        assert_eq!(
            (code.as_str(), message.as_str()),
            ("AssumeRoleUnauthorizedAccess", "no [2J way")
        );
    }

    #[test]
    fn each_missing_empty_or_mistyped_field_is_an_error_that_shows_no_value() {
        let fields = [
            ("AccessKeyId", "\"CANARY\""),
            ("SecretAccessKey", "\"CANARY\""),
            ("Token", "\"CANARY\""),
            ("Expiration", "\"2025-03-12T21:53:17Z\""),
        ];
        for broken in 0..fields.len() {
            let wrongs = [
                "",
                "\"\"",
                "null",
                "7",
                "[\"CANARY\"]",
                "{}",
                "true",
                "\"CANARY\"CANARY",
            ];
            for wrong in wrongs {
                if fields[broken].0 != "Expiration" && wrong == "\"CANARY\"" {
                    continue;
                }
                let members: Vec<String> = (0..fields.len())
                    .filter(|&index| index != broken || !wrong.is_empty())
                    .map(|index| {
                        let (name, value) = fields[index];
                        format!("\"{name}\":{}", if index == broken { wrong } else { value })
                    })
                    .collect();
                let body = format!("{{{}}}", members.join(","));
                let problem = Answer::parse(body.as_bytes()).expect_err(&body).to_string();
                assert!(!problem.contains("CANARY"), "{problem}");
            }
        }
    }

    #[test]
    fn a_field_that_stands_twice_is_refused() {
        let body = WHOLE.replacen('{', "{\"token\":\"other\",", 1);
        assert!(Answer::parse(body.as_bytes()).is_err());
    }

    #[test]
    fn a_body_cut_at_any_byte_is_refused() {
        for length in 0..WHOLE.len() {
            assert!(
                Answer::parse(&WHOLE.as_bytes()[..length]).is_err(),
                "cut at {length}"
            );
        }
    }

    #[test]
    fn error_bodies_are_read_in_either_casing() {
        let body = br#"{"code":"NoIdInRequest","message":"why","HTTPErrorCode":400}"#;
        assert_eq!(error_text(body).as_deref(), Some("NoIdInRequest: why"));
        assert_eq!(error_text(br#"{"Message":"why"}"#).as_deref(), Some("why"));
        let both = br#"{"Code":"c","Message":"why","code":"c","message":"why"}"#;
        assert_eq!(error_text(both).as_deref(), Some("c: why"));
        assert_eq!(error_text(br#"{"Code":"c","code":"d"}"#), None);
        assert_eq!(error_text(b"<html>"), None);
        assert_eq!(error_message(both).as_deref(), Some("why"));
        assert_eq!(error_message(br#"{"code":"c"}"#).as_deref(), Some("c"));
        assert_eq!(error_message(b"{}"), None);
        assert_eq!(error_text(b"{}"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Answer::parse(&body);
            let _ = error_text(&body);
        }
    }
}
