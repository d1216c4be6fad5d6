//! Clients that go on asking, whatever is reloaded beside them.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::serving::program::Place;
use crate::serving::wire::{Wire, exchange};

/// Between two requests of one client: together they stay far below what one user may ask.
const PAUSE: Duration = Duration::from_millis(1);

/// Clients of each kind, until this is dropped.
pub(super) struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    answered: AtomicU64,
    failed: std::sync::Mutex<Vec<String>>,
}

/// One way to ask.
#[derive(Clone)]
struct Way {
    address: SocketAddr,
    token: String,
    socket: PathBuf,
    identity: String,
}

impl Clients {
    /// That ask for `identity`, which they get from now on.
    pub(super) fn of(place: &Place, identity: &str) -> Self {
        let way = Way {
            address: place.address(),
            token: place.token(),
            socket: place.socket(),
            identity: identity.to_owned(),
        };
        let shared = Arc::new(Shared::default());
        let kinds: [fn(&Way, &Shared); 4] = [
            |way, shared| shared.go_on(&mut TcpStream::connect(way.address).unwrap(), way),
            |way, shared| shared.go_on(&mut UnixStream::connect(&way.socket).unwrap(), way),
            |way, shared| shared.anew(|| TcpStream::connect(way.address), way),
            |way, shared| shared.anew(|| UnixStream::connect(&way.socket), way),
        ];
        let threads = kinds.map(|kind| {
            let (way, shared) = (way.clone(), Arc::clone(&shared));
            thread::spawn(move || kind(&way, &shared))
        });
        Self {
            shared,
            threads: threads.into(),
        }
    }

    /// How many requests were answered with credentials, and what became of the others.
    pub(super) fn end(mut self) -> (u64, Vec<String>) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        let failed = self.shared.failed.lock().unwrap().clone();
        (self.shared.answered.load(Ordering::SeqCst), failed)
    }
}

impl Shared {
    /// Asks on one connection all the while.
    fn go_on(&self, stream: &mut impl Wire, way: &Way) {
        while self.goes_on() {
            self.ask(stream, way, "on a kept connection");
        }
    }

    /// Connects for each request.
    fn anew<S: Wire>(&self, connect: impl Fn() -> std::io::Result<S>, way: &Way) {
        while self.goes_on() {
            match connect() {
                Ok(mut stream) => self.ask(&mut stream, way, "on a new connection"),
                Err(error) => self.fail(format!("cannot connect: {error}")),
            }
        }
    }

    fn goes_on(&self) -> bool {
        thread::sleep(PAUSE);
        !self.is_over.load(Ordering::SeqCst)
    }

    fn ask(&self, stream: &mut impl Wire, way: &Way, how: &str) {
        let request = format!(
            "GET /v1/credentials/{} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\r\n",
            way.identity, way.token
        );
        match exchange(stream, request) {
            Some(reply) if reply.status == 200 && reply.json()["AccessKeyId"].is_string() => {
                self.answered.fetch_add(1, Ordering::SeqCst);
            }
            Some(reply) => self.fail(format!("{how}: {}", reply.status)),
            None => self.fail(format!("{how}: no answer")),
        }
    }

    fn fail(&self, how: String) {
        let mut failed = self.failed.lock().unwrap();
        // Enough to see what is wrong.
        if failed.len() < 1000 {
            failed.push(how);
        }
    }
}
