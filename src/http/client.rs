//! Requests over TCP and TLS: resolve once, check every address, connect, exchange; or the same
//! with a proxy, and through it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::{Request, Uri};
use tokio::net::TcpStream;

use super::exchange::exchange;
use super::proxy::{Proxies, Proxy};
use super::stream::Stream;
use super::target::Target;
use super::tls::{Roots, Tls};
use super::tunnel::tunnel;
use super::{HttpError, Limits, Response, Route, Sending, Stage, Transport};
use crate::clock::{SharedClock, timeout};

/// The addresses that this process serves, and never asks.
#[derive(Debug, Clone, Default)]
pub struct OwnAddresses(Arc<Mutex<Vec<SocketAddr>>>);

impl<T: Into<Vec<SocketAddr>>> From<T> for OwnAddresses {
    fn from(addresses: T) -> Self {
        Self(Arc::new(Mutex::new(addresses.into())))
    }
}

impl OwnAddresses {
    /// From now on these are the ones.
    pub fn replace(&self, addresses: Vec<SocketAddr>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    fn contains(&self, address: &SocketAddr) -> bool {
        let own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        own.contains(address)
    }
}

/// The network.
#[derive(Debug)]
pub struct Client {
    clock: SharedClock,
    own: OwnAddresses,
    tls: Tls,
    roots: Roots,
    proxies: Proxies,
}

impl Client {
    /// `own` are the addresses that credd serves, and never asks. Without proxies.
    pub fn new(clock: SharedClock, own: impl Into<OwnAddresses>, roots: Roots) -> Self {
        Self {
            clock,
            own: own.into(),
            tls: Tls::default(),
            roots,
            proxies: Proxies::default(),
        }
    }

    /// The same, by way of `proxies` where a route allows it.
    #[must_use]
    pub fn through(self, proxies: Proxies) -> Self {
        Self { proxies, ..self }
    }

    async fn run(
        &self,
        request: Request<Bytes>,
        limits: Limits,
        route: &Route,
    ) -> Result<Response, Stage> {
        let target = Target::parse(request.uri()).ok_or(Stage::Url)?;
        let proxy = if route.may_be_proxied {
            let proxy = self.proxies.towards(&target);
            proxy.map_err(|problem| Stage::ProxySetting(problem.to_owned()))?
        } else {
            None
        };
        let roots = match &route.ca_bundle {
            Some(path) => &Roots::File(path.clone()),
            None => &self.roots,
        };
        if let Some(proxy) = proxy {
            let outcome = Box::pin(self.through_proxy(proxy, &target, limits)).await;
            let tunnel = outcome.map_err(|stage| {
                let asked = proxy.target.to_string();
                Stage::Proxy(Box::new(HttpError { asked, stage }))
            })?;
            return self.ask(tunnel, &target, roots, request, limits).await;
        }
        let is_allowed = |address| target.is_https || (limits.plain)(address);
        let stream = self.reach(&target, limits, is_allowed).await?;
        self.ask(stream, &target, roots, request, limits).await
    }

    /// A connection to one of the target's addresses, all of which are allowed and none ours.
    async fn reach(
        &self,
        target: &Target,
        limits: Limits,
        is_allowed: impl Fn(IpAddr) -> bool,
    ) -> Result<Stream, Stage> {
        let addresses = target.resolve().await.map_err(Stage::Resolve)?;
        // All of them are checked before any is asked, and what was checked is what is asked: a
        // name that answers differently the second time gains nothing.
        for address in &addresses {
            if !is_allowed(address.ip().to_canonical()) {
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
                    return Ok(Box::new(stream));
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = std::io::ErrorKind::TimedOut.into(),
            }
        }
        Err(Stage::Connect(last))
    }

    /// A tunnel to `target`, whose name is not looked up here.
    async fn through_proxy(
        &self,
        proxy: &Proxy,
        target: &Target,
        limits: Limits,
    ) -> Result<Stream, Stage> {
        let stream = self.reach(&proxy.target, limits, |_| true).await?;
        if !proxy.target.is_https {
            return tunnel(&*self.clock, stream, proxy, target, limits).await;
        }
        // Whom a profile trusts is meant for AWS, not for the proxy.
        let stream = self.secure(stream, &proxy.target, &self.roots, limits);
        tunnel(&*self.clock, stream.await?, proxy, target, limits).await
    }

    async fn secure(
        &self,
        stream: Stream,
        target: &Target,
        roots: &Roots,
        limits: Limits,
    ) -> Result<Stream, Stage> {
        let handshake = self.tls.connect(roots, &target.host, stream);
        timeout(&*self.clock, limits.connect, handshake)
            .await
            .map_err(|_| Stage::Deadline("finish the TLS handshake"))?
    }

    async fn ask(
        &self,
        stream: Stream,
        target: &Target,
        roots: &Roots,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response, Stage> {
        if !target.is_https {
            return exchange(&*self.clock, stream, request, limits).await;
        }
        let stream = self.secure(stream, target, roots, limits).await?;
        let response = exchange(&*self.clock, stream, request, limits).await?;
        Ok(Response {
            is_verified_tls: true,
            ..response
        })
    }
}

impl Transport for Client {
    fn send(&self, request: Request<Bytes>, limits: Limits, route: Route) -> Sending<'_> {
        Box::pin(async move {
            let asked = asked(request.uri());
            let run = self.run(request, limits, &route);
            timeout(&*self.clock, limits.total, run)
                .await
                .unwrap_or(Err(Stage::Deadline("finish its answer")))
                .map_err(|stage| HttpError { asked, stage })
        })
    }
}

/// Scheme and authority, as written.
fn asked(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("");
    let host = uri.host().unwrap_or("");
    let port = uri
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    format!("{scheme}://{host}{port}")
}
