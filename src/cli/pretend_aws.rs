//! A pretend AWS for the demo: instance metadata and STS, with short-lived, obviously fake
//! credentials.
//!
//! | route | answers |
//! |---|---|
//! | `PUT /latest/api/token` | a session token |
//! | `GET /latest/meta-data/iam/security-credentials-extended/` | the role's name |
//! | `GET /latest/meta-data/iam/security-credentials-extended/demo-role` | its credentials |
//! | `POST /` | STS: a session for any MFA code, any role for a session |

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};

use crate::clock::{SharedClock, Timestamp};
use crate::serve::{Body, Endpoint, Peer, Responding};

/// Short, so that a refresh can be watched.
pub(super) const LIFETIME: Duration = Duration::from_secs(40);

/// A successor is there this long before the end, as EC2 has one minutes before.
const OVERLAP: Duration = Duration::from_secs(20);

const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const ROLES: &str = "/latest/meta-data/iam/security-credentials-extended/";
const ROLE: &str = "demo-role";

/// Of sessions that an MFA code makes: one can be watched as it ends, too.
const SESSION: Duration = Duration::from_mins(5);

/// Of roles that are assumed.
const ASSUMED: Duration = Duration::from_secs(90);

/// Of a question to STS.
const FORM_BYTES: usize = 16 * 1024;

const CALLER: &str = "<GetCallerIdentityResponse><GetCallerIdentityResult>\
    <Arn>arn:aws:sts::000000000000:assumed-role/demo-role/demo</Arn>\
    <UserId>AROADEMO:demo</UserId><Account>000000000000</Account>\
    </GetCallerIdentityResult></GetCallerIdentityResponse>";

const DENIED: &str = "<ErrorResponse><Error><Code>AccessDenied</Code>\
    <Message>the pretend AWS knows no more than it has to</Message></Error></ErrorResponse>";

#[derive(Debug)]
pub(super) struct PretendAws {
    clock: SharedClock,
    began: Timestamp,
    minted: AtomicU32,
}

impl PretendAws {
    pub(super) fn new(clock: SharedClock) -> Self {
        let began = clock.now();
        Self {
            clock,
            began,
            minted: AtomicU32::new(0),
        }
    }

    async fn sts(&self, body: Incoming) -> (StatusCode, String) {
        let form = Limited::new(body, FORM_BYTES).collect().await;
        let form = form.map(Collected::to_bytes).unwrap_or_default();
        let form = String::from_utf8_lossy(&form);
        let has = |parameter: &str| form.split('&').any(|it| it.starts_with(parameter));
        if has("Action=AssumeRole") {
            return (StatusCode::OK, self.minted("AssumeRole", ASSUMED));
        }
        if has("Action=GetCallerIdentity") {
            return (StatusCode::OK, CALLER.to_owned());
        }
        if has("Action=GetSessionToken") && has("TokenCode=") {
            return (StatusCode::OK, self.minted("GetSessionToken", SESSION));
        }
        (StatusCode::FORBIDDEN, DENIED.to_owned())
    }

    fn minted(&self, action: &str, lifetime: Duration) -> String {
        let number = self.minted.fetch_add(1, Ordering::Relaxed) + 1;
        let expiry = self.clock.now().plus(lifetime);
        format!(
            "<{action}Response><{action}Result><Credentials>\
             <AccessKeyId>ASIADEMO{number:012}</AccessKeyId>\
             <SecretAccessKey>demo/not/a/real/secret/{number}</SecretAccessKey>\
             <SessionToken>demo-not-a-real-session-token-{number}</SessionToken>\
             <Expiration>{expiry}</Expiration>\
             </Credentials></{action}Result></{action}Response>"
        )
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
    fn respond(self: Arc<Self>, request: Request<Incoming>, _peer: Arc<Peer>) -> Responding {
        Box::pin(async move { self.answer(request).await })
    }
}

impl PretendAws {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let is_with_token = request.headers().contains_key(TOKEN_HEADER);
        let (status, body) = match (request.method(), request.uri().path()) {
            (&Method::PUT, "/latest/api/token") => (StatusCode::OK, "demo-token".to_owned()),
            (&Method::GET, _) if !is_with_token => (StatusCode::UNAUTHORIZED, String::new()),
            (&Method::GET, ROLES) => (StatusCode::OK, ROLE.to_owned()),
            (&Method::GET, path) if path.strip_prefix(ROLES) == Some(ROLE) => {
                (StatusCode::OK, self.credentials())
            }
            (&Method::POST, "/") => self.sts(request.into_body()).await,
            _ => (StatusCode::NOT_FOUND, String::new()),
        };
        let mut response = Response::new(Either::Left(Full::new(Bytes::from(body))));
        *response.status_mut() = status;
        response
    }
}
