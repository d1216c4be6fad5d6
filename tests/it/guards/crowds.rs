//! One caller that takes all it can get: no other goes without.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use credd::clock::{Clock, SystemClock};
use credd::environment::Environment;
use credd::identity::IdentityName;
use credd::os::{files, process};
use credd::providers::chain::Link;
use credd::providers::container;
use credd::serve::Limits;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::PATH;
use crate::serving::clock::HandClock;
use crate::serving::daemon::{InProcess, config};
use crate::serving::program::{Place, Running};
use crate::serving::upstream::{self, Upstream};
use crate::serving::wire::{Reply, Wire, exchange, receive};
use crate::serving::{eventually, measured, skipped};

/// A daemon that takes no more than that from one caller.
fn limited(limits: Limits) -> (Arc<HandClock>, InProcess, Upstream) {
    let clock = Arc::new(HandClock::new());
    let expiry = clock.now().plus(Duration::from_hours(6));
    let upstream = Upstream::answering(upstream::credentials(expiry));
    let link = Link::Container(container::Config {
        uri: Some(upstream.uri("/")),
        ..container::Config::default()
    });
    let mut config = config(
        [(IdentityName::default(), vec![link])].into(),
        "127.0.0.1:0",
    );
    config.serve.limits = limits;
    let daemon = InProcess::with(Arc::clone(&clock) as _, config, Environment::default());
    (clock, daemon.warm(), upstream)
}

#[track_caller]
fn assert_is_too_many(reply: &Reply) {
    assert_eq!(reply.status, 429);
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let body = reply.json();
    assert_eq!(body["code"], body["Code"]);
    let message = body["message"].as_str().unwrap();
    assert!(message.contains("[serve.limits]"), "{message}");
}

/// Told so without having asked.
#[track_caller]
fn assert_is_sent_away(mut stream: impl Wire) {
    assert_is_too_many(&receive(&mut stream, true).unwrap());
    assert!(receive(&mut stream, true).is_none());
}

const ON_UNIX: &str = "GET /v1/credentials HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn one_connection_too_many_is_told_so_at_once() {
    let (_clock, daemon, _upstream) = limited(Limits {
        connections: 8,
        ..Limits::default()
    });
    let silent: Vec<TcpStream> = (0..8).map(|_| daemon.tcp()).collect();
    for _ in 0..50 {
        assert_is_sent_away(daemon.tcp());
    }
    // The admin socket has places of its own.
    let status = ON_UNIX.replace("credentials", "status");
    assert_eq!(exchange(&mut daemon.admin(), status).unwrap().status, 200);
    drop(silent);
    let mut owner: Vec<UnixStream> = Vec::new();
    for _ in 0..8 {
        owner.push(eventually("there is room again", || {
            let mut stream = daemon.unix();
            (exchange(&mut stream, ON_UNIX)?.status == 200).then_some(stream)
        }));
    }
    assert_is_sent_away(daemon.unix());
}

#[test]
fn a_caller_that_asks_too_often_waits_and_is_asked_to_come_again() {
    let (clock, daemon, _upstream) = limited(Limits {
        requests_per_second: 10,
        ..Limits::default()
    });
    let request = with_token(&daemon.token);
    let mut stream = daemon.tcp();
    for _ in 0..20 {
        assert_eq!(exchange(&mut stream, &request).unwrap().status, 200);
    }
    let too_many = |stream: &mut TcpStream| {
        clock.until_a_deadline(|| stream.write_all(request.as_bytes()).unwrap());
        clock.wind(Duration::from_millis(500));
        assert_is_too_many(&receive(stream, true).unwrap());
    };
    too_many(&mut stream);
    // Half a second gives back five requests.
    for _ in 0..5 {
        assert_eq!(exchange(&mut stream, &request).unwrap().status, 200);
    }
    // A new connection is no new allowance.
    let mut stream = daemon.tcp();
    too_many(&mut stream);
}

/// Connections to `port` of which the daemon has not taken what has arrived (`proc_net(5)`).
fn unread(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    let table = files::read_text_now("/proc/net/tcp".as_ref(), 16 * 1024 * 1024).unwrap();
    let table = table.to_string();
    let rows = table.lines().skip(1).map(|row| {
        let mut fields = row.split_whitespace().skip(1);
        let (local, _remote) = (fields.next().unwrap(), fields.next().unwrap());
        let (state, queues) = (fields.next().unwrap(), fields.next().unwrap());
        (local, state, queues)
    });
    let port = format!(":{port:04X}");
    rows.filter(|(local, state, queues)| {
        local.ends_with(&port) && *state == ESTABLISHED && !queues.ends_with(":00000000")
    })
    .count()
}

#[test]
fn few_connections_of_a_caller_are_read_from_before_their_first_request_is_whole() {
    let (_clock, daemon, _upstream) = limited(Limits::default());
    let request = with_token(&daemon.token);
    let mut known = daemon.tcp();
    assert_eq!(exchange(&mut known, &request).unwrap().status, 200);
    let mut dripping: Vec<TcpStream> = (0..100).map(|_| daemon.tcp()).collect();
    for stream in &mut dripping {
        stream.write_all(b"G").unwrap();
    }
    let port = known.peer_addr().unwrap().port();
    eventually("16 of a hundred are read from", || {
        (unread(port) == 84).then_some(())
    });
    // Whoever has been served is no beginner.
    assert_eq!(exchange(&mut known, &request).unwrap().status, 200);
    assert!(unread(port) >= 84);
    // Each that is whole makes room for one more.
    for stream in &mut dripping {
        stream.write_all(&request.as_bytes()[1..]).unwrap();
    }
    for stream in &mut dripping {
        assert_eq!(receive(stream, true).unwrap().status, 200);
    }
}

fn with_token(token: &str) -> String {
    format!("GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n")
}

/// What the real program has taken so far.
#[derive(Debug)]
struct Taken {
    rss_kib: u64,
    cpu: Duration,
}

impl Taken {
    fn by(process: u32) -> Self {
        let read = |file: &str| {
            let path = format!("/proc/{process}/{file}");
            files::read_text_now(path.as_ref(), 64 * 1024)
                .unwrap()
                .to_string()
        };
        let status = read("status");
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss = rss.unwrap().trim().trim_end_matches(" kB");
        // The program's name may hold anything, but ends with the last bracket; the 14th and 15th
        // field are in hundredths of a second (proc_pid_stat(5)).
        let stat = read("stat");
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let fields = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = fields.map(|it| it.parse::<u64>().unwrap()).sum();
        Self {
            rss_kib: rss.parse().unwrap(),
            cpu: Duration::from_millis(10 * ticks),
        }
    }
}

#[test]
fn running_out_of_descriptors_is_waited_for_and_got_over() {
    let expiry = SystemClock::new().now().plus(Duration::from_hours(6));
    let upstream = Upstream::answering(upstream::credentials(expiry));
    let place = Place::new(&[("default", upstream.uri("/"))]);
    let mut daemon = place.serve();
    place.warm();
    let (address, request) = (place.address(), with_token(&place.token()));
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.id())).unwrap();
    let few = Some(open.count() as u64 + 4);
    let limit = Rlimit {
        current: few,
        maximum: few,
    };
    let process = Pid::from_raw(daemon.id().cast_signed());
    prlimit(process, Resource::Nofile, limit).unwrap();

    // More than there are descriptors for, and few enough for the kernel's queue. Those that are
    // sent away are followed by others that wait there.
    let crowd: Vec<_> = (0..200)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let news = "cannot take connections";
    eventually("the daemon is out of descriptors", || {
        daemon.output().contains(news).then_some(())
    });
    let before = Taken::by(daemon.id());
    std::thread::sleep(Duration::from_secs(1));
    let spent = Taken::by(daemon.id()).cpu.saturating_sub(before.cpu);
    // Spinning would take all of a core.
    assert!(spent <= Duration::from_millis(100), "{spent:?}");
    assert!(daemon.try_end().is_none());
    drop(crowd);
    eventually("the daemon serves again", || {
        let reply = exchange(&mut TcpStream::connect(address).ok()?, &request)?;
        (reply.status == 200).then_some(())
    });
    let said = daemon.output().matches(news).count();
    assert!(said < 3, "said {said} times: {}", daemon.output());
    measured(&format!("{spent:?} of CPU in a second without descriptors"));
}

/// Ten thousand connections of another user, each opened again a while after it has ended. The
/// first of its arguments says who, the second where, the third what is sent on them, byte by
/// byte.
const CROWD: &str = r#"
import os, resource, select, socket, sys, time
COUNT, AGAIN = 10000, 5
resource.setrlimit(resource.RLIMIT_NOFILE, (COUNT + 100, COUNT + 100))
who, where, drip = int(sys.argv[1]), sys.argv[2], sys.argv[3].encode().decode("unicode_escape").encode()
os.setgid(who)
os.setuid(who)
poll, open_, opened, due = select.epoll(), {}, 0, [0.0] * COUNT
def connect():
    if where.startswith("/"):
        it, address = socket.socket(socket.AF_UNIX), where
    else:
        host, port = where.rsplit(":", 1)
        it, address = socket.socket(socket.AF_INET), (host, int(port))
    it.setblocking(False)
    try:
        it.connect(address)
    except BlockingIOError:
        if where.startswith("/"):
            it.close()
            return False
    except OSError:
        it.close()
        return False
    poll.register(it, select.EPOLLIN | select.EPOLLRDHUP)
    open_[it.fileno()] = [it, 0]
    return True
os.set_blocking(0, False)
told, dripped = False, time.monotonic()
while True:
    now = time.monotonic()
    while due and due[0] <= now:
        if not connect():
            break
        opened += 1
        due.pop(0)
    if not told and opened >= COUNT:
        print("ready", flush=True)
        told = True
    for fd, _ in poll.poll(0.01):
        it, _ = open_.pop(fd)
        poll.unregister(it)
        it.close()
        due.append(now + AGAIN)
    if drip and now - dripped > 0.5:
        dripped = now
        for entry in open_.values():
            try:
                entry[0].send(drip[entry[1] % len(drip):][:1])
                entry[1] += 1
            except OSError:
                pass
    try:
        if os.read(0, 1) == b"":
            break
    except BlockingIOError:
        pass
print(opened, flush=True)
"#;

/// Anybody but root, and but the one whom the kernel tells where it has no number.
const BOB: &str = "12345";

#[test]
fn ten_thousand_connections_of_one_user_leave_another_user_its_own() {
    let has_python = Command::new("python3").args(["-c", "0"]).status();
    if !process::is_root() || !has_python.is_ok_and(|status| status.success()) {
        skipped("needs root, to be another user, and python3");
        return;
    }
    let expiry = SystemClock::new().now().plus(Duration::from_hours(6));
    let upstream = Upstream::answering(upstream::credentials(expiry));
    let place = Place::new(&[("default", upstream.uri("/"))]);
    let daemon = place.serve();
    place.warm();
    // Lets everybody through to the socket, so that only the daemon is left to refuse.
    for (path, mode) in [
        (place.folder().to_owned(), 0o755),
        (place.runtime(), 0o755),
        (place.socket(), 0o666),
    ] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    let tcp = place.address().to_string();
    let unix = place.socket().display().to_string();
    let drip = r"GET /v1/credentials HTTP/1.1\r\nHost: localhost\r\nX: ";
    assert_alice_is_served(&place, &daemon, "nobody else", None);
    for (name, target, drip) in [
        ("10,000 idle on TCP", &tcp, ""),
        ("10,000 dripping on TCP", &tcp, drip),
        ("10,000 idle on the Unix socket", &unix, ""),
        ("10,000 dripping on the Unix socket", &unix, drip),
    ] {
        let mut bob = Command::new("python3");
        bob.args(["-c", CROWD, BOB, target, drip])
            .stdin(Stdio::piped());
        assert_alice_is_served(&place, &daemon, name, Some(&mut bob));
    }
}

/// Asks for credentials on connections that are kept and on new ones, of both kinds, with a crowd
/// around.
fn assert_alice_is_served(
    place: &Place,
    daemon: &Running,
    name: &str,
    crowd: Option<&mut Command>,
) {
    const REQUESTS: usize = 2000;

    let before = Taken::by(daemon.id());
    let clock = SystemClock::new();
    let begun = clock.boot();
    let crowd = crowd.map(|command| {
        let mut crowd = Running::start(command, &place.folder().join("crowd"));
        crowd.line("ready");
        std::fs::remove_file(place.folder().join("crowd")).unwrap();
        crowd
    });
    let (address, with_token) = (place.address(), with_token(&place.token()));
    let unix = || UnixStream::connect(place.socket()).unwrap();
    let tcp = || TcpStream::connect(address).unwrap();
    let (mut kept_unix, mut kept_tcp) = (unix(), tcp());
    let mut took: Vec<Duration> = (0..REQUESTS)
        .map(|index| {
            let asked = clock.boot();
            let reply = match index % 8 {
                0 => exchange(&mut unix(), ON_UNIX),
                1 => exchange(&mut tcp(), &with_token),
                index if index % 2 == 0 => exchange(&mut kept_unix, ON_UNIX),
                _ => exchange(&mut kept_tcp, &with_token),
            };
            let reply = reply.unwrap_or_else(|| panic!("alice gets no answer, with {name}"));
            assert_eq!(reply.status, 200, "{name}");
            asked.until(clock.boot())
        })
        .collect();
    let (after, passed) = (Taken::by(daemon.id()), begun.until(clock.boot()));
    drop(crowd);
    took.sort();
    let spent = after.cpu.saturating_sub(before.cpu);
    measured(&format!(
        "alice, with {name}: p50 {:?}, p99 {:?}, longest {:?}; resident {} KiB, before {} KiB; \
         {spent:?} of CPU in {passed:?}",
        took[REQUESTS / 2],
        took[REQUESTS * 99 / 100],
        took[REQUESTS - 1],
        after.rss_kib,
        before.rss_kib,
    ));
    assert!(
        after.rss_kib < before.rss_kib + 4 * 1024,
        "{before:?} {after:?}"
    );
}
