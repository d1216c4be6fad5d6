//! A proxy that the tests own, which leads every tunnel to one place and may be told to misbehave.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

#[derive(Debug, Clone, Copy)]
pub(super) enum Manner {
    Tunnels,
    /// Unless this is the value of `Proxy-Authorization`.
    Demands(&'static str),
    Answers(&'static str),
    /// Reads the request and says nothing.
    Stalls,
    HangsUp,
    EndlessHead,
    /// Says that there is a tunnel, and lets nothing through.
    Swallows,
}

pub(super) struct Proxy {
    address: SocketAddr,
    /// The heads of all requests so far.
    seen: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Proxy {
    /// Leads to the port of `end` on this host, whatever host it is asked for.
    pub(super) async fn start(manner: Manner, end: u16, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::default();
        let mut serving = JoinSet::new();
        let heads = Arc::clone(&seen);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (heads, acceptor) = (Arc::clone(&heads), acceptor.clone());
                connections.spawn(async move {
                    match acceptor {
                        None => converse(stream, manner, end, &heads).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                converse(stream, manner, end, &heads).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            seen,
            _serving: serving,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    manner: Manner,
    end: u16,
    heads: &Mutex<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    heads.lock().unwrap().push(head.clone());
    let answer = match manner {
        Manner::Tunnels | Manner::Swallows => "200 Connection established",
        Manner::Demands(value) => {
            let expected = format!("\r\nproxy-authorization: {value}\r\n");
            if head.contains(&expected) {
                "200 Connection established"
            } else {
                "407 Proxy Authentication Required"
            }
        }
        Manner::Answers(answer) => answer,
        Manner::Stalls => std::future::pending().await,
        Manner::HangsUp => return,
        Manner::EndlessHead => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await;
            while stream.write_all(&[b'x'; 1000]).await.is_ok() {}
            return;
        }
    };
    let head = format!("HTTP/1.1 {answer}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    if matches!(manner, Manner::Swallows) {
        std::future::pending::<()>().await;
    }
    if answer.starts_with("200") {
        let mut end = TcpStream::connect(("127.0.0.1", end)).await.unwrap();
        let _ = copy_bidirectional(&mut stream, &mut end).await;
    }
}
