//! A client that signs what it sends, or pretends to.

use std::net::SocketAddr;

use credd::clock::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::fake_aws::signature::{Signable, Signature, compact};
use crate::support::fake_aws::{FakeAws, Reply};

/// Signs, rightly or not.
#[derive(Clone)]
pub(super) struct Signer {
    pub(super) key: String,
    pub(super) secret: String,
    pub(super) token: Option<String>,
    pub(super) time: Timestamp,
    pub(super) date: &'static str,
    pub(super) region: &'static str,
    pub(super) service: &'static str,
    pub(super) signed_headers: Vec<&'static str>,
    /// The body is another than what was signed.
    pub(super) is_tampered: bool,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn element(&self, name: &str) -> String {
        Reply::text(self.body.clone()).element(name)
    }

    #[track_caller]
    pub(super) fn is(&self, status: u16, code: &str, message: &str) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.element("Code"), code, "{}", self.body);
        assert!(self.element("Message").contains(message), "{}", self.body);
    }
}

pub(super) async fn ask(aws: &FakeAws, signer: &Signer, parameters: &[(&str, &str)]) -> Answer {
    let Signer {
        key,
        secret,
        token,
        time,
        date,
        region,
        service,
        signed_headers,
        is_tampered,
    } = signer;
    let mut body = form(parameters);
    let time = compact(*time);
    let mut headers = vec![("X-Amz-Date".to_owned(), time.clone())];
    let mut names = signed_headers.clone();
    if let Some(token) = token {
        headers.push(("X-Amz-Security-Token".to_owned(), token.clone()));
        names.push("x-amz-security-token");
    }
    let names = names.join(";");
    let start = format!(
        "AWS4-HMAC-SHA256 Credential={key}/{date}/{region}/{service}/aws4_request, \
         SignedHeaders={names}, Signature="
    );
    let every = [fixed_headers(aws.address), headers.clone()].concat();
    let request = Signable {
        method: "POST",
        path: "/",
        headers: &every,
        body: body.as_bytes(),
    };
    let signature = Signature::parse(&start).unwrap().by(secret, &time, request);
    let signature = signature.unwrap_or_default();
    headers.push(("Authorization".to_owned(), start + &signature));
    if *is_tampered {
        body.push_str("&Policy=x");
    }
    post(aws, &headers, &body).await
}

fn fixed_headers(address: SocketAddr) -> Vec<(String, String)> {
    let kind = "application/x-www-form-urlencoded; charset=utf-8";
    vec![
        ("Host".to_owned(), address.to_string()),
        ("Content-Type".to_owned(), kind.to_owned()),
    ]
}

pub(super) async fn post(aws: &FakeAws, headers: &[(String, String)], body: &str) -> Answer {
    let headers = [&fixed_headers(aws.address)[..], headers].concat();
    let headers = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let headers: String = headers.collect();
    let length = body.len();
    let request = format!("POST / HTTP/1.1\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    let mut stream = TcpStream::connect(aws.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Answer {
        status: head.split(' ').nth(1).unwrap_or("0").parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// With `Version`, and everything escaped that may be.
pub(super) fn form(parameters: &[(&str, &str)]) -> String {
    let escaped = |text: &str| {
        text.bytes()
            .fold(String::new(), |text, byte| format!("{text}%{byte:02X}"))
    };
    let parameters = parameters
        .iter()
        .chain(&[("Version", "2011-06-15")])
        .map(|(name, value)| format!("{name}={}", escaped(value)));
    parameters.collect::<Vec<_>>().join("&")
}
