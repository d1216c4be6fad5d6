//! Signature Version 4 by AWS's page alone, so that what credd signs is judged by other code.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::fmt::Write as _;

use aws_lc_rs::{digest, hmac};
use credd::clock::Timestamp;

/// What an `Authorization` header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature {
    pub(super) key: String,
    /// `20261122`
    pub(super) date: String,
    pub(super) region: String,
    pub(super) service: String,
    signed_headers: Vec<String>,
    /// In hex.
    pub(super) value: String,
}

/// What a signature covers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signable<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) headers: &'a [(String, String)],
    pub(super) body: &'a [u8],
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

impl Signature {
    pub(super) fn parse(authorization: &str) -> Option<Self> {
        let fields = authorization.strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
        let fields: Vec<_> = fields.split(',').map(str::trim).collect();
        let field = |name: &str| fields.iter().find_map(|field| field.strip_prefix(name));
        let scope: Vec<_> = field("Credential=")?.split('/').collect();
        let [key, date, region, service, "aws4_request"] = scope.as_slice() else {
            return None;
        };
        let signed_headers = field("SignedHeaders=")?.split(';');
        Some(Self {
            key: (*key).to_owned(),
            date: (*date).to_owned(),
            region: (*region).to_owned(),
            service: (*service).to_owned(),
            signed_headers: signed_headers.map(str::to_owned).collect(),
            value: field("Signature=")?.to_owned(),
        })
    }

    pub(super) fn signs(&self, header: &str) -> bool {
        let mut headers = self.signed_headers.iter();
        headers.any(|it| it.eq_ignore_ascii_case(header))
    }

    /// What the signature should be, if `secret` made it and `time` is the request's; nothing if
    /// it lists headers that are not there, or not in order.
    pub(super) fn by(&self, secret: &str, time: &str, request: Signable<'_>) -> Option<String> {
        let canonical = self.canonical_request(request)?;
        let scope = format!(
            "{}/{}/{}/aws4_request",
            self.date, self.region, self.service
        );
        let digest = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in [
            self.date.as_str(),
            &self.region,
            &self.service,
            "aws4_request",
        ] {
            key = code(&key, part);
        }
        let text = format!("{ALGORITHM}\n{time}\n{scope}\n{digest}");
        Some(hex(&code(&key, &text)))
    }

    /// For paths that stand as they are, which `/` does.
    fn canonical_request(&self, request: Signable<'_>) -> Option<String> {
        let (path, query) = request.path.split_once('?').unwrap_or((request.path, ""));
        let mut parameters: Vec<_> = query.split('&').collect();
        parameters.sort_unstable();
        if !self.signed_headers.is_sorted() {
            return None;
        }
        let mut headers = String::new();
        for name in &self.signed_headers {
            let values: Vec<_> = request
                .headers
                .iter()
                .filter(|(it, _)| it.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            if values.is_empty() {
                return None;
            }
            writeln!(headers, "{}:{}", name.to_lowercase(), values.join(",")).ok()?;
        }
        Some(format!(
            "{}\n{path}\n{}\n{headers}\n{}\n{}",
            request.method,
            parameters.join("&"),
            self.signed_headers.join(";"),
            hex(digest::digest(&digest::SHA256, request.body).as_ref()),
        ))
    }
}

/// `20261122T093000Z`
pub(super) fn compact(instant: Timestamp) -> String {
    instant.to_string().replace(['-', ':'], "")
}

pub(super) fn from_compact(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let part = |text: &str, start: usize, end: usize| Some(text.get(start..end)?.to_owned());
    let date = [part(date, 0, 4)?, part(date, 4, 6)?, part(date, 6, 8)?].join("-");
    let time = [part(time, 0, 2)?, part(time, 2, 4)?, part(time, 4, 6)?].join(":");
    let instant = Timestamp::parse(&format!("{date}T{time}Z"))?;
    (compact(instant) == text).then_some(instant)
}

fn code(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[test]
fn the_example_of_awss_page_has_the_signature_that_the_page_gives() {
    // https://docs.aws.amazon.com/general/latest/gr/sigv4_signing.html, as it was until 2022.
    let given = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
    let signature = Signature::parse(&format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date, Signature={given}"
    ));
    let headers = [
        ("Host", "iam.amazonaws.com"),
        (
            "Content-Type",
            "application/x-www-form-urlencoded; charset=utf-8",
        ),
        ("X-Amz-Date", "20150830T123600Z"),
    ];
    let request = Signable {
        method: "GET",
        path: "/?Version=2010-05-08&Action=ListUsers",
        headers: &headers.map(|(name, value)| (name.to_owned(), value.to_owned())),
        body: b"",
    };
    let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    let found = signature.unwrap().by(secret, "20150830T123600Z", request);
    assert_eq!(found.as_deref(), Some(given));
}
