//! Reading what STS answers.

use std::fmt;

use roxmltree::Node;

use super::xml;
use crate::aws::arn::Arn;
use crate::clock::Timestamp;
use crate::credentials::{Credentials, Principal};
use crate::secret::Secret;

/// Whose credentials these are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerIdentity {
    pub account: String,
    pub arn: String,
    pub user_id: String,
}

/// The JSON that an encoded authorization failure stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedMessage(pub String);

/// What is wrong with an answer. Names elements, never their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedAnswer(String);

impl fmt::Display for MalformedAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for MalformedAnswer {}

/// Reads the answer to `AssumeRole`, `AssumeRoleWithWebIdentity` or `GetSessionToken`. `role_arn`
/// is the role that was asked for, which the answer does not repeat.
pub fn minted(body: &[u8], role_arn: Option<&Arn>) -> Result<Credentials, MalformedAnswer> {
    with_result(body, |result| {
        // `arn:aws:sts::123456789012:assumed-role/billing/session`; `GetSessionToken` has none.
        let assumed = xml::child(result, "AssumedRoleUser")
            .and_then(|user| Arn::parse(xml::text(user, "Arn")?).ok());
        let account = assumed.as_ref().map(Arn::account);
        let set = xml::child(result, "Credentials").ok_or_else(|| missing("Credentials"))?;
        let secret = |name| required(set, name).map(|text| Secret::from(text.to_owned()));
        let expiry = Timestamp::parse(required(set, "Expiration")?)
            .ok_or_else(|| MalformedAnswer("`Expiration` is no RFC 3339 time".to_owned()))?;
        Ok(Credentials {
            access_key_id: required(set, "AccessKeyId")?.to_owned().into(),
            secret_access_key: secret("SecretAccessKey")?,
            session_token: Some(secret("SessionToken")?),
            expiry: Some(expiry),
            account_id: account
                .filter(|account| !account.is_empty())
                .map(str::to_owned),
            role_arn: role_arn.map(|arn| arn.as_str().to_owned()),
            principal: if role_arn.is_some() {
                Principal::Role
            } else {
                Principal::User
            },
        })
    })
}

/// Reads the answer to `GetCallerIdentity`. Its texts are printable.
pub fn caller_identity(body: &[u8]) -> Result<CallerIdentity, MalformedAnswer> {
    with_result(body, |result| {
        let printable = |name| required(result, name).map(super::error::printable);
        Ok(CallerIdentity {
            account: printable("Account")?,
            arn: printable("Arn")?,
            user_id: printable("UserId")?,
        })
    })
}

/// Reads the answer to `DecodeAuthorizationMessage`. Its text is as AWS sent it.
pub fn decoded_message(body: &[u8]) -> Result<DecodedMessage, MalformedAnswer> {
    with_result(body, |result| {
        required(result, "DecodedMessage").map(|text| DecodedMessage(text.to_owned()))
    })
}

/// Hands `read` the element that each answer keeps its own in: `<AssumeRoleResult>`.
fn with_result<T>(
    body: &[u8],
    read: impl Fn(Node<'_, '_>) -> Result<T, MalformedAnswer>,
) -> Result<T, MalformedAnswer> {
    let text = std::str::from_utf8(body)
        .map_err(|_| MalformedAnswer("text that is not UTF-8".to_owned()))?;
    let document = xml::parse(text).map_err(MalformedAnswer)?;
    let result = document
        .root_element()
        .children()
        .find(|child| child.tag_name().name().ends_with("Result"));
    read(result.ok_or_else(|| MalformedAnswer("XML without a result".to_owned()))?)
}

fn required<'a>(node: Node<'a, '_>, name: &str) -> Result<&'a str, MalformedAnswer> {
    xml::text(node, name).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> MalformedAnswer {
    MalformedAnswer(format!("no `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHOLE: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
        <AssumeRoleResult><Unknown><Credentials/></Unknown><AssumedRoleUser>\
        <AssumedRoleId>AROA:s</AssumedRoleId>\
        <Arn>arn:aws:sts::123456789012:assumed-role/r/s</Arn></AssumedRoleUser><Credentials>\
        <AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId>\
        <SecretAccessKey>CANARY</SecretAccessKey><SessionToken>CANARY</SessionToken>\
        <Expiration>2021-08-05T19:58:02.5Z</Expiration></Credentials></AssumeRoleResult>\
        <ResponseMetadata><RequestId>id</RequestId></ResponseMetadata></AssumeRoleResponse>";

    fn role() -> Arn {
        Arn::parse("arn:aws:iam::123456789012:role/path/r").unwrap()
    }

    #[test]
    fn an_assumed_role_is_read_whole() {
        let set = minted(WHOLE.as_bytes(), Some(&role())).unwrap();
        assert_eq!(set.access_key_id.expose(), "ASIAIOSFODNN7EXAMPLE");
        assert_eq!(set.secret_access_key.expose(), "CANARY");
        assert_eq!(set.session_token.as_ref().unwrap().expose(), "CANARY");
        assert_eq!(set.expiry, Timestamp::parse("2021-08-05T19:58:02.5Z"));
        assert_eq!(set.account_id.as_deref(), Some("123456789012"));
        assert_eq!(set.role_arn.as_deref(), Some(role().as_str()));
        assert!(!format!("{set:?}").contains("CANARY"));
    }

    #[test]
    fn namespaces_and_their_prefixes_do_not_matter() {
        let plain = WHOLE.replace(" xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"", "");
        assert!(minted(plain.as_bytes(), None).is_ok());
        let prefixed = plain
            .replace("</", "<!/")
            .replace('<', "<x:")
            .replace("<x:!/", "</x:")
            .replacen("Response>", "Response xmlns:x=\"urn:any\">", 1);
        assert!(minted(prefixed.as_bytes(), None).is_ok(), "{prefixed}");
    }

    #[test]
    fn each_missing_or_odd_element_is_an_error_that_shows_no_value() {
        for name in [
            "AccessKeyId",
            "SecretAccessKey",
            "SessionToken",
            "Expiration",
        ] {
            let (open, close) = (format!("<{name}>"), format!("</{name}>"));
            let (before, rest) = WHOLE.split_once(&open).unwrap();
            let (_, after) = rest.split_once(&close).unwrap();
            for odd in [
                String::new(),
                format!("{open}{close}"),
                format!("<{name}/>"),
                format!("{open}<b>CANARY</b>{close}"),
                format!("{open}CAN<!-- -->ARY{close}"),
            ] {
                let body = format!("{before}{odd}{after}");
                let problem = minted(body.as_bytes(), None).expect_err(&body).to_string();
                assert_eq!(problem, format!("no `{name}`"));
            }
        }
        let body = WHOLE.replace("2021-08-05T19:58:02.5Z", "CANARY");
        let problem = minted(body.as_bytes(), None).unwrap_err().to_string();
        assert_eq!(problem, "`Expiration` is no RFC 3339 time");
    }

    #[test]
    fn a_body_cut_at_any_byte_is_refused() {
        for length in 0..WHOLE.len() {
            let problem = minted(&WHOLE.as_bytes()[..length], None).unwrap_err();
            assert!(!problem.to_string().contains("CANARY"));
        }
    }

    #[test]
    fn a_document_type_is_refused() {
        let body = format!(
            "<!DOCTYPE a [<!ENTITY e \"CANARY\">]>{}",
            WHOLE.replace(">CANARY<", ">&e;<")
        );
        let problem = minted(body.as_bytes(), None).unwrap_err().to_string();
        assert!(problem.contains("document type"), "{problem}");
        let body = WHOLE.replace(">CANARY<", ">&CANARY;<");
        let problem = minted(body.as_bytes(), None).unwrap_err().to_string();
        assert!(!problem.contains("CANARY"), "{problem}");
    }

    #[test]
    fn nesting_without_end_is_refused_and_costs_no_stack() {
        let deep = |levels: usize| {
            let body = format!("{}{}", "<a>".repeat(levels), "</a>".repeat(levels));
            // A quarter of the stack that threads have; tests have 2 MiB.
            let work = move || minted(body.as_bytes(), None).unwrap_err().to_string();
            let thread = std::thread::Builder::new().stack_size(256 * 1024);
            thread.spawn(work).unwrap().join().unwrap()
        };
        assert_eq!(deep(4000), "XML without a result");
        assert!(deep(100_000).contains("more than 4096"));
        let unclosed = "<a>".repeat(64 * 1024 / 3);
        assert!(minted(unclosed.as_bytes(), None).is_err());
    }

    #[test]
    fn callers_and_decoded_messages_are_read() {
        let body = "<GetCallerIdentityResponse><GetCallerIdentityResult>\
            <Arn>arn:aws:iam::1:user/a\u{9b}</Arn><UserId>AIDA</UserId><Account>1</Account>\
            </GetCallerIdentityResult></GetCallerIdentityResponse>";
        let expected = CallerIdentity {
            account: "1".to_owned(),
            arn: "arn:aws:iam::1:user/a ".to_owned(),
            user_id: "AIDA".to_owned(),
        };
        assert_eq!(caller_identity(body.as_bytes()), Ok(expected));
        let body = "<DecodeAuthorizationMessageResponse><DecodeAuthorizationMessageResult>\
            <DecodedMessage>{&quot;allowed&quot;:false}</DecodedMessage>\
            </DecodeAuthorizationMessageResult></DecodeAuthorizationMessageResponse>";
        let expected = DecodedMessage("{\"allowed\":false}".to_owned());
        assert_eq!(decoded_message(body.as_bytes()), Ok(expected));
        assert!(caller_identity(body.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(body in "(<|>|/|a|Result|Credentials|&|;|!|\\[|\\PC){0,60}") {
            let _ = minted(body.as_bytes(), None);
            let _ = caller_identity(body.as_bytes());
            let _ = decoded_message(body.as_bytes());
        }
    }
}
