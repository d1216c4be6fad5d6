//! Signature Version 4 in its header form.
//!
//! IAM User Guide, "Create a signed AWS API request". What S3 does otherwise (paths that are
//! neither normalized nor encoded twice, a header with the hash of the body) has no place here.

use std::fmt::{self, Write as _};

use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request};
use zeroize::Zeroizing;

use super::percent;
use super::region::Region;
use crate::clock::Timestamp;
use crate::credentials::Credentials;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Where a signature counts.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub region: &'a Region,
    /// The signing name: `sts`.
    pub service: &'a str,
}

/// Why a request cannot be signed. Shows nothing of the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsignable {
    /// The URI names no host that a header could carry.
    Host,
    /// The access key id or the session token holds what no header may: a line break, most likely.
    Credentials,
    /// The cryptographic library refused.
    Cryptography,
}

impl fmt::Display for Unsignable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Host => "cannot sign a request whose URI names no host",
            Self::Credentials => {
                "cannot sign with an access key id or a session token that holds a line break or \
                 another character that HTTP headers do not take; obtain the keys anew"
            }
            Self::Cryptography => "cannot sign: the cryptographic library refused",
        })
    }
}

impl std::error::Error for Unsignable {}

/// Adds `host`, `x-amz-date`, `x-amz-security-token` and `authorization`.
///
/// Every header that is there now is signed: what changes on the way, and what the connection adds
/// for itself, is added afterwards. `now` is the service's time, which grants 5 minutes either way.
pub fn sign(
    request: &mut Request<Bytes>,
    credentials: &Credentials,
    scope: Scope<'_>,
    now: Timestamp,
) -> Result<(), Unsignable> {
    let host = request.uri().authority().ok_or(Unsignable::Host)?.as_str();
    let host = HeaderValue::from_str(host).map_err(|_| Unsignable::Host)?;
    let date = HeaderValue::try_from(basic_format(now)).map_err(|_| Unsignable::Cryptography)?;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(DATE, date);
    headers.remove(AUTHORIZATION);
    headers.remove(SECURITY_TOKEN);
    if let Some(token) = &credentials.session_token {
        let token = Zeroizing::new(token.expose().as_bytes().to_vec());
        headers.insert(SECURITY_TOKEN, sensitive(token)?);
    }
    let uri = request.uri();
    let canonical = CanonicalRequest::of(
        request.method(),
        &normalized(uri.path()),
        uri.query().unwrap_or_default(),
        request.headers(),
        request.body(),
    );
    let authorization = authorization(&canonical, credentials, scope, now)?;
    let authorization = sensitive(Zeroizing::new(authorization.into_bytes()))?;
    request.headers_mut().insert(AUTHORIZATION, authorization);
    Ok(())
}

/// A header that is not printed, and whose text is wiped with its last holder.
fn sensitive(text: Zeroizing<Vec<u8>>) -> Result<HeaderValue, Unsignable> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(text))
        .map_err(|_| Unsignable::Credentials)?;
    value.set_sensitive(true);
    Ok(value)
}

/// `path` without empty and `.` segments, and with `..` taken for what it says.
pub fn normalized(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => _ = segments.pop(),
            _ => segments.push(segment),
        }
    }
    let is_folder = matches!(path.rsplit('/').next(), Some("" | "." | ".."));
    let end = if is_folder && !segments.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{end}", segments.join("/"))
}

/// What of a request is signed.
pub struct CanonicalRequest {
    text: Zeroizing<Vec<u8>>,
    signed_headers: String,
}

impl CanonicalRequest {
    /// `path` is encoded once here, and so twice if it is encoded already, which all services but
    /// S3 want. `query` is as it is sent.
    pub fn of(method: &Method, path: &str, query: &str, headers: &HeaderMap, body: &[u8]) -> Self {
        let mut names: Vec<&HeaderName> = headers.keys().collect();
        names.sort_by_key(|name| name.as_str());
        let signed_headers: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        let signed_headers = signed_headers.join(";");
        let headers_bytes: usize = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 2)
            .sum();
        // Room for all: the text holds the session token, and one that grows leaves copies behind.
        let mut text = Zeroizing::new(Vec::with_capacity(
            method.as_str().len()
                + 3 * (path.len() + query.len())
                + query.len() // `=` after names without one
                + headers_bytes
                + signed_headers.len()
                + 80, // line breaks and the hash
        ));
        text.extend_from_slice(method.as_str().as_bytes());
        text.push(b'\n');
        percent::encode(path.as_bytes(), b"/", &mut text);
        text.push(b'\n');
        text.extend_from_slice(&canonical_query(query));
        text.push(b'\n');
        for name in names {
            text.extend_from_slice(name.as_str().as_bytes());
            text.push(b':');
            for (index, value) in headers.get_all(name).iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                push_squeezed(value.as_bytes(), &mut text);
            }
            text.push(b'\n');
        }
        text.push(b'\n');
        text.extend_from_slice(signed_headers.as_bytes());
        text.push(b'\n');
        text.extend_from_slice(sha256(body).as_bytes());
        Self {
            text,
            signed_headers,
        }
    }

    /// The text, which holds the session token.
    pub fn expose(&self) -> &[u8] {
        &self.text
    }
}

impl fmt::Debug for CanonicalRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.signed_headers)
    }
}

/// Parameters in the order of their encoded names, then values.
fn canonical_query(query: &str) -> Vec<u8> {
    let encoded = |text: &str| {
        let mut encoded = Vec::new();
        percent::encode(text.as_bytes(), b"%", &mut encoded);
        encoded
    };
    let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
    let mut parameters: Vec<(Vec<u8>, Vec<u8>)> = parameters
        .map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (encoded(name), encoded(value))
        })
        .collect();
    parameters.sort();
    let parameters: Vec<Vec<u8>> = parameters
        .into_iter()
        .map(|(name, value)| [name, value].join(&b'='))
        .collect();
    parameters.join(&b'&')
}

/// Without blanks at the ends, and with one for several in between.
fn push_squeezed(value: &[u8], text: &mut Vec<u8>) {
    let words = value
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty());
    for (index, word) in words.enumerate() {
        if index > 0 {
            text.push(b' ');
        }
        text.extend_from_slice(word);
    }
}

pub fn string_to_sign(canonical: &CanonicalRequest, scope: Scope<'_>, now: Timestamp) -> String {
    let (instant, hash) = (basic_format(now), sha256(&canonical.text));
    let scope = credential_scope(scope, &instant);
    format!("{ALGORITHM}\n{instant}\n{scope}\n{hash}")
}

/// The value of the `authorization` header.
pub fn authorization(
    canonical: &CanonicalRequest,
    credentials: &Credentials,
    scope: Scope<'_>,
    now: Timestamp,
) -> Result<String, Unsignable> {
    let instant = basic_format(now);
    let key = signing_key(credentials, scope, date_of(&instant))?;
    let signature = hmac(&*key, &string_to_sign(canonical, scope, now))?;
    Ok(format!(
        "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={}",
        credentials.access_key_id.expose(),
        credential_scope(scope, &instant),
        canonical.signed_headers,
        hex(&*signature)
    ))
}

/// Each derived key is wiped once the next is there.
fn signing_key(
    credentials: &Credentials,
    scope: Scope<'_>,
    date: &str,
) -> Result<Zeroizing<[u8; 32]>, Unsignable> {
    let secret = credentials.secret_access_key.expose().as_bytes();
    let key = Zeroizing::new([&b"AWS4"[..], secret].concat());
    let mut key = hmac(&key, date)?;
    for part in [scope.region.as_str(), scope.service, TERMINATOR] {
        key = hmac(&*key, part)?;
    }
    Ok(key)
}

fn hmac(key: &[u8], text: &str) -> Result<Zeroizing<[u8; 32]>, Unsignable> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut tag = Zeroizing::new([0; 32]);
    hmac::sign_to_buffer(&key, text.as_bytes(), &mut *tag).map_err(|_| Unsignable::Cryptography)?;
    Ok(tag)
}

const TERMINATOR: &str = "aws4_request";

fn credential_scope(scope: Scope<'_>, instant: &str) -> String {
    let (date, Scope { region, service }) = (date_of(instant), scope);
    format!("{date}/{region}/{service}/{TERMINATOR}")
}

/// `20150830T123600Z`
fn basic_format(now: Timestamp) -> String {
    now.to_string().replace(['-', ':'], "")
}

fn date_of(instant: &str) -> &str {
    instant.split_once('T').map_or(instant, |(date, _)| date)
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Principal;
    use crate::secret::Secret;
    use proptest::prelude::*;

    fn credentials(session_token: Option<&str>) -> Credentials {
        Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned().into(),
            secret_access_key: Secret::from("CANARY".to_owned()),
            session_token: session_token.map(|token| Secret::from(token.to_owned())),
            expiry: None,
            account_id: None,
            role_arn: None,
            principal: Principal::Unknown,
        }
    }

    fn signed(uri: &str, credentials: &Credentials) -> Result<Request<Bytes>, Unsignable> {
        let region = Region::parse("us-east-1").unwrap();
        let scope = Scope {
            region: &region,
            service: "sts",
        };
        let mut request = Request::post(uri)
            .body(Bytes::from_static(b"Action=A"))
            .unwrap();
        let now = Timestamp::parse("2015-08-30T12:36:00Z").unwrap();
        sign(&mut request, credentials, scope, now)?;
        Ok(request)
    }

    #[test]
    fn a_port_is_a_part_of_the_signed_host() {
        let request = signed("http://127.0.0.1:4566", &credentials(None)).unwrap();
        assert_eq!(request.headers()[HOST], "127.0.0.1:4566");
        assert_eq!(request.headers()[DATE], "20150830T123600Z");
        assert!(!request.headers().contains_key(SECURITY_TOKEN));
    }

    #[test]
    fn a_printed_request_shows_neither_token_nor_signature() {
        let request = signed("https://example.com/", &credentials(Some("CANARY"))).unwrap();
        assert_eq!(request.headers()[SECURITY_TOKEN], "CANARY");
        let printed = format!("{:?}", request.headers());
        assert!(
            !printed.contains("CANARY") && !printed.contains("AKID"),
            "{printed}"
        );
    }

    #[test]
    fn what_cannot_be_signed_is_an_error_that_shows_nothing() {
        let problem = signed("https://example.com/", &credentials(Some("a\nCANARY"))).unwrap_err();
        assert_eq!(problem, Unsignable::Credentials);
        assert!(!problem.to_string().contains("CANARY"));
        assert_eq!(
            signed("/", &credentials(None)).unwrap_err(),
            Unsignable::Host
        );
    }

    #[test]
    fn signing_anew_replaces_what_was_signed_before() {
        let mut request = signed("https://example.com/", &credentials(Some("old"))).unwrap();
        let region = Region::parse("us-east-1").unwrap();
        let scope = Scope {
            region: &region,
            service: "sts",
        };
        let now = Timestamp::parse("2015-08-30T12:36:00Z").unwrap();
        sign(&mut request, &credentials(None), scope, now).unwrap();
        let fresh = signed("https://example.com/", &credentials(None)).unwrap();
        assert_eq!(request.headers(), fresh.headers());
    }

    proptest! {
        #[test]
        fn the_canonical_text_never_outgrows_its_room(
            path in "(/[a-z%é ]{0,9}){0,5}", query in "[a-z&=é%+]{0,40}", token in "[ -~]{0,99}",
        ) {
            let mut headers = HeaderMap::new();
            headers.append("a", HeaderValue::try_from(token.clone()).unwrap());
            headers.append("a", HeaderValue::try_from(token).unwrap());
            let canonical = CanonicalRequest::of(&Method::POST, &path, &query, &headers, b"");
            // Nothing but the first reservation was ever made.
            let room = 4 + 3 * (path.len() + query.len()) + query.len() + 1 + 80
                + headers.values().map(|value| value.len() + 3).sum::<usize>();
            prop_assert!(canonical.text.capacity() <= room, "{} > {room}", canonical.text.capacity());
        }

        #[test]
        fn a_normalized_path_stays_as_it_is(path in "(/|[a-c.%]){0,30}") {
            let once = normalized(&path);
            prop_assert!(once.starts_with('/') && !once.contains("//"));
            prop_assert_eq!(normalized(&once), once);
        }
    }
}
