//! What the browser connects to: pages of the test's own, and behind the same port either credd or
//! a server that refuses nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

/// What the server gives away that refuses nothing.
pub(super) const PRIZE: &str = "control-canary";

/// Far longer than an answer takes that comes at all.
const QUIET: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy)]
pub(super) enum Behind {
    Credd(SocketAddr),
    Control,
}

/// A request that a browser sent, and what was answered.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    /// Which attempt of which page it belongs to.
    pub(super) attempt: String,
    pub(super) answer: Vec<u8>,
}

impl Exchange {
    /// Of the attempt, without its page and server.
    pub(super) fn name(&self) -> Option<&str> {
        self.attempt.split(' ').nth(1)
    }
}

pub(super) struct Front {
    pub(super) port: u16,
    pub(super) has_ipv6: bool,
    shared: Arc<Shared>,
}

struct Shared {
    behind: Behind,
    seen: Mutex<Vec<Exchange>>,
    pages: Mutex<BTreeMap<usize, String>>,
    reports: Sender<Value>,
}

impl Front {
    /// Listens on any port, the same one of both loopback addresses where this host has both.
    pub(super) fn before(behind: Behind, reports: Sender<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            behind,
            seen: Mutex::default(),
            pages: Mutex::default(),
            reports,
        });
        let second = TcpListener::bind((Ipv6Addr::LOCALHOST, port));
        let has_ipv6 = second.is_ok();
        for listener in [Some(listener), second.ok()].into_iter().flatten() {
            let shared = Arc::clone(&shared);
            // These threads end with the test process.
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || shared.serve(stream));
                }
            });
        }
        Self {
            port,
            has_ipv6,
            shared,
        }
    }

    /// Has a page, and says where it is by that name of this host.
    pub(super) fn show(&self, index: usize, host: &str, page: String) -> String {
        let mut pages = self.shared.pages.lock();
        pages.as_mut().unwrap().insert(index, page);
        format!("http://{host}:{}/page/{index}", self.port)
    }

    pub(super) fn seen(&self) -> Vec<Exchange> {
        let seen = self.shared.seen.lock();
        seen.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    /// One request: every answer here ends its connection.
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let (head, body) = read_request(&stream)?;
        let mut words = head.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        if let Some(rest) = target.strip_prefix("/page") {
            let answer = self.page(rest, &body);
            return stream.write_all(answer.as_bytes()).ok();
        }
        let attempt = target.split_once("attempt=").map_or("", |(_, it)| it);
        let attempt = [
            ("%20", " "),
            ("+", " "),
            ("%5B", "["),
            ("%5D", "]"),
            ("%3A", ":"),
        ]
        .iter()
        .fold(attempt.to_owned(), |it, (from, to)| it.replace(from, to));
        let index = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push(Exchange {
                attempt: attempt.clone(),
                answer: Vec::new(),
            });
            seen.len() - 1
        };
        let mut pass = |bytes: &[u8]| {
            {
                let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen[index].answer.extend(bytes);
            }
            stream.write_all(bytes).ok()
        };
        match self.behind {
            Behind::Control => pass(&control(&method, &attempt, &head)),
            Behind::Credd(address) => {
                let mut credd = TcpStream::connect(address).ok()?;
                credd.set_read_timeout(Some(QUIET)).ok()?;
                credd.write_all(head.as_bytes()).ok()?;
                credd.write_all(&body).ok()?;
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = credd.read(&mut buffer) {
                    pass(&buffer[..length])?;
                }
                Some(())
            }
        }
    }

    fn page(&self, rest: &str, body: &[u8]) -> String {
        if rest == "/report" {
            let report = serde_json::from_slice(body).unwrap_or_default();
            let _ = self.reports.send(report);
            return html("");
        }
        if let Some(url) = rest.strip_prefix("/redirect?to=") {
            let url = url
                .replace("%3A", ":")
                .replace("%2F", "/")
                .replace("%3F", "?")
                .replace("%3D", "=")
                .replace("%25", "%");
            return format!(
                "HTTP/1.1 307 -\r\nLocation: {url}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        let index = rest.trim_start_matches('/').parse().unwrap_or_default();
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        html(pages.get(&index).map_or("", String::as_str))
    }
}

fn html(text: &str) -> String {
    format!(
        "HTTP/1.1 200 -\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{text}",
        text.len()
    )
}

fn read_request(stream: &TcpStream) -> Option<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = value(&head, "content-length").map_or(Some(0), |it| it.parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (it, value) = line.split_once(": ")?;
        it.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// The answer by which an attempt succeeds, whatever it needs, and leave for every page to read it.
fn control(method: &str, attempt: &str, head: &str) -> Vec<u8> {
    let origin = value(head, "origin").unwrap_or("*");
    let asked = value(head, "access-control-request-headers").unwrap_or("*");
    let leave = format!(
        "Access-Control-Allow-Origin: {origin}\r\nAccess-Control-Allow-Credentials: true\r\n\
         Access-Control-Allow-Methods: GET, HEAD, POST, PUT, DELETE\r\n\
         Access-Control-Allow-Headers: {asked}\r\nAccess-Control-Allow-Private-Network: true\r\n\
         Connection: close\r\n"
    );
    if let Some(key) = value(head, "sec-websocket-key") {
        // RFC 6455, 4.2.2 and 5.2: one text frame.
        let accept = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let accept = digest(&SHA1_FOR_LEGACY_USE_ONLY, accept.as_bytes());
        let accept = BASE64_STANDARD.encode(accept);
        let length = char::from(u8::try_from(PRIZE.len()).unwrap());
        let head = format!(
            "HTTP/1.1 101 -\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        return [
            head.as_bytes(),
            b"\x81",
            length.to_string().as_bytes(),
            PRIZE.as_bytes(),
        ]
        .concat();
    }
    let is = |kind: &str| {
        attempt
            .split(' ')
            .nth(1)
            .is_some_and(|name| name.starts_with(kind))
    };
    let (kind, body) = if is("image") {
        let image = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>";
        ("image/svg+xml", image.to_owned())
    } else if is("script-module") {
        (
            "text/javascript",
            format!("export const leaked = '{PRIZE}';"),
        )
    } else if is("script") || is("worker") {
        let place = "(self.document ? document.currentScript : self)";
        ("text/javascript", format!("{place}.leaked = '{PRIZE}';"))
    } else if is("style") {
        ("text/css", format!("/* {PRIZE} */"))
    } else if is("eventsource") {
        ("text/event-stream", format!("data: {PRIZE}\n\n"))
    } else if ["frame", "form", "object", "embed"].into_iter().any(is) {
        (
            "text/html",
            format!("<script>parent.postMessage('{PRIZE}', '*')</script>"),
        )
    } else {
        ("application/json", format!("{{\"prize\":\"{PRIZE}\"}}"))
    };
    let length = body.len();
    let body = if method == "HEAD" {
        String::new()
    } else {
        body
    };
    format!(
        "HTTP/1.1 200 -\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{leave}\r\n{body}"
    )
    .into_bytes()
}
