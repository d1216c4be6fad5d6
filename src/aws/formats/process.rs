//! Reading what a `credential_process` writes: `{Version, AccessKeyId, SecretAccessKey,
//! SessionToken, Expiration, AccountId}`.
//!
//! AWS SDKs and Tools Reference Guide, "Process credential provider". The texts of errors are
//! botocore's and the Rust SDK's, which people search for.

use serde_json::Value;

use super::answer::{Fields, MalformedAnswer, expiry, malformed, plain};
use crate::credentials::{AccessKeyId, Credentials, Principal};
use crate::secret::Secret;

/// Reads the output of a program, with or without an expiry, with or without a session token:
/// whether long-lived keys will do is for others to say. Field names are compared without case, as
/// the Rust SDK does; unknown fields are passed over. Errors name fields, never their values.
pub fn parse_process(output: &[u8]) -> Result<Credentials, MalformedAnswer> {
    let fields: Fields = serde_json::from_slice(output).map_err(|error| {
        MalformedAnswer(format!("invalid JSON in response: {}", malformed(&error)))
    })?;
    supported(fields.version.as_ref())?;
    let access_key_id = required("AccessKeyId", fields.access_key_id)?;
    let session_token = fields.session_token;
    let session_token = session_token.filter(|token| !token.expose().is_empty());
    let expiration = fields.expiration.filter(|text| !text.expose().is_empty());
    Ok(Credentials {
        access_key_id: AccessKeyId::from(access_key_id.expose().to_owned()),
        secret_access_key: required("SecretAccessKey", fields.secret_access_key)?,
        principal: Principal::of_keys(session_token.is_none()),
        session_token,
        expiry: expiration.as_ref().map(expiry).transpose()?,
        account_id: plain(fields.account_id),
        role_arn: None,
    })
}

fn supported(version: Option<&Value>) -> Result<(), MalformedAnswer> {
    let version = match version {
        Some(Value::Number(number)) if number.as_u64() == Some(1) => return Ok(()),
        Some(Value::Number(number)) => number.to_string(),
        // Shown by their kind alone: whoever confuses fields may have put a secret here.
        Some(_) => "<not a number>".to_owned(),
        None => "<Version key not provided>".to_owned(),
    };
    Err(MalformedAnswer(format!(
        "Unsupported version '{version}' for credential process provider, supported versions: 1"
    )))
}

fn required(field: &str, value: Option<Secret>) -> Result<Secret, MalformedAnswer> {
    value
        .filter(|value| !value.expose().is_empty())
        .ok_or_else(|| MalformedAnswer(format!("Missing required key in response: '{field}'")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn whole() -> Value {
        json!({
            "Version": 1,
            "AccessKeyId": "ASIACANARY",
            "SecretAccessKey": "CANARY",
            "SessionToken": "CANARY",
            "Expiration": "2026-11-22T11:30:00+02:00",
            "AccountId": "123456789012",
            "Comment": { "is": ["passed", "over"] },
        })
    }

    fn with(field: &str, value: Option<Value>) -> Result<Credentials, String> {
        let mut body = whole();
        match value {
            Some(value) => body[field] = value,
            None => _ = body.as_object_mut().unwrap().remove(field),
        }
        parse_process(body.to_string().as_bytes()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_session_is_read_with_an_expiry_of_any_offset() {
        let credentials = with("Comment", None).unwrap();
        assert_eq!(credentials.access_key_id.expose(), "ASIACANARY");
        assert_eq!(credentials.secret_access_key.expose(), "CANARY");
        assert_eq!(credentials.session_token.unwrap().expose(), "CANARY");
        assert_eq!(credentials.account_id.as_deref(), Some("123456789012"));
        let expiry = credentials.expiry.unwrap();
        assert_eq!(expiry.to_string(), "2026-11-22T09:30:00Z");
    }

    #[test]
    fn what_may_be_left_out_may_be_null_or_empty_too() {
        for left_out in [None, Some(json!(null)), Some(json!(""))] {
            let credentials = with("SessionToken", left_out.clone()).unwrap();
            assert!(credentials.is_long_lived());
            assert_eq!(with("Expiration", left_out.clone()).unwrap().expiry, None);
            assert_eq!(with("AccountId", left_out).unwrap().account_id, None);
        }
    }

    #[test]
    fn only_version_1_is_read() {
        let says = |version: &str| {
            format!(
                "Unsupported version '{version}' for credential process provider, supported \
                 versions: 1"
            )
        };
        for (version, shown) in [
            (Some(json!(2)), "2"),
            (Some(json!(1.5)), "1.5"),
            (Some(json!(-1)), "-1"),
            (Some(json!("1")), "<not a number>"),
            (Some(json!(["CANARY"])), "<not a number>"),
            (None, "<Version key not provided>"),
        ] {
            assert_eq!(with("Version", version).unwrap_err(), says(shown));
        }
    }

    #[test]
    fn what_is_missing_or_of_another_shape_is_told_without_any_value() {
        for field in ["AccessKeyId", "SecretAccessKey"] {
            let missing = format!("Missing required key in response: '{field}'");
            for value in [None, Some(json!(null)), Some(json!(""))] {
                assert_eq!(with(field, value).unwrap_err(), missing);
            }
        }
        for field in [
            "AccessKeyId",
            "SecretAccessKey",
            "SessionToken",
            "Expiration",
        ] {
            for value in [
                json!(["CANARY"]),
                json!({"CANARY": 1}),
                json!(7),
                json!(true),
            ] {
                let problem = with(field, Some(value)).unwrap_err();
                assert!(problem.starts_with("invalid JSON in response"), "{problem}");
                assert!(!problem.contains("CANARY"), "{problem}");
            }
        }
        let problem = with("Expiration", Some(json!("CANARY"))).unwrap_err();
        assert_eq!(problem, "`Expiration` is no RFC 3339 time");
    }

    #[test]
    fn output_that_is_cut_doubled_or_no_json_is_refused() {
        let whole = whole().to_string();
        for length in 0..whole.len() {
            assert!(parse_process(&whole.as_bytes()[..length]).is_err());
        }
        for other in [
            whole.replacen('{', "{\"version\":1,", 1),
            whole.replacen('{', "{\"accesskeyid\":\"other\",", 1),
            format!("{whole}{whole}"),
            "CANARY".to_owned(),
            "[]".to_owned(),
        ] {
            let problem = parse_process(other.as_bytes()).unwrap_err().to_string();
            assert!(!problem.contains("CANARY"), "{problem}");
        }
    }

    #[test]
    fn what_credd_itself_writes_is_read() {
        let mut body = whole();
        body["Token"] = json!("token");
        let written = crate::aws::formats::process(body.to_string().as_bytes()).unwrap();
        let credentials = parse_process(&written).unwrap();
        assert_eq!(credentials.session_token.unwrap().expose(), "token");
        assert_eq!(credentials.account_id.as_deref(), Some("123456789012"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_process(&body);
        }
    }
}
