//! One request and its answer over one connection, within limits.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use zeroize::Zeroizing;

use super::stream::Stream;
use super::{Limits, Response, Stage};
use crate::clock::{Clock, timeout};

/// Of the answer's head, all headers together. hyper's least is 8 KiB; the longest head an AWS
/// service sends is a fraction of that.
const HEAD_BYTES: usize = 16 * 1024;

/// Headers in an answer; hyper refuses more.
const HEADERS: usize = 64;

/// hyper's two ends of a connection: to ask with, and to keep going meanwhile.
pub(super) async fn handshake(
    stream: Stream,
) -> Result<
    (
        SendRequest<Full<Bytes>>,
        Connection<TokioIo<Stream>, Full<Bytes>>,
    ),
    Stage,
> {
    hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Stage::Exchange)
}

pub(super) async fn exchange(
    clock: &dyn Clock,
    stream: Stream,
    request: Request<Bytes>,
    limits: Limits,
) -> Result<Response, Stage> {
    let (mut sender, connection) = handshake(stream).await?;
    let began = clock.boot();
    let conversation = async {
        let answer = timeout(
            clock,
            limits.read,
            sender.send_request(in_origin_form(request)),
        )
        .await
        .map_err(|_| Stage::Deadline("answer"))?
        .map_err(Stage::Exchange)?;
        let (head, body) = answer.into_parts();
        let body = read_body(clock, body, limits).await?;
        Ok(Response {
            status: head.status,
            headers: head.headers,
            body,
            is_verified_tls: false,
            took: began.until(clock.boot()),
        })
    };
    tokio::pin!(conversation, connection);
    tokio::select! {
        outcome = &mut conversation => return outcome,
        // The connection may end with the answer still to be picked up.
        _ = &mut connection => {}
    }
    conversation.await
}

async fn read_body(
    clock: &dyn Clock,
    mut body: hyper::body::Incoming,
    limits: Limits,
) -> Result<Zeroizing<Vec<u8>>, Stage> {
    // Room for all that is read: a buffer that grows leaves unwiped copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limits.body_bytes));
    while let Some(frame) = timeout(clock, limits.read, body.frame())
        .await
        .map_err(|_| Stage::Deadline("go on with its answer"))?
    {
        let Ok(piece) = frame.map_err(Stage::Exchange)?.into_data() else {
            continue;
        };
        if piece.len() > limits.body_bytes - bytes.len() {
            return Err(Stage::BodyTooLarge(limits.body_bytes));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn in_origin_form(request: Request<Bytes>) -> Request<Full<Bytes>> {
    let (mut head, body) = request.into_parts();
    if let Some(host) = head
        .uri
        .authority()
        .and_then(|it| HeaderValue::from_str(it.as_str()).ok())
    {
        head.headers.insert(HOST, host);
    }
    head.headers
        .insert(CONNECTION, HeaderValue::from_static("close"));
    let agent = concat!("credd/", env!("CARGO_PKG_VERSION"));
    head.headers
        .insert(USER_AGENT, HeaderValue::from_static(agent));
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    Request::from_parts(head, Full::new(body))
}
