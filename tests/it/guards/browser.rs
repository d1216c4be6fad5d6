//! Pages in a real browser that would like credentials: from elsewhere, from another port of this
//! host, and from a name that has come to mean this host (DNS rebinding).
//!
//! `tests/prepare` installs the browser where it may.

mod front;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use credd::clock::{Clock, SystemClock};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use front::{Behind, Exchange, Front, PRIZE};

use crate::serving::program::Place;
use crate::serving::upstream::{self, Upstream};
use crate::serving::{eventually, measured, skipped};

/// For all attempts of one page, a few of which end only by running out of time.
const PATIENCE: Duration = Duration::from_mins(3);

/// What became of one attempt, as the page sees it.
#[derive(Debug, Deserialize)]
struct Attempt {
    page: String,
    server: String,
    name: String,
    outcome: String,
    #[serde(default)]
    text: String,
}

impl Attempt {
    fn is_at(&self, front: &Front) -> bool {
        self.server.ends_with(&format!(":{}", front.port))
    }
}

/// A page can tell whether these came, at most, and not what is in them, unless the server is its
/// own.
const UNREADABLE: &[&str] = &[
    "beacon",
    "embed",
    "fetch-head",
    "font",
    "image",
    "image-cors",
    "image-no-referrer",
    "object",
    "prefetch",
    "preload",
    "style",
    "video",
];

/// By which credd refuses before it looks at a token.
const GUARDS: &[&str] = &[
    "the Host header must be one loopback address or localhost",
    "requests of browsers are refused",
    "only GET and HEAD are answered here",
];

#[test]
fn no_page_in_a_browser_gets_credentials_or_as_far_as_the_token() {
    if !has_browser() {
        skipped("there is no chromium here; tests/prepare installs it where it may");
        return;
    }
    let expiry = SystemClock::new().now().plus(Duration::from_hours(6));
    let upstream = Upstream::answering(upstream::credentials(expiry));
    let place = Place::new(&[("default", upstream.uri("/default"))]);
    let credd = place.serve();
    place.warm();
    let calls = upstream.calls();
    let granted = || {
        let is_granted = "\"decision\":\"granted\"";
        credd.output().matches(is_granted).count()
    };
    let web = Web::around(place.address());
    let attempts = web.tour(&place.token());
    web.assert_all_arrive_and_win_where_nothing_refuses_them(&attempts);
    web.assert_credd_refuses_them_for_what_they_are(&attempts);
    assert_eq!(upstream.calls(), calls);
    assert!(!has_canary(&credd.output()), "{}", credd.output());
    // Whoever is known is served, and that is the only line of its kind in the audit log.
    assert_eq!(granted(), 0, "{}", credd.output());
    assert!(place.run(&["get", "default"]).is_success());
    eventually("the audit log has its line", || {
        (granted() > 0).then_some(())
    });
    assert_eq!(granted(), 1, "{}", credd.output());
    measured(&web.summary(&attempts));
}

/// Servers that a page comes from, and those that it tries.
struct Web {
    /// Before credd.
    door: Front,
    /// Before a server that refuses nothing.
    control: Front,
    elsewhere: Front,
    /// What the browser takes for a server far away.
    internet: Front,
    reported: Receiver<Value>,
}

impl Web {
    fn around(credd: SocketAddr) -> Self {
        let (reports, reported) = channel();
        let front = |behind| Front::before(behind, reports.clone());
        Self {
            door: front(Behind::Credd(credd)),
            control: front(Behind::Control),
            elsewhere: front(Behind::Control),
            internet: front(Behind::Control),
            reported,
        }
    }

    /// Leads a browser from page to page, and tells what each has tried.
    fn tour(&self, token: &str) -> Vec<Attempt> {
        let (control, door) = (&self.control, &self.door);
        let everywhere = [servers(control), servers(door)].concat();
        let own = |front: &Front| vec![format!("http://rebind.example:{}", front.port)];
        let pages = [
            (
                "internet",
                "internet.example",
                &self.internet,
                everywhere.clone(),
            ),
            (
                "elsewhere",
                "page.example",
                &self.elsewhere,
                everywhere.clone(),
            ),
            ("neighbour", "127.0.0.1", &self.elsewhere, everywhere),
            ("rebound", "rebind.example", control, own(control)),
            ("rebound", "rebind.example", door, own(door)),
        ];
        // In the end the browser itself goes there, as by a link on the last page.
        let link = "v1/credentials?attempt=link%20navigation%20127.0.0.1";
        let mut next = format!("http://127.0.0.1:{}/{link}", door.port);
        for (index, (name, host, front, servers)) in pages.iter().enumerate().rev() {
            let plan = json!({"page": name, "servers": servers, "token": token, "next": next});
            let page = include_str!("browser/page.html").replacen("PLAN;", &format!("{plan};"), 1);
            next = front.show(index, host, page);
        }
        let browser = Browser::open(&next, self.internet.port);
        let mut attempts = Vec::new();
        for (name, ..) in &pages {
            let report = self.reported.recv_timeout(PATIENCE);
            let report = report.unwrap_or_else(|_| panic!("no {name}: {}", browser.said()));
            attempts.extend(serde_json::from_value::<Vec<Attempt>>(report).unwrap());
        }
        eventually("the browser follows the link", || {
            let mut seen = door.seen().into_iter();
            seen.find(|it| it.attempt.starts_with("link") && !it.answer.is_empty())
        });
        attempts
    }

    /// So that the next assertion means something.
    fn assert_all_arrive_and_win_where_nothing_refuses_them(&self, attempts: &[Attempt]) {
        let names: BTreeSet<&str> = attempts.iter().map(|it| it.name.as_str()).collect();
        let readable = &names - &UNREADABLE.iter().copied().collect();
        let won: BTreeSet<&str> = attempts
            .iter()
            .filter(|it| it.is_at(&self.control) && it.text.contains(PRIZE))
            .map(|it| it.name.as_str())
            .collect();
        assert_eq!(won, readable);
        for front in [&self.control, &self.door] {
            let seen = front.seen();
            let arrived: BTreeSet<&str> = seen.iter().filter_map(Exchange::name).collect();
            assert!(arrived.is_superset(&names), "{:?}", &names - &arrived);
        }
    }

    fn assert_credd_refuses_them_for_what_they_are(&self, attempts: &[Attempt]) {
        for Exchange { attempt, answer } in self.door.seen() {
            // Who leaves before the answer gets none.
            let answer = String::from_utf8(answer).unwrap();
            let is_refused = answer.is_empty() || answer.starts_with("HTTP/1.1 403 ");
            assert!(is_refused, "{attempt}: {answer}");
            assert!(!has_canary(&answer), "{attempt}: {answer}");
            let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
            assert!(!head.contains("access-control-"), "{attempt}: {head}");
            let is_guards = GUARDS.iter().any(|message| body.contains(message));
            assert!(body.is_empty() || is_guards, "{attempt}: {body}");
        }
        for attempt in attempts.iter().filter(|it| it.is_at(&self.door)) {
            assert!(!has_canary(&attempt.text), "{attempt:?}");
            // A refusal can be read by a page of the same origin alone.
            let is_own = attempt.page == "rebound";
            assert!(is_own || attempt.outcome != "read", "{attempt:?}");
        }
    }

    /// By page and server: attempts, those that arrived, and what was read of what there was to
    /// lose.
    fn summary(&self, attempts: &[Attempt]) -> String {
        let mut lines = Vec::new();
        for page in ["internet", "elsewhere", "neighbour", "rebound"] {
            for (name, front) in [("the control", &self.control), ("credd", &self.door)] {
                let is_this = |it: &&Attempt| it.page == page && it.is_at(front);
                let made = attempts.iter().filter(is_this).count();
                let seen = front.seen();
                let arrived: BTreeSet<_> = seen
                    .iter()
                    .map(|it| &it.attempt)
                    .filter(|it| it.starts_with(page))
                    .collect();
                let lost = attempts.iter().filter(is_this);
                let lost = lost.filter(|it| has_canary(&it.text));
                let lost: usize = lost.map(|it| it.text.len()).sum();
                let arrived = arrived.len();
                lines.push(format!(
                    "from {page} to {name}: {made} attempts, {arrived} arrived, {lost} bytes lost"
                ));
            }
        }
        lines.join("\n")
    }
}

/// This host, by every name that a page might use.
fn servers(front: &Front) -> Vec<String> {
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "0.0.0.0",
        "rebind.example",
    ]
    .into_iter()
    .filter(|host| front.has_ipv6 || *host != "[::1]")
    .map(|host| format!("http://{host}:{}", front.port))
    .collect()
}

fn has_canary(text: &str) -> bool {
    [upstream::KEY, upstream::SECRET, upstream::TOKEN, PRIZE]
        .iter()
        .any(|canary| text.contains(canary))
}

fn has_browser() -> bool {
    let output = Command::new("chromium").arg("--version").output();
    output.is_ok_and(|output| output.status.success())
}

/// A browser with nothing to remember, for as long as the test runs.
struct Browser {
    child: Child,
    folder: TempDir,
}

impl Browser {
    /// Opens `url`, and takes what listens on `internet` for a server far away.
    fn open(url: &str, internet: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--host-resolver-rules=MAP *.example 127.0.0.1",
            ])
            .arg(format!(
                "--user-data-dir={}",
                folder.path().join("data").display()
            ))
            .arg(format!(
                "--ip-address-space-overrides=127.0.0.1:{internet}=public"
            ))
            .arg(url)
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // All of its processes end with it.
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    fn said(&self) -> String {
        let log = credd::os::files::read_text_now(&self.folder.path().join("log"), 1024 * 1024);
        log.map(|log| log.to_string()).unwrap_or_default()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}
