//! Reading why STS refuses, and what that calls for.

use std::fmt;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::Value;

use super::xml;
use crate::credentials::Failure;
use crate::printable;

/// An answer with a status other than 200. All texts are printable and short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    /// AWS's word for it; empty if the answer is in no form that AWS uses.
    pub code: String,
    pub message: String,
    /// For AWS's support.
    pub request_id: Option<String>,
}

impl Refusal {
    /// Reads any body: XML as STS writes it, JSON as other services, proxies and imitations do, and
    /// of anything else the status alone.
    pub fn read(status: StatusCode, body: &[u8]) -> Self {
        let text = std::str::from_utf8(body).unwrap_or_default();
        let read = Read::xml(text).or_else(|| Read::json(text));
        let Read {
            code,
            message,
            request_id,
        } = read.unwrap_or_default();
        Self {
            status,
            code: bare_code(&printable(&code)).to_owned(),
            message: without_secrets(&printable(&message)),
            request_id: request_id.as_deref().map(printable),
        }
    }

    /// The code without the suffix that some services give it, as Go compares (`stscreds`,
    /// `nonrecoverable.go`).
    fn kind(&self) -> &str {
        let code = self.code.as_str();
        code.strip_suffix("Exception").unwrap_or(code)
    }

    /// Whether the credentials that signed have expired, so that fresh ones would do. An expired
    /// web identity token, which goes by the same name, is none of that.
    pub fn is_expired_signer(&self) -> bool {
        self.kind() == "ExpiredToken" && !self.is_expired_web_identity()
    }

    fn is_expired_web_identity(&self) -> bool {
        self.kind() == "ExpiredToken" && self.message.starts_with("Token expired: current date")
    }

    /// Whether a wrong clock may be why (`@aws-sdk/core`, `clockSkewErrorCodes`).
    pub fn is_skew(&self) -> bool {
        matches!(
            self.code.as_str(),
            "AuthFailure"
                | "InvalidSignatureException"
                | "RequestExpired"
                | "RequestInTheFuture"
                | "RequestTimeTooSkewed"
                | "SignatureDoesNotMatch"
                | "AccessDeniedException"
        )
    }

    /// Whether AWS says so itself.
    fn is_certain_skew(&self) -> bool {
        self.is_skew()
            && (self.kind().starts_with("Request")
                || ["Signature expired", "Signature not yet current"]
                    .iter()
                    .any(|beginning| self.message.starts_with(beginning)))
    }

    /// Whether the MFA code was wrong, was used before, or is of another device.
    pub fn is_wrong_mfa_code(&self) -> bool {
        self.kind() == "AccessDenied"
            && [
                "invalid MFA one time pass code",
                "unable to validate MFA code",
            ]
            .iter()
            .any(|words| self.message.contains(words))
    }

    /// What it calls for. `attempted` says what was asked of whom, as in `AssumeRole of arn:… at
    /// https://…`; `retry_after` is the answer's own word.
    pub fn failure(&self, attempted: &str, retry_after: Option<Duration>) -> Failure {
        let (call, remedy) = self.judgement();
        let separator = if remedy.is_empty() { "" } else { "; " };
        let message = format!("{attempted}: {self}{separator}{remedy}");
        match call {
            Call::Throttled => Failure::throttled(message, retry_after),
            Call::Transient => Failure {
                retry_after,
                ..Failure::transient(message)
            },
            Call::Denied => Failure::denied(message),
            Call::Misconfigured => Failure::misconfigured(message),
        }
    }

    fn judgement(&self) -> (Call, &'static str) {
        if THROTTLING.contains(&self.code.as_str()) || self.status == StatusCode::TOO_MANY_REQUESTS
        {
            return (Call::Throttled, "");
        }
        if self.is_certain_skew() {
            let remedy = "set this host's clock: AWS takes 5 minutes of difference at most";
            return (Call::Transient, remedy);
        }
        if self.is_expired_web_identity() {
            let remedy = "the web identity token has expired: see to it that whoever writes its \
                          file writes a new one";
            return (Call::Transient, remedy);
        }
        match self.kind() {
            "ExpiredToken" => (
                Call::Transient,
                "the credentials of the source have expired; this passes once it has fresh ones",
            ),
            "IDPCommunicationError"
            | "InternalFailure"
            | "InternalError"
            | "ServiceUnavailable"
            | "RequestTimeout" => (Call::Transient, ""),
            "InvalidIdentityToken" => self.of_identity_token(),
            "AccessDenied" => (Call::Denied, self.remedy_of_denial()),
            "IDPRejectedClaim" => (
                Call::Denied,
                "the identity provider no longer vouches for the token: see to it that it issues a \
                 new one",
            ),
            "InvalidClientTokenId" | "UnrecognizedClient" => (
                Call::Denied,
                "the source's access key is unknown there: deleted, deactivated, of another \
                 partition, or not valid in an opt-in region",
            ),
            "SignatureDoesNotMatch" | "InvalidSignature" => {
                (Call::Denied, "check the source's secret access key")
            }
            "ValidationError" | "Validation" => (Call::Misconfigured, self.remedy_of_value()),
            "MalformedPolicyDocument" => (
                Call::Misconfigured,
                "correct the session policy: AWS cannot read it",
            ),
            "PackedPolicyTooLarge" => (
                Call::Misconfigured,
                "shorten session policies and tags: AWS packs them together and they do not fit",
            ),
            "RegionDisabled" => (
                Call::Misconfigured,
                "activate STS for that region in the account settings of IAM, or set another region",
            ),
            _ => self.by_status(),
        }
    }

    /// The token may be so new that its key is not known yet, or of the wrong provider for ever.
    fn of_identity_token(&self) -> (Call, &'static str) {
        if self.message.starts_with("No OpenIDConnect provider found") {
            let remedy = "create the OpenID Connect provider in the role's account, or correct the \
                          role ARN";
            (Call::Misconfigured, remedy)
        } else if self.message.starts_with("Incorrect token audience") {
            let remedy = "have the token issued for an audience that the provider in IAM lists";
            (Call::Misconfigured, remedy)
        } else {
            (Call::Transient, "the token is read anew for each attempt")
        }
    }

    fn remedy_of_denial(&self) -> &'static str {
        if self.is_wrong_mfa_code() {
            "a code counts once: wait for the next one, and check the MFA serial number and the \
             device's clock"
        } else if self.message.starts_with("MultiFactorAuthentication") {
            "set the MFA serial number, so that a code is asked for"
        } else if self.message.contains("AssumeRole") {
            "the role must exist and its trust policy must name the caller, whose own policies must \
             allow the action"
        } else {
            ""
        }
    }

    fn remedy_of_value(&self) -> &'static str {
        if self.message.contains("1 hour session limit") {
            "lifetime is at most 1 hour when a role is assumed from a role"
        } else if self.message.contains("MaxSessionDuration") {
            "lower the lifetime, or raise the role's maximum session duration"
        } else {
            ""
        }
    }

    fn by_status(&self) -> (Call, &'static str) {
        let stranger = "a proxy or another server than AWS's answered: check the endpoint and what \
                        stands before it";
        match self.status.as_u16() {
            408 | 425 | 500.. => (Call::Transient, ""),
            // Whatever stands there, it is no STS.
            0..400 | 404 | 405 | 407 => (Call::Misconfigured, stranger),
            _ if self.code.is_empty() => (Call::Denied, stranger),
            _ => (Call::Denied, ""),
        }
    }
}

/// `AccessDenied: User: … is not authorized … (status 403, request 8088f6eb-…)`
impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.code.is_empty() {
            write!(formatter, "{}: ", self.code)?;
        }
        if !self.message.is_empty() {
            write!(formatter, "{} ", self.message)?;
        }
        write!(formatter, "(status {}", self.status.as_u16())?;
        if let Some(request_id) = &self.request_id {
            write!(formatter, ", request {request_id}")?;
        }
        formatter.write_str(")")
    }
}

/// What a refusal calls for.
enum Call {
    Transient,
    Throttled,
    Denied,
    Misconfigured,
}

/// botocore `data/_retry.json` and smithy-rs `aws-runtime` `retries/classifiers.rs`. STS throttles
/// with status 400.
const THROTTLING: [&str; 14] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottledException",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "TransactionInProgressException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "LimitExceededException",
    "RequestThrottled",
    "SlowDown",
    "PriorRequestNotComplete",
    "EC2ThrottledException",
];

#[derive(Default)]
struct Read {
    code: String,
    message: String,
    request_id: Option<String>,
}

impl Read {
    /// `<ErrorResponse><Error><Code/><Message/></Error><RequestId/></ErrorResponse>`
    fn xml(text: &str) -> Option<Self> {
        let document = xml::parse(text).ok()?;
        let root = document.root_element();
        let error = xml::child(root, "Error").unwrap_or(root);
        Some(Self {
            code: xml::text(error, "Code")?.to_owned(),
            message: xml::text(error, "Message").unwrap_or_default().to_owned(),
            request_id: xml::text(root, "RequestId").map(str::to_owned),
        })
    }

    /// `{"Error": {"Code", "Message"}, "RequestId"}` or `{"__type", "message"}`, in any casing.
    fn json(text: &str) -> Option<Self> {
        let document: Value = serde_json::from_str(text).ok()?;
        let error = member(&document, &["error"]).filter(|error| error.is_object());
        let error = error.unwrap_or(&document);
        let text =
            |value: &Value, names: &[&str]| member(value, names)?.as_str().map(str::to_owned);
        Some(Self {
            code: text(error, &["code", "__type"])?,
            message: text(error, &["message"]).unwrap_or_default(),
            request_id: text(&document, &["requestid"]),
        })
    }
}

fn member<'a>(value: &'a Value, names: &[&str]) -> Option<&'a Value> {
    let is_meant = |name: &str| names.iter().any(|it| it.eq_ignore_ascii_case(name));
    value
        .as_object()?
        .iter()
        .find_map(|(name, value)| is_meant(name).then_some(value))
}

/// `com.amazonaws.sts#Code:http://…` is how services with a JSON protocol may write `Code`.
fn bare_code(code: &str) -> &str {
    let code = code.rsplit_once('#').map_or(code, |(_, code)| code);
    code.split_once(':').map_or(code, |(code, _)| code)
}

/// The first line, in at most 1000 characters: where AWS explains a signature, the lines below hold
/// the session token.
pub(super) fn printable(text: &str) -> String {
    let line = text.trim().split(['\n', '\r']).next().unwrap_or_default();
    printable::line(line, 1000)
}

/// Where AWS validates parameters it quotes them: `Value '123' at 'tokenCode' failed to satisfy
/// constraint: …`.
fn without_secrets(message: &str) -> String {
    const BEFORE: &str = "Value '";
    const AFTER: &str = "' at '";
    let mut pieces = message.split(BEFORE);
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = piece.rsplit_once(AFTER).map_or("", |(_, rest)| rest);
        text.push_str(BEFORE);
        text.push('…');
        text.push_str(AFTER);
        text.push_str(rest);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::FailureClass;
    use proptest::prelude::*;

    fn refusal(status: u16, code: &str, message: &str) -> Refusal {
        let body = format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
             <Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
             <RequestId>id</RequestId></ErrorResponse>"
        );
        Refusal::read(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    const ATTEMPTED: &str = "AssumeRole of arn:aws:iam::1:role/a at https://sts.example.com";

    fn failure(status: u16, code: &str, message: &str) -> Failure {
        refusal(status, code, message).failure(ATTEMPTED, None)
    }

    #[test]
    fn each_code_calls_for_what_it_calls_for() {
        use FailureClass::{Denied, Misconfigured, Throttled, Transient};
        for (class, status, code) in [
            (Denied, 403, "AccessDenied"),
            (Transient, 403, "ExpiredToken"),
            (Transient, 400, "ExpiredTokenException"),
            (Denied, 403, "InvalidClientTokenId"),
            (Denied, 403, "UnrecognizedClientException"),
            (Denied, 403, "SignatureDoesNotMatch"),
            (Transient, 400, "IDPCommunicationError"),
            (Transient, 400, "InvalidIdentityToken"),
            (Denied, 403, "IDPRejectedClaim"),
            (Misconfigured, 400, "MalformedPolicyDocument"),
            (Misconfigured, 400, "PackedPolicyTooLarge"),
            (Misconfigured, 400, "ValidationError"),
            (Misconfigured, 403, "RegionDisabledException"),
            (Throttled, 400, "Throttling"),
            (Throttled, 503, "SlowDown"),
            (Throttled, 429, "Unheard"),
            (Transient, 500, "InternalFailure"),
            (Transient, 503, "ServiceUnavailable"),
            (Transient, 400, "RequestTimeout"),
            (Transient, 502, "Unheard"),
            (Denied, 400, "Unheard"),
        ] {
            assert_eq!(failure(status, code, "").class, class, "{status} {code}");
        }
        for code in THROTTLING {
            assert_eq!(failure(400, code, "").class, Throttled, "{code}");
        }
    }

    #[test]
    fn a_status_alone_is_judged_too() {
        for (status, body, class) in [
            (503, "<html><p>busy", FailureClass::Transient),
            (502, "", FailureClass::Transient),
            (404, "not here", FailureClass::Misconfigured),
            (301, "", FailureClass::Misconfigured),
            (403, "\u{0}", FailureClass::Denied),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let refusal = Refusal::read(status, body.as_bytes());
            assert_eq!(refusal.code, "");
            let failure = refusal.failure(ATTEMPTED, None);
            assert_eq!(failure.class, class);
            let expected = format!("{ATTEMPTED}: (status {})", status.as_u16());
            assert!(failure.message.starts_with(&expected), "{failure}");
            let is_strange = failure.message.contains("another server than AWS's");
            assert_eq!(is_strange, class != FailureClass::Transient, "{failure}");
        }
    }

    #[test]
    fn a_message_says_what_was_attempted_what_came_of_it_and_what_to_do() {
        let message = "The requested DurationSeconds exceeds the 1 hour session limit for roles \
                       assumed by role chaining";
        assert_eq!(
            failure(400, "ValidationError", message).message,
            format!(
                "{ATTEMPTED}: ValidationError: {message} (status 400, request id); lifetime is at \
                 most 1 hour when a role is assumed from a role"
            )
        );
    }

    #[test]
    fn the_server_says_when_to_come_back() {
        let later = Some(Duration::from_secs(7));
        for (status, code) in [(400, "Throttling"), (503, "ServiceUnavailable")] {
            let failure = refusal(status, code, "").failure(ATTEMPTED, later);
            assert_eq!(failure.retry_after, later);
        }
    }

    #[test]
    fn json_is_read_in_each_of_its_forms() {
        for body in [
            r#"{"Error":{"Code":"AccessDenied","Message":"no"},"RequestId":"id"}"#,
            r#"{"__type":"com.amazonaws.sts#AccessDenied","message":"no","requestId":"id"}"#,
            r#"{"code":"AccessDenied:http://internal","Message":"no","RequestID":"id"}"#,
        ] {
            let expected = refusal(403, "AccessDenied", "no");
            let read = Refusal::read(StatusCode::FORBIDDEN, body.as_bytes());
            assert_eq!(read, expected, "{body}");
        }
    }

    #[test]
    fn a_wrong_code_is_told_from_a_missing_one() {
        let wrong = "MultiFactorAuthentication failed with invalid MFA one time pass code. ";
        let refused = refusal(403, "AccessDenied", wrong);
        assert!(refused.is_wrong_mfa_code());
        assert!(
            refused
                .failure(ATTEMPTED, None)
                .message
                .contains("a code counts once")
        );
        let missing = "MultiFactorAuthentication failed, must provide both MFA serial number and \
                       one time pass code";
        assert!(!refusal(403, "AccessDenied", missing).is_wrong_mfa_code());
        assert!(!refusal(403, "Throttling", wrong).is_wrong_mfa_code());
    }

    #[test]
    fn an_expired_signer_is_told_from_an_expired_web_identity() {
        let signer = "The security token included in the request is expired";
        for code in ["ExpiredToken", "ExpiredTokenException"] {
            assert!(refusal(403, code, signer).is_expired_signer());
            assert!(
                failure(403, code, signer)
                    .message
                    .contains("of the source have expired")
            );
        }
        let web = "Token expired: current date/time 1 must be before the expiration date/time 0";
        assert!(!refusal(400, "ExpiredTokenException", web).is_expired_signer());
        assert!(
            failure(400, "ExpiredTokenException", web)
                .message
                .contains("writes a new one")
        );
    }

    #[test]
    fn a_wrong_clock_is_suspected_and_sometimes_certain() {
        let expired = "Signature expired: 20150830T123600Z is now earlier than 20150830T130000Z";
        assert!(refusal(403, "SignatureDoesNotMatch", expired).is_skew());
        assert_eq!(
            failure(403, "SignatureDoesNotMatch", expired).class,
            FailureClass::Transient
        );
        assert!(refusal(403, "SignatureDoesNotMatch", "no match").is_skew());
        assert!(failure(403, "RequestExpired", "").message.contains("clock"));
        assert!(!refusal(403, "AccessDenied", expired).is_skew());
    }

    #[test]
    fn a_web_identity_that_can_never_work_is_told_from_one_that_is_too_new() {
        let no_provider = "No OpenIDConnect provider found in your account for https://a";
        let class = |message| failure(400, "InvalidIdentityToken", message).class;
        assert_eq!(class(no_provider), FailureClass::Misconfigured);
        assert_eq!(
            class("Incorrect token audience"),
            FailureClass::Misconfigured
        );
        let late = "Couldn't retrieve verification key from your identity provider";
        assert_eq!(class(late), FailureClass::Transient);
    }

    #[test]
    fn what_aws_repeats_of_the_request_is_left_out() {
        let signature = "The request signature we calculated does not match.\n\nThe Canonical \
                         String should have been\n'POST\n/\n\nx-amz-security-token:CANARY\n'";
        let value = "2 validation errors detected: Value 'CANARY' at 'tokenCode' failed to satisfy \
                     constraint: Member must satisfy regular expression pattern: [\\d]*; Value \
                     'CAN' at 'ARY' at 'policy' failed";
        let unfinished = "1 validation error detected: Value 'CANARY";
        for message in [signature, value, unfinished] {
            let text = refusal(400, "ValidationError", message).to_string();
            assert!(!text.contains("CANARY") && !text.contains("ARY"), "{text}");
        }
        let text = refusal(400, "ValidationError", value).message;
        assert!(
            text.contains("Value '…' at 'tokenCode' failed to satisfy"),
            "{text}"
        );
        assert!(text.ends_with("Value '…' at 'policy' failed"), "{text}");
    }

    proptest! {
        #[test]
        fn whatever_is_answered_is_printable_and_short(
            status in 100_u16..600, body in "(<|>|Error|Code|[\"{}:]|\\PC|\u{1b}|\n){0,80}",
            code in ".{0,50}", message in ".{0,1500}",
        ) {
            let status = StatusCode::from_u16(status).unwrap();
            let json = serde_json::json!({"Error": {"Code": code, "Message": message}});
            for body in [body, json.to_string()] {
                let failure = Refusal::read(status, body.as_bytes()).failure(ATTEMPTED, None);
                prop_assert!(failure.message.chars().count() < 5000);
                prop_assert!(!failure.message.chars().any(char::is_control));
            }
        }
    }
}
