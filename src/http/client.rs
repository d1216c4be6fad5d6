//! Requests over TCP and TLS: resolve once, check every address, connect, exchange.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use hyper::{Request, Uri};
use tokio::net::TcpStream;

use super::exchange::exchange;
use super::tls::{Roots, Tls};
use super::{HttpError, Limits, Response, Sending, Stage, Transport};
use crate::clock::{SharedClock, timeout};

/// The network.
#[derive(Debug)]
pub struct Client {
    clock: SharedClock,
    own: Arc<[SocketAddr]>,
    tls: Tls,
}

impl Client {
    /// `own` are the addresses that credd serves, and never asks.
    pub fn new(clock: SharedClock, own: impl Into<Arc<[SocketAddr]>>, roots: Roots) -> Self {
        Self {
            clock,
            own: own.into(),
            tls: Tls::new(roots),
        }
    }

    async fn run(&self, request: Request<Bytes>, limits: Limits) -> Result<Response, Stage> {
        let target = Target::parse(request.uri()).ok_or(Stage::Url)?;
        let addresses = target.resolve().await.map_err(Stage::Resolve)?;
        // All of them are checked before any is asked, and what was checked is what is asked: a
        // name that answers differently the second time gains nothing.
        for address in &addresses {
            if !target.is_https && !(limits.plain)(address.ip().to_canonical()) {
                return Err(Stage::NotAllowed(*address));
            }
        }
        let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match timeout(&*self.clock, limits.connect, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Asked of the connection: 0.0.0.0 and IPv6 forms lead to 127.0.0.1 too.
                    let peer = stream.peer_addr().map_err(Stage::Connect)?;
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    if self.own.contains(&peer) {
                        return Err(Stage::OwnEndpoint(peer));
                    }
                    return self.ask(stream, &target, request, limits).await;
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = std::io::ErrorKind::TimedOut.into(),
            }
        }
        Err(Stage::Connect(last))
    }

    async fn ask(
        &self,
        stream: TcpStream,
        target: &Target,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response, Stage> {
        if !target.is_https {
            return exchange(&*self.clock, stream, request, limits).await;
        }
        let handshake = self.tls.connect(&target.host, stream);
        let stream = timeout(&*self.clock, limits.connect, handshake)
            .await
            .map_err(|_| Stage::Deadline("finish the TLS handshake"))??;
        exchange(&*self.clock, stream, request, limits).await
    }
}

impl Transport for Client {
    fn send(&self, request: Request<Bytes>, limits: Limits) -> Sending<'_> {
        Box::pin(async move {
            let asked = asked(request.uri());
            timeout(&*self.clock, limits.total, self.run(request, limits))
                .await
                .unwrap_or(Err(Stage::Deadline("finish its answer")))
                .map_err(|stage| HttpError { asked, stage })
        })
    }
}

/// Scheme and authority.
fn asked(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("");
    let host = uri.host().unwrap_or("");
    let port = uri
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    format!("{scheme}://{host}{port}")
}

struct Target {
    is_https: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

impl Target {
    fn parse(uri: &Uri) -> Option<Self> {
        let is_https = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let host = uri.host().filter(|host| !host.is_empty())?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        Some(Self {
            is_https,
            host: host.to_owned(),
            port,
        })
    }

    async fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        Ok(tokio::net::lookup_host((self.host.as_str(), self.port))
            .await?
            .collect())
    }
}
