//! The connections of the fake AWS: one request each, answered as its reply says.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::reply::Flow;
use super::{Seen, World};

pub(super) async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    world: Arc<Mutex<World>>,
    resumed: watch::Sender<u64>,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (world, resumed) = (Arc::clone(&world), resumed.subscribe());
        let acceptor = acceptor.clone();
        connections.spawn(async move {
            match acceptor {
                None => converse(stream, &world, resumed).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        converse(stream, &world, resumed).await;
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// One request, one answer.
async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    world: &Mutex<World>,
    mut resumed: watch::Receiver<u64>,
) {
    let Some(seen) = request(&mut stream).await else {
        return;
    };
    let reply = world.lock().unwrap().reply(seen);
    let bytes = reply.bytes();
    // Whether the other end still listens is its own affair.
    match reply.flow {
        Flow::Whole => drop(stream.write_all(&bytes).await),
        Flow::Cut(length) => drop(stream.write_all(&bytes[..length]).await),
        Flow::Pause(length) => {
            let (before, after) = bytes.split_at(length);
            let _ = stream.write_all(before).await;
            let _ = stream.flush().await;
            resumed.mark_unchanged();
            world.lock().unwrap().pauses += 1;
            let _ = resumed.changed().await;
            let _ = stream.write_all(after).await;
        }
        Flow::EndlessHead => {
            let _ = stream.write_all(b"HTTP/1.1 200 Whatever\r\nX: ").await;
            while stream.write_all(&[b'x'; 1000]).await.is_ok() {}
        }
        Flow::EndlessBody => {
            let _ = stream.write_all(&reply.until_close().head()).await;
            while stream.write_all(&[b' '; 1000]).await.is_ok() {}
        }
    }
    let _ = stream.shutdown().await;
}

/// More than any request that credd sends.
const LARGEST_BODY: usize = 1 << 20;

async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Some(0), |(_, value)| value.parse().ok())?;
    if length > LARGEST_BODY {
        return None;
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Seen::new(method, path, headers, body))
}
