//! What credd's own commands send: a small JSON object.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::{Refusal, Site};
use crate::clock::timeout;

/// An identity name, a token or a code, and their wrapping.
const BYTES: usize = 512;

/// It comes from this very host, in one packet with its head.
const TIME: Duration = Duration::from_secs(2);

pub(super) async fn read<T: DeserializeOwned>(site: &Site, body: Incoming) -> Result<T, Refusal> {
    let body = Limited::new(body, BYTES).collect();
    let Ok(Ok(body)) = timeout(&*site.clock, TIME, body).await else {
        return Err(malformed("the request is too long, too slow or broken off"));
    };
    serde_json::from_slice(&body.to_bytes())
        .map_err(|_| malformed("the request is not what `credd` of this version sends"))
}

pub(super) fn malformed(message: &'static str) -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        code: "MalformedRequest",
        message: message.into(),
        request: None,
    }
}
