//! The audit log: what is written of each decision, where, and what if it cannot be.

mod decisions;
mod failing;
mod load;
mod sinks;

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use credd::audit::{self, Audit, Caller, Decision, Destination, Event, Outlets, WINDOW};
use credd::clock::{Clock, SharedClock};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::clock::TestClock;

const PROCESS: [u8; 4] = [0x3f, 0x9a, 0xc2, 0x1b];

/// An audit log with its writer under way.
struct Log {
    audit: Audit,
    clock: Arc<TestClock>,
    writing: JoinSet<()>,
}

impl Log {
    fn to(to: Destination, outlets: Outlets) -> Self {
        Self::start(&audit::Config { to: Some(to) }, outlets)
    }

    fn start(config: &audit::Config, outlets: Outlets) -> Self {
        let clock = TestClock::new();
        let (audit, writer) = audit::open(config, outlets, PROCESS).unwrap();
        let mut writing = JoinSet::new();
        writing.spawn(writer.run(Arc::clone(&clock) as SharedClock));
        Self {
            audit,
            clock,
            writing,
        }
    }

    fn to_file(path: &Path) -> Self {
        let to = Destination::File(path.to_owned());
        Self::to(
            to,
            outlets("/nowhere".into(), UnixStream::pair().unwrap().0),
        )
    }

    /// A hand-out of `identity` to `uid`.
    fn grant(&self, uid: u32, identity: &str) {
        let caller = Caller {
            uid: Some(uid),
            ..Caller::default()
        };
        let event = Event {
            decision: Decision::Granted,
            rule: Some("owner".into()),
            identity: Some(identity.into()),
            asked: None,
            role: None,
            access_key: None,
            expiry: None,
            caller,
            listener: "unix".into(),
            user_agent: None,
            request: self.audit.request_id(),
        };
        self.audit.record(self.clock.now(), &event);
    }

    /// Winds the clock until `condition` holds, with time for the thread that writes.
    async fn wind_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        for _ in 0..6000 {
            if condition() {
                return;
            }
            self.clock.advance(WINDOW);
            let_others_run().await;
        }
        panic!("waited in vain: {what}");
    }

    /// Has all written, and waits for that.
    async fn close(mut self) {
        self.audit.close();
        self.writing.join_next().await.unwrap().unwrap();
    }
}

/// Another thread has its turn, and this one's tasks theirs.
async fn let_others_run() {
    std::thread::sleep(Duration::from_millis(1));
    crate::support::patience::settle().await;
}

fn outlets(journal: PathBuf, stderr: UnixStream) -> Outlets {
    Outlets {
        journal,
        stderr: Arc::new(Mutex::new(stderr)),
        by_default: Destination::Stderr,
    }
}

/// Reads lines until their writer is gone.
fn collect(from: UnixStream) -> JoinHandle<Vec<Value>> {
    std::thread::spawn(move || {
        let lines = BufReader::new(from).lines();
        lines.map(|line| json(&line.unwrap())).collect()
    })
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

fn in_file(path: &Path) -> Vec<Value> {
    let text = credd::os::files::read_text_now(path, 16 * 1024 * 1024).unwrap();
    text.lines().map(json).collect()
}

/// How many decisions these lines tell of.
fn decisions(lines: &[Value]) -> u64 {
    lines
        .iter()
        .map(|line| line["count"].as_u64().unwrap())
        .sum()
}

fn dropped(lines: &[Value]) -> u64 {
    let dropped = lines.iter().map(|line| line["dropped"].as_u64().unwrap());
    dropped.sum()
}
