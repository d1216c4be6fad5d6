//! Two users, two identities, and no token: each gets its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::net::{AddressFamily, SocketType};

use super::{ALICE, ALICES, BOB, BOBS, GET, World, as_user, is_root, races, tell, two_users, user};
use crate::serving::wire::{Reply, Wire, exchange, receive};

const GROUP: u32 = 61500;

/// The number of all who have none here.
const OVERFLOW: u32 = 65534;

/// Everybody, what belongs to each, and what the other has.
const USERS: [(u32, &str, &str); 2] = [(ALICE, ALICES, BOBS), (BOB, BOBS, ALICES)];

const THREADS: usize = 4;

/// What came of the requests of a race.
#[derive(Default)]
struct Outcome {
    own: AtomicUsize,
    refused: AtomicUsize,
    unanswered: AtomicUsize,
}

impl Outcome {
    fn count(&self, reply: Option<&Reply>, own: &str, others: &str) {
        let Some(reply) = reply else {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let body = String::from_utf8_lossy(&reply.body);
        assert!(!body.contains(others), "{reply:?}");
        if reply.status == 200 {
            assert!(body.contains(own), "{reply:?}");
            self.own.fetch_add(1, Ordering::Relaxed);
        } else {
            assert_eq!(reply.status, 403, "{reply:?}");
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tell(&self, what: &str) {
        let [own, refused, unanswered] =
            [&self.own, &self.refused, &self.unanswered].map(|it| it.load(Ordering::Relaxed));
        tell(&format!(
            "{what}: {own} got their own, {refused} nothing as they had left or asked for what is \
             not theirs, {unanswered} did not wait, 0 got another's"
        ));
        assert!(own > 0);
    }
}

/// Every thread takes `turn`s as one of the two.
fn race(turn: impl Fn(usize, (u32, &str, &str)) + Sync) {
    let each = races() / THREADS;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (turn, who) = (&turn, USERS[thread % 2]);
            as_user(scope, who.0, &[], move || {
                for number in 0..each {
                    turn(number, who);
                }
            });
        }
    });
}

fn other(uid: u32) -> &'static str {
    if uid == ALICE { "bob" } else { "alice" }
}

fn asking_for(identity: &str) -> String {
    GET.replace("credentials ", &format!("credentials/{identity} "))
}

/// One turn on a connection of its own, in one of the ways that clients behave.
fn ask<W: Wire>(mut stream: W, number: usize, who: (u32, &str, &str), outcome: &Outcome) {
    let (uid, own, others) = who;
    match number % 6 {
        0 => {
            let reply = exchange(&mut stream, asking_for(other(uid)));
            assert_eq!(reply.as_ref().map(|it| it.status), Some(403));
            outcome.count(reply.as_ref(), own, others);
        }
        1 => {
            // Away before there is an answer.
            let _ = stream.write_all(GET.as_bytes());
            outcome.count(None, own, others);
        }
        2 => {
            // Again and again on one connection.
            for _ in 0..3 {
                let reply = exchange(&mut stream, GET);
                assert_eq!(reply.as_ref().map(|it| it.status), Some(200));
                outcome.count(reply.as_ref(), own, others);
            }
        }
        _ => {
            let reply = exchange(&mut stream, GET);
            assert_eq!(reply.as_ref().map(|it| it.status), Some(200), "{reply:?}");
            outcome.count(reply.as_ref(), own, others);
        }
    }
}

/// From any of the loopback addresses.
fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((from, 0))).unwrap();
    rustix::net::connect(&socket, &to).unwrap();
    TcpStream::from(socket)
}

#[test]
fn on_tcp_without_any_token_each_user_gets_its_own_identity_and_never_the_others() {
    if !is_root() {
        return;
    }
    let world = two_users("127.0.0.1:0");
    let (to, outcome) = (world.daemon.address, Outcome::default());
    race(|number, who| match number % 8 {
        7 => {
            // Half closed: known if it was taken soon enough.
            let mut stream = TcpStream::connect(to).unwrap();
            let _ = stream.write_all(GET.as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
            outcome.count(receive(&mut stream, true).as_ref(), who.1, who.2);
        }
        6 => {
            let last = u8::try_from(number % 250).unwrap() + 1;
            let from = Ipv4Addr::new(127, 9, 8, last);
            ask(connect_from(from, to), 3, who, &outcome);
        }
        _ => ask(TcpStream::connect(to).unwrap(), number / 8, who, &outcome),
    });
    outcome.tell("TCP, IPv4");
}

#[test]
fn on_ipv6_each_user_gets_its_own_identity_and_never_the_others() {
    if !is_root() || std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let world = two_users("[::1]:0");
    let (to, outcome) = (world.daemon.address, Outcome::default());
    race(|number, who| ask(TcpStream::connect(to).unwrap(), number, who, &outcome));
    outcome.tell("TCP, IPv6");
}

#[test]
fn on_the_unix_socket_each_user_gets_its_own_identity_and_never_the_others() {
    if !is_root() {
        return;
    }
    let world = two_users("127.0.0.1:0");
    let (to, outcome) = (world.daemon.socket(), Outcome::default());
    let connect = |to: &Path| UnixStream::connect(to).unwrap();
    race(|number, who| ask(connect(&to), number, who, &outcome));
    outcome.tell("Unix socket");
}

/// What somebody gets by that request.
fn answer_to(uid: u32, groups: &[u32], stream: impl Fn() -> Box<dyn Connected> + Sync) -> u16 {
    std::thread::scope(|scope| {
        let asking = as_user(scope, uid, groups, || {
            let mut stream = stream();
            stream.write_all(GET.as_bytes()).unwrap();
            let mut head = [0; 12];
            stream.read_exact(&mut head).unwrap();
            String::from_utf8_lossy(&head[9..]).parse().unwrap()
        });
        asking.join().unwrap()
    })
}

trait Connected: Read + Write {}

impl<T: Read + Write> Connected for T {}

fn unix_of(world: &World) -> impl Fn() -> Box<dyn Connected> + Sync {
    let socket = world.daemon.socket();
    move || Box::new(UnixStream::connect(&socket).unwrap())
}

fn tcp_of(world: &World) -> impl Fn() -> Box<dyn Connected> + Sync {
    let address = world.daemon.address;
    move || Box::new(TcpStream::connect(address).unwrap())
}

#[test]
fn a_third_user_gets_nothing_and_root_nothing_on_tcp() {
    if !is_root() {
        return;
    }
    let world = two_users("127.0.0.1:0");
    assert_eq!(answer_to(ALICE, &[], tcp_of(&world)), 200);
    assert_eq!(answer_to(ALICE, &[], unix_of(&world)), 200);
    for uid in [61003, 0] {
        assert_eq!(answer_to(uid, &[], tcp_of(&world)), 403, "{uid}");
    }
    assert_eq!(answer_to(61003, &[], unix_of(&world)), 403);
}

#[test]
fn supplementary_groups_count_and_so_does_the_primary_one() {
    if !is_root() {
        return;
    }
    let world = World::opening_to(super::Conditions {
        group: Some(GROUP),
        ..super::on_unix()
    });
    let many: Vec<u32> = (62000..62300).chain([GROUP]).collect();
    for (uid, groups, expected) in [
        (ALICE, &[][..], 403),
        (ALICE, &[GROUP + 1], 403),
        (ALICE, &[GROUP], 200),
        (ALICE, &[1, GROUP, 7], 200),
        (ALICE, &many, 200),
        (GROUP, &[], 200), // whose group has the same number
    ] {
        assert_eq!(answer_to(uid, groups, unix_of(&world)), expected, "{uid}");
    }
}

#[test]
fn the_overflow_user_and_group_are_nobodys() {
    if !is_root() {
        return;
    }
    let world = World::new(
        "127.0.0.1:0",
        vec![
            ("alice", ALICES, user(OVERFLOW)),
            (
                "bob",
                BOBS,
                super::Conditions {
                    group: Some(OVERFLOW),
                    ..super::on_unix()
                },
            ),
        ],
    );
    world.open_the_door();
    assert_eq!(answer_to(OVERFLOW, &[], tcp_of(&world)), 403);
    assert_eq!(answer_to(OVERFLOW, &[], unix_of(&world)), 403);
    assert_eq!(answer_to(ALICE, &[OVERFLOW], unix_of(&world)), 403);
}
