//! Answers that are not credentials: what the caller is told, which is less than the log is.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONNECTION, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::{Body, whole};
use crate::audit::RequestId;
use crate::authz::{Denial, Reason};
use crate::credentials::{CODE_RETRY, Failure};

/// A typed error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    /// Go SDKs decide on it whether to retry.
    pub code: &'static str,
    pub message: Cow<'static, str>,
    /// That the audit log has a line on it, by which an operator finds out more.
    pub request: Option<RequestId>,
}

/// The header that AWS services name a request in.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

impl Refusal {
    pub fn forbidden(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            code,
            message: message.into(),
            request: None,
        }
    }

    pub fn not_found(message: &'static str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            code: "NotFound",
            message: message.into(),
            request: None,
        }
    }

    /// The first attempt, or one that may soon succeed, takes longer than a request may wait.
    pub fn warming() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: CODE_RETRY,
            message: "credentials are not available yet; credd is obtaining them, so ask again"
                .into(),
            request: None,
        }
    }

    /// One caller takes up more than its share.
    pub fn too_many() -> Self {
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            code: CODE_RETRY,
            message: "too many connections or requests of this user at once; ask again later, or \
                      raise [serve.limits] in credd's config"
                .into(),
            request: None,
        }
    }

    /// The error body with its names in both casings: Go and Java read the lower one, JavaScript
    /// the upper.
    fn body(&self) -> String {
        let body = serde_json::json!({
            "code": self.code,
            "message": self.message,
            "Code": self.code,
            "Message": self.message,
        });
        body.to_string()
    }

    pub fn into_response(self) -> Response<Body> {
        let mut response = whole(self.status, Bytes::from(self.body()));
        let may_pass = [
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::TOO_MANY_REQUESTS,
        ];
        if may_pass.contains(&self.status) {
            let seconds = RETRY_IN.as_secs();
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        let request = self.request.map(|it| HeaderValue::try_from(it.to_string()));
        if let Some(Ok(request)) = request {
            response.headers_mut().insert(REQUEST_ID, request);
        }
        let from_strangers = [
            StatusCode::BAD_REQUEST,
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
        ];
        if from_strangers.contains(&self.status) {
            // A stranger does not get to keep one of the places that connections have, and what
            // may follow a request that was refused is not read.
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The whole answer as it goes over the wire, to a client whose request nobody reads.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let (status, body) = (self.status, self.body());
        let mut bytes = format!("HTTP/1.1 {status}\r\n").into_bytes();
        for (name, value) in self.into_response().headers() {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        let length = body.len();
        let end = format!("connection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        bytes.extend(end.into_bytes());
        bytes
    }
}

/// Told to clients that credd itself could not serve in time.
const RETRY_IN: Duration = Duration::from_secs(1);

impl From<&Failure> for Refusal {
    fn from(failure: &Failure) -> Self {
        let status = if failure.class.may_pass() {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            // Stops the SDKs that look at the status; never 401, which none treats specially.
            StatusCode::FORBIDDEN
        };
        Self {
            status,
            code: failure.code,
            message: failure.advice.clone(),
            request: None,
        }
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        let forbidden = |message: &'static str| Self::forbidden("AccessDenied", message);
        let not_found = |code: &'static str, message: &'static str| Self {
            status: StatusCode::NOT_FOUND,
            code,
            message: message.into(),
            request: None,
        };
        match denial.reason {
            Reason::Stranger => forbidden(
                "credd's config has no rule that admits this program; who is denied, and which \
                 rule came nearest, is in credd's log",
            ),
            Reason::CallerGone => forbidden(
                "the process that made this connection has ended; connect from the one that asks",
            ),
            Reason::NoToken => forbidden(
                "a token is needed: set AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE to credd's token \
                 file, which `credd env` prints",
            ),
            Reason::UnknownToken => forbidden(
                "the token is not valid, or no longer; read it from credd's token file, which \
                 `credd env` prints",
            ),
            Reason::OtherIdentity => {
                forbidden("no rule of credd's config opens this identity to this program")
            }
            Reason::NoIdentityNamed => not_found(
                "IdentityRequired",
                "there are several identities; name one: /v1/credentials/<identity>",
            ),
            Reason::UnknownIdentity => not_found(
                "IdentityNotFound",
                "credd keeps no identity of this name; `credd status` lists them",
            ),
        }
    }
}
