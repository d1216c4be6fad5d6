//! A container endpoint that counts what it is asked, and answers what a test says.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use credd::clock::Timestamp;
use serde_json::json;

use crate::support::sinks;

/// What is answered to a path. `None` keeps the caller waiting until the gate opens.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

#[derive(Debug, Default)]
struct Shared {
    calls: AtomicUsize,
    answer: Mutex<Option<Answer>>,
    is_open: Mutex<bool>,
    opened: Condvar,
}

#[derive(Debug)]
pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// As no log, message or answer to a stranger may ever hold them.
pub(crate) const SECRET: &str = "canary/secret/access/key";
pub(crate) const TOKEN: &str = "canary-session-token";
pub(crate) const KEY: &str = "ASIACANARY0000000001";
pub(crate) const ACCOUNT: &str = "123456789012";

/// Credentials whose life ends at `expiry`, for the path they were asked by.
pub(crate) fn credentials(expiry: Timestamp) -> Answer {
    sinks::secret(SECRET);
    sinks::secret(TOKEN);
    let body = json!({
        "AccessKeyId": KEY,
        "SecretAccessKey": SECRET,
        "Token": TOKEN,
        "Expiration": expiry.to_string(),
        "AccountId": ACCOUNT,
        "RoleArn": "arn:aws:iam::123456789012:role/canary",
    });
    Answer {
        status: 200,
        body: body.to_string(),
    }
}

impl Upstream {
    /// Answers at once.
    pub(crate) fn answering(answer: Answer) -> Self {
        let upstream = Self::hanging();
        upstream.answer(answer);
        upstream
    }

    /// Takes requests and says nothing.
    pub(crate) fn hanging() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        // Both kinds of thread end with the test process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&theirs);
                thread::spawn(move || serve(&stream, &shared));
            }
        });
        Self { address, shared }
    }

    /// From now on, and to those who wait.
    pub(crate) fn answer(&self, answer: Answer) {
        *lock(&self.shared.answer) = Some(answer);
        *lock(&self.shared.is_open) = true;
        self.shared.opened.notify_all();
    }

    pub(crate) fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn calls(&self) -> usize {
        self.shared.calls.load(Ordering::SeqCst)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut stream: &TcpStream, shared: &Shared) {
    let mut head = BufReader::new(stream).lines();
    while head
        .next()
        .and_then(Result::ok)
        .is_some_and(|it| !it.is_empty())
    {}
    shared.calls.fetch_add(1, Ordering::SeqCst);
    let waiting = shared
        .opened
        .wait_while(lock(&shared.is_open), |is_open| !*is_open);
    drop(waiting);
    let answer = lock(&shared.answer).clone();
    if let Some(Answer { status, body }) = answer {
        let length = body.len();
        let _ = write!(
            stream,
            "HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        );
    }
}
