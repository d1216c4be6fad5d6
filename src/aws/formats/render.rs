//! Writing credentials the way SDKs read them.

use std::io::Write;

use bytes::Bytes;
use serde::Serialize;
use zeroize::Zeroizing;

use super::Answer;
use crate::clock::Timestamp;
use crate::credentials::Credentials;

/// A body of the container credentials protocol, with `expiry` as the advertised `Expiration`.
///
/// The returned bytes are wiped when their last holder drops them. `None` for long-lived keys,
/// which have no place in this protocol: clients demand a token.
pub fn container(credentials: &Credentials, expiry: Timestamp) -> Option<Bytes> {
    // AccountId and RoleArn are left out where unknown: an empty AccountId would end up in
    // account-based endpoint names.
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Body<'a> {
        access_key_id: &'a str,
        secret_access_key: &'a str,
        token: &'a str,
        expiration: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        account_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        role_arn: Option<&'a str>,
    }
    let rendered = render(&Body {
        access_key_id: credentials.access_key_id.expose(),
        secret_access_key: credentials.secret_access_key.expose(),
        token: credentials.session_token.as_ref()?.expose(),
        expiration: expiry.to_string(),
        account_id: credentials.account_id.as_deref(),
        role_arn: credentials.role_arn.as_deref(),
    })?;
    Some(Bytes::from_owner(rendered))
}

/// The output of a `credential_process` command, version 1 (AWS SDKs and Tools Reference Guide,
/// "Process credential provider"), made from a container body.
pub fn process(container_body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Output<'a> {
        version: u8,
        access_key_id: &'a str,
        secret_access_key: &'a str,
        session_token: &'a str,
        expiration: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        account_id: Option<&'a str>,
    }
    let credentials = credentials_of(container_body)?;
    render(&Output {
        version: 1,
        access_key_id: credentials.access_key_id.expose(),
        secret_access_key: credentials.secret_access_key.expose(),
        session_token: credentials.session_token.as_ref()?.expose(),
        expiration: credentials.expiry?.to_string(),
        account_id: credentials.account_id.as_deref(),
    })
}

fn credentials_of(container_body: &[u8]) -> Option<Credentials> {
    match Answer::parse(container_body).ok()? {
        Answer::Credentials { credentials, .. } => Some(credentials),
        Answer::Refusal { .. } => None,
    }
}

/// What instance metadata answers for a role, made from a container body: `updated` is when the
/// set was made. The extended form has the account id (SDK specification "IMDS account id").
///
/// The returned bytes are wiped when their last holder drops them.
pub fn instance_metadata(
    container_body: &[u8],
    updated: Timestamp,
    is_extended: bool,
) -> Option<Bytes> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Output<'a> {
        code: &'static str,
        last_updated: String,
        r#type: &'static str,
        access_key_id: &'a str,
        secret_access_key: &'a str,
        token: &'a str,
        expiration: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        account_id: Option<&'a str>,
    }
    let credentials = credentials_of(container_body)?;
    let account_id = credentials.account_id.as_deref();
    let rendered = render_lines(&Output {
        code: "Success",
        last_updated: updated.to_string(),
        r#type: "AWS-HMAC",
        access_key_id: credentials.access_key_id.expose(),
        secret_access_key: credentials.secret_access_key.expose(),
        token: credentials.session_token.as_ref()?.expose(),
        expiration: credentials.expiry?.to_string(),
        account_id: account_id.filter(|_| is_extended),
    })?;
    Some(Bytes::from_owner(rendered))
}

fn render(body: &impl Serialize) -> Option<Zeroizing<Vec<u8>>> {
    write_twice(|buffer| serde_json::to_writer(buffer, body))
}

/// A field to a line, as EC2 writes them, for scripts that read lines.
fn render_lines(body: &impl Serialize) -> Option<Zeroizing<Vec<u8>>> {
    write_twice(|buffer| serde_json::to_writer_pretty(buffer, body))
}

fn write_twice(
    write: impl Fn(&mut dyn Write) -> serde_json::Result<()>,
) -> Option<Zeroizing<Vec<u8>>> {
    /// Counts, so that the buffer can be made once in its final size: one that grows leaves
    /// unwiped copies behind.
    struct Length(usize);

    impl Write for Length {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let mut length = Length(0);
    write(&mut length).ok()?;
    let mut rendered = Zeroizing::new(Vec::with_capacity(length.0));
    write(&mut *rendered).ok()?;
    Some(rendered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::{AccessKeyId, Principal};
    use crate::secret::Secret;

    fn credentials() -> Credentials {
        Credentials {
            access_key_id: AccessKeyId::from("ASIAEXAMPLE".to_owned()),
            secret_access_key: Secret::from("se\"cret".to_owned()),
            session_token: Some(Secret::from("to\\ken".to_owned())),
            expiry: Timestamp::parse("2026-01-01T01:00:00Z"),
            account_id: Some("123456789012".to_owned()),
            role_arn: None,
            principal: Principal::Unknown,
        }
    }

    #[test]
    fn the_container_body_is_exactly_what_sdks_read() {
        let expiry = Timestamp::parse("2026-01-01T00:59:59.999Z").unwrap();
        assert_eq!(
            container(&credentials(), expiry).unwrap(),
            r#"{"AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"se\"cret","Token":"to\\ken","Expiration":"2026-01-01T00:59:59Z","AccountId":"123456789012"}"#
        );
    }

    #[test]
    fn long_lived_keys_have_no_container_body() {
        let credentials = Credentials {
            session_token: None,
            ..credentials()
        };
        assert_eq!(
            container(&credentials, Timestamp::from_unix_millis(0)),
            None
        );
    }

    #[test]
    fn a_container_body_becomes_credential_process_output() {
        let body = container(&credentials(), Timestamp::from_unix_millis(0)).unwrap();
        let output = process(&body).unwrap();
        assert_eq!(
            std::str::from_utf8(&output).unwrap(),
            r#"{"Version":1,"AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"se\"cret","SessionToken":"to\\ken","Expiration":"1970-01-01T00:00:00Z","AccountId":"123456789012"}"#
        );
    }

    #[test]
    fn a_container_body_becomes_what_instance_metadata_answers() {
        let body = container(&credentials(), Timestamp::from_unix_millis(0)).unwrap();
        let updated = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let legacy = r#"{
  "Code": "Success",
  "LastUpdated": "2026-01-01T00:00:00Z",
  "Type": "AWS-HMAC",
  "AccessKeyId": "ASIAEXAMPLE",
  "SecretAccessKey": "se\"cret",
  "Token": "to\\ken",
  "Expiration": "1970-01-01T00:00:00Z"
}"#;
        let extended = legacy.replace("00Z\"\n}", "00Z\",\n  \"AccountId\": \"123456789012\"\n}");
        for (is_extended, expected) in [(false, legacy), (true, &extended)] {
            let output = instance_metadata(&body, updated, is_extended).unwrap();
            assert_eq!(std::str::from_utf8(&output).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_set_makes_no_answer_of_instance_metadata() {
        let updated = Timestamp::from_unix_millis(0);
        for body in [
            "",
            "{}",
            "null",
            r#"{"Code":"AccessDenied","Message":"no"}"#,
        ] {
            assert_eq!(instance_metadata(body.as_bytes(), updated, true), None);
        }
    }
}
