//! A socket that closes, by a reload or at the end: who has connected is answered, whether or not
//! credd has taken the connection yet.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use credd::authz::ListenerName;
use credd::clock::SystemClock;
use credd::serve::{
    Access, Connections, Endpoint, Limits, Listener, Peer, Refusal, Responding, Witness,
};
use tokio::sync::watch;

use crate::serving::wire::{Wire, receive};
use crate::support::patience::run;

/// As many as hardly ever come between two rounds of the loop.
const WAITING: usize = 100;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Answers whatever it is asked.
struct Same;

impl Endpoint for Same {
    fn respond(
        self: Arc<Self>,
        _: hyper::Request<hyper::body::Incoming>,
        _: Arc<Peer>,
    ) -> Responding {
        Box::pin(async { Refusal::too_many().into_response() })
    }
}

/// Closes `listener` before a single connection is taken from it.
async fn close(listener: Listener) {
    let clock = Arc::new(SystemClock::new());
    let connections = Connections::new(clock, Limits::default(), Witness::default());
    let (stop, stopped) = watch::channel(false);
    drop(stop);
    let name = ListenerName::http();
    credd::serve::serve(
        Arc::new(listener),
        name,
        Arc::new(Same),
        connections.into(),
        stopped,
    )
    .await;
}

/// Connects, and asks.
fn asked<S: Wire>(connect: impl Fn() -> S) -> Vec<S> {
    let asked = (0..WAITING).map(|_| {
        let mut stream = connect();
        stream.write_all(REQUEST).unwrap();
        stream
    });
    asked.collect()
}

#[track_caller]
fn are_answered(asked: Vec<impl Wire>) {
    for mut stream in asked {
        assert_eq!(receive(&mut stream, true).unwrap().status, 429);
    }
}

#[test]
fn whoever_waits_at_a_socket_that_closes_is_answered() {
    run(async || {
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).await;
        let listener = listener.unwrap();
        let address = listener.tcp_address().unwrap();
        let waiting = asked(|| TcpStream::connect(address).unwrap());
        close(listener).await;
        are_answered(waiting);
        TcpStream::connect(address).unwrap_err();

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = Listener::unix(&path, Access::PRIVATE).unwrap();
        let waiting = asked(|| UnixStream::connect(&path).unwrap());
        close(listener).await;
        are_answered(waiting);
        assert!(!path.exists());
    });
}

/// The next run answers them, whoever starts it.
#[test]
fn whoever_waits_at_a_socket_that_somebody_else_holds_goes_on_waiting() {
    run(async || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let held = std::os::unix::net::UnixListener::bind(&path).unwrap();
        held.set_nonblocking(true).unwrap();
        let waiting = asked(|| UnixStream::connect(&path).unwrap());
        close(Listener::inherited_unix(&held).unwrap()).await;
        waits_at(|| held.accept().unwrap().0, waiting.len());
        UnixStream::connect(&path).unwrap();

        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        held.set_nonblocking(true).unwrap();
        let waiting = asked(|| TcpStream::connect(held.local_addr().unwrap()).unwrap());
        close(Listener::inherited_tcp(&held).unwrap()).await;
        waits_at(|| held.accept().unwrap().0, waiting.len());
    });
}

#[track_caller]
fn waits_at<S: Wire>(accept: impl Fn() -> S, count: usize) {
    for _ in 0..count {
        let mut stream = accept();
        let mut request = [0; REQUEST.len()];
        stream.within(std::time::Duration::from_secs(10));
        stream.read_exact(&mut request).unwrap();
        assert_eq!(request, REQUEST);
    }
}
