//! A pretend instance metadata service for the demo: short-lived, obviously fake credentials.
//!
//! | route | answers |
//! |---|---|
//! | `PUT /latest/api/token` | a session token |
//! | `GET /latest/meta-data/iam/security-credentials-extended/` | the role's name |
//! | `GET /latest/meta-data/iam/security-credentials-extended/demo-role` | its credentials |

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};

use crate::authz::Caller;
use crate::clock::{SharedClock, Timestamp};
use crate::serve::{Body, Endpoint};

/// Short, so that a refresh can be watched.
pub(super) const LIFETIME: Duration = Duration::from_secs(40);

/// A successor is there this long before the end, as EC2 has one minutes before.
const OVERLAP: Duration = Duration::from_secs(20);

const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const ROLES: &str = "/latest/meta-data/iam/security-credentials-extended/";
const ROLE: &str = "demo-role";

#[derive(Debug)]
pub(super) struct PretendAws {
    clock: SharedClock,
    began: Timestamp,
}

impl PretendAws {
    pub(super) fn new(clock: SharedClock) -> Self {
        let began = clock.now();
        Self { clock, began }
    }

    fn credentials(&self) -> String {
        let each = LIFETIME.saturating_sub(OVERLAP);
        let passed = self.began.until(self.clock.now());
        let past = u32::try_from(passed.as_secs() / each.as_secs()).unwrap_or(u32::MAX);
        let issued = self.began.plus(each.saturating_mul(past));
        let number = u64::from(past) + 1;
        serde_json::json!({
            "Code": "Success",
            "Type": "AWS-HMAC",
            "LastUpdated": issued.to_string(),
            "AccessKeyId": format!("ASIADEMO{number:012}"),
            "SecretAccessKey": format!("demo/not/a/real/secret/{number}"),
            "Token": format!("demo-not-a-real-session-token-{number}"),
            "Expiration": issued.plus(LIFETIME).to_string(),
            "AccountId": "000000000000",
        })
        .to_string()
    }
}

impl Endpoint for PretendAws {
    async fn respond(&self, request: Request<Incoming>, _caller: Caller) -> Response<Body> {
        let is_with_token = request.headers().contains_key(TOKEN_HEADER);
        let (status, body) = match (request.method(), request.uri().path()) {
            (&Method::PUT, "/latest/api/token") => (StatusCode::OK, "demo-token".to_owned()),
            (&Method::GET, _) if !is_with_token => (StatusCode::UNAUTHORIZED, String::new()),
            (&Method::GET, ROLES) => (StatusCode::OK, ROLE.to_owned()),
            (&Method::GET, path) if path.strip_prefix(ROLES) == Some(ROLE) => {
                (StatusCode::OK, self.credentials())
            }
            _ => (StatusCode::NOT_FOUND, String::new()),
        };
        let mut response = Response::new(Either::Left(Full::new(Bytes::from(body))));
        *response.status_mut() = status;
        response
    }
}
