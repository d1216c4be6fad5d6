//! An instance metadata service of our own, with sets that live for seconds and a gate that holds
//! every answer back, and an STS that says who signed; or moto's, behind the same address.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use credd::clock::Timestamp;

/// Longer than credd waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

const TOKEN: &str = "a-metadata-token";
const ROLE: &str = "a-role";

pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    service: Arc<Service>,
}

struct Service {
    source: Source,
    state: Mutex<State>,
    opened: Condvar,
}

enum Source {
    /// Sets of this life.
    Own(Duration),
    Moto(SocketAddr),
}

struct State {
    is_open: bool,
    /// Sets made so far, of which the last one is current until its time.
    sets: usize,
    expiry: SystemTime,
}

impl Upstream {
    pub(super) fn with_sets_that_live(lifetime: Duration) -> io::Result<Self> {
        Self::start(Source::Own(lifetime))
    }

    /// moto, but for the extended path, which it answers with 500 where a service that does not
    /// know it answers 404.
    pub(super) fn before_moto(moto: SocketAddr) -> io::Result<Self> {
        Self::start(Source::Moto(moto))
    }

    /// From now on every request waits.
    pub(super) fn closed(self) -> Self {
        self.service.state().is_open = false;
        self
    }

    fn start(source: Source) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = State {
            is_open: true,
            sets: 0,
            expiry: SystemTime::UNIX_EPOCH,
        };
        let service = Arc::new(Service {
            source,
            state: Mutex::new(state),
            opened: Condvar::new(),
        });
        let accepting = Arc::clone(&service);
        // Both kinds of thread end with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let service = Arc::clone(&accepting);
                // A client that leaves early is no concern of the service's.
                std::thread::spawn(move || _ = service.answer(stream));
            }
        });
        Ok(Self { address, service })
    }

    /// Lets all go on who wait.
    pub(super) fn open(&self) {
        self.service.state().is_open = true;
        self.service.opened.notify_all();
    }

    /// How many sets there have been.
    pub(super) fn sets(&self) -> usize {
        self.service.state().sets
    }

    /// Which of the sets it is, counted from 1, whose access key id this is.
    pub(super) fn number_of(access_key_id: &str) -> Option<usize> {
        access_key_id.strip_prefix(PREFIX)?.parse().ok()
    }
}

const PREFIX: &str = "ASIAPRETEND";

impl Service {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        let request = read_request(&mut stream)?;
        let waiting = self
            .opened
            .wait_timeout_while(self.state(), PATIENCE, |state| !state.is_open);
        drop(waiting);
        let mut words = request.split(' ');
        let (method, path) = (words.next(), words.next().unwrap_or_default());
        let path = path.trim_end_matches('/');
        let lifetime = match self.source {
            Source::Own(lifetime) => lifetime,
            Source::Moto(_) if path.starts_with(EXTENDED) => {
                return respond(stream, "404 Not Found", "");
            }
            Source::Moto(moto) => return pass_on(&request, moto, stream),
        };
        let header = format!("x-aws-ec2-metadata-token: {TOKEN}\r\n");
        let has_token = request.to_ascii_lowercase().contains(&header);
        match (method, path) {
            (Some("POST"), "") => respond(stream, "200 OK", &caller(&request)),
            (Some("PUT"), "/latest/api/token") => respond(stream, "200 OK", TOKEN),
            _ if !has_token => respond(stream, "401 Unauthorized", ""),
            (_, EXTENDED) => respond(stream, "200 OK", ROLE),
            _ if path.strip_prefix(EXTENDED) == Some(&format!("/{ROLE}")) => {
                respond(stream, "200 OK", &self.current_set(lifetime))
            }
            _ => respond(stream, "404 Not Found", ""),
        }
    }

    /// The set in force, or a new one where half of its life is over.
    fn current_set(&self, lifetime: Duration) -> String {
        let mut state = self.state();
        let now = SystemTime::now();
        if now + lifetime / 2 > state.expiry {
            state.sets += 1;
            state.expiry = now + lifetime;
        }
        let (number, expiry) = (state.sets, state.expiry);
        format!(
            r#"{{"Code":"Success","Type":"AWS-HMAC","LastUpdated":"{}","AccessKeyId":"{PREFIX}{number:09}","SecretAccessKey":"a-secret-{number}","Token":"a-session-{number}","Expiration":"{}","AccountId":"123456789012"}}"#,
            date(expiry - lifetime),
            date(expiry),
        )
    }
}

const EXTENDED: &str = "/latest/meta-data/iam/security-credentials-extended";

/// What STS answers to `GetCallerIdentity`, with the access key id of the signature as user id.
fn caller(request: &str) -> String {
    let after = request.split_once("Credential=").map_or("", |(_, it)| it);
    let user = after.split('/').next().unwrap_or_default();
    format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <GetCallerIdentityResult><Arn>arn:aws:sts::123456789012:assumed-role/{ROLE}/i</Arn>\
         <UserId>{user}</UserId><Account>123456789012</Account></GetCallerIdentityResult>\
         </GetCallerIdentityResponse>"
    )
}

fn date(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    Timestamp::from_unix_millis(i64::try_from(millis).unwrap_or(i64::MAX)).to_string()
}

fn read_request(stream: &mut TcpStream) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let length = head.split_once("content-length:").and_then(|(_, rest)| {
        let line = rest.split("\r\n").next()?;
        line.trim().parse().ok()
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    request.extend(body);
    Ok(String::from_utf8_lossy(&request).into_owned())
}

/// With word that no second request follows, as moto's answer shall end.
fn pass_on(request: &str, moto: SocketAddr, mut stream: TcpStream) -> io::Result<()> {
    let (head, body) = request.split_once("\r\n\r\n").unwrap_or((request, ""));
    let lines: Vec<_> = head
        .split("\r\n")
        .filter(|line| !line.to_ascii_lowercase().starts_with("connection:"))
        .collect();
    let head = lines.join("\r\n");
    let mut moto = TcpStream::connect(moto)?;
    write!(moto, "{head}\r\nConnection: close\r\n\r\n{body}")?;
    io::copy(&mut moto, &mut stream).map(drop)
}

fn respond(mut stream: TcpStream, status: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    // With the header that gives a token its life, on which credd relies.
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\
         X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n{body}"
    )
}
