//! A tunnel through a proxy: CONNECT, RFC 9110 section 9.3.6.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{HOST, PROXY_AUTHORIZATION};
use hyper_util::rt::TokioIo;

use super::exchange::handshake;
use super::proxy::Proxy;
use super::stream::Stream;
use super::target::Target;
use super::{Limits, Stage};
use crate::clock::{Clock, timeout};

/// Asks `proxy`, at the other end of `stream`, for a way to `target`, whose name it looks up
/// itself. What it says besides its status is passed over: it is not AWS that speaks.
pub(super) async fn tunnel(
    clock: &dyn Clock,
    stream: Stream,
    proxy: &Proxy,
    target: &Target,
    limits: Limits,
) -> Result<Stream, Stage> {
    let authority = target.authority();
    let mut request = Request::connect(&authority).header(HOST, &authority);
    if let Some(authorization) = &proxy.authorization {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    let request = request
        .body(Full::new(Bytes::new()))
        .map_err(|_| Stage::Url)?;
    let (mut sender, connection) = handshake(stream).await?;
    let conversation = async {
        let answer = timeout(clock, limits.read, sender.send_request(request))
            .await
            .map_err(|_| Stage::Deadline("answer"))?
            .map_err(Stage::Exchange)?;
        if !answer.status().is_success() {
            return Err(Stage::NoTunnel(answer.status()));
        }
        let tunnel = hyper::upgrade::on(answer).await.map_err(Stage::Exchange)?;
        Ok(Box::new(TokioIo::new(tunnel)) as Stream)
    };
    let connection = connection.with_upgrades();
    tokio::pin!(conversation, connection);
    tokio::select! {
        outcome = &mut conversation => return outcome,
        // It hands the tunnel over and ends, with that still to be picked up.
        _ = &mut connection => {}
    }
    conversation.await
}
