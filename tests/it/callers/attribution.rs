//! Whose a connection is taken for, against what its maker says of itself.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use credd::authz::ListenerName;
use credd::serve::{Peer, Witness};
use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::{ALICE, BOB, as_user, is_root, races, tell};

const THREADS: usize = 4;

/// Connections that wait while others come and go.
const LAG: usize = 8;

/// By each thread, until others need their ports.
const KEPT: usize = 12;

/// A connection from a port that others use too. None if somebody has it at the moment.
fn from_port(from: SocketAddrV4, to: SocketAddr) -> Option<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    rustix::net::bind(&socket, &SocketAddr::V4(from)).ok()?;
    rustix::net::connect(&socket, &to).ok()?;
    Some(TcpStream::from(socket))
}

/// Closes at once, which leaves the port free.
fn reset(stream: TcpStream) {
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
}

fn free_port() -> SocketAddrV4 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

/// Accepts, and says whom the connection was taken for and what its maker has said.
async fn accept(listener: &TcpListener, witness: &Witness) -> (Option<u32>, Option<u32>) {
    let (mut stream, address) = listener.accept().await.unwrap();
    let peer = Peer::of_tcp(&stream, address, ListenerName::http(), witness);
    let taken_for = peer.connected().user.as_ref().map(|user| user.uid);
    let mut said = [0; 4];
    let whole = stream.read_exact(&mut said).await;
    (taken_for, whole.ok().map(|_| u32::from_le_bytes(said)))
}

fn say(stream: &mut TcpStream, uid: u32) {
    // Whoever was reset says nothing.
    let _ = stream.write_all(&uid.to_le_bytes());
}

#[tokio::test]
async fn a_connection_that_was_reset_is_not_the_next_ones_on_its_port() {
    if !is_root() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (to, witness) = (listener.local_addr().unwrap(), Witness::default());
    let port = free_port();
    let bobs = std::thread::scope(|scope| {
        let alice = as_user(scope, ALICE, &[], || {
            let mut alices = from_port(port, to).unwrap();
            say(&mut alices, ALICE);
            reset(alices);
        });
        alice.join().unwrap();
        let bob = as_user(scope, BOB, &[], || {
            let mut bobs = from_port(port, to).unwrap();
            say(&mut bobs, BOB);
            bobs
        });
        bob.join().unwrap()
    });
    // Both wait to be accepted, from one address.
    assert_eq!(accept(&listener, &witness).await, (None, Some(ALICE)));
    assert_eq!(accept(&listener, &witness).await, (Some(BOB), Some(BOB)));
    drop(bobs);
}

#[tokio::test]
async fn what_the_kernel_remembers_of_closed_connections_is_nobodys_and_not_roots() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (to, witness) = (listener.local_addr().unwrap(), Witness::default());
    let own = credd::os::process::effective_uid();
    let mut open = TcpStream::connect(to).unwrap();
    say(&mut open, own);
    assert_eq!(accept(&listener, &witness).await, (Some(own), Some(own)));
    // FIN_WAIT2, without and with somebody who has it.
    let mut orphan = TcpStream::connect(to).unwrap();
    say(&mut orphan, own);
    drop(orphan);
    assert_eq!(accept(&listener, &witness).await, (None, Some(own)));
    let mut half = TcpStream::connect(to).unwrap();
    say(&mut half, own);
    half.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(accept(&listener, &witness).await, (None, Some(own)));
    // TIME_WAIT of ends that are asked for after both sides have closed.
    let closed = TcpStream::connect(to).unwrap();
    let (stream, address) = listener.accept().await.unwrap();
    drop(closed);
    let both_ways = tokio::net::TcpStream::from_std(stream.into_std().unwrap()).unwrap();
    let _ = rustix::net::shutdown(&both_ways, rustix::net::Shutdown::Both);
    let peer = Peer::of_tcp(&both_ways, address, ListenerName::http(), &witness);
    assert_eq!(peer.connected().user, None);
}

/// Every way to be gone, or to be where somebody else was, by two users on the same few ports.
#[tokio::test]
async fn no_connection_is_taken_for_somebody_elses_however_they_race() {
    if !is_root() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (to, witness) = (listener.local_addr().unwrap(), Witness::default());
    let ports = [(); 16].map(|()| free_port());
    let made = Arc::new(AtomicUsize::new(0));
    let theirs = Arc::clone(&made);
    let racing = std::thread::spawn(move || {
        let made = &theirs;
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                as_user(scope, [ALICE, BOB][thread % 2], &[], move || {
                    race(thread, &ports, to, made);
                });
            }
        });
        made.store(usize::MAX, Ordering::SeqCst);
        // The last one, which ends the count.
        TcpStream::connect(to).unwrap().write_all(&[0; 4]).unwrap();
    });
    let (mut known, mut unknown, mut silent, mut wrong) = (0, 0, 0, Vec::new());
    for accepted in 0.. {
        // Late, as a busy daemon is, so that much has happened to those who wait.
        while made.load(Ordering::SeqCst) < accepted + LAG {
            std::thread::yield_now();
        }
        match accept(&listener, &witness).await {
            (_, Some(0)) => break,
            (Some(taken_for), Some(said)) if taken_for == said => known += 1,
            (Some(taken_for), Some(said)) => wrong.push((taken_for, said)),
            (None, Some(_)) => unknown += 1,
            (_, None) => silent += 1,
        }
    }
    racing.join().unwrap();
    let wrongs = wrong.len();
    tell(&format!(
        "{} connections raced: {known} known, {unknown} gone too soon to be known, {silent} silent, \
         {wrongs} taken for somebody else's",
        known + unknown + silent + wrongs
    ));
    assert_eq!(wrong, []);
    assert!(known > races() / 20, "{known}");
    assert!(unknown > 0);
}

fn race(thread: usize, ports: &[SocketAddrV4], to: SocketAddr, made: &AtomicUsize) {
    let uid = credd::os::process::effective_uid();
    let mut kept = VecDeque::new();
    for turn in 0..races() / THREADS {
        let port = ports[(turn + thread) % ports.len()];
        let shared = (turn % 3 != 0).then(|| from_port(port, to)).flatten();
        let mut stream = shared.unwrap_or_else(|| TcpStream::connect(to).unwrap());
        match turn % 8 {
            0 => drop(stream),
            1 => reset(stream),
            2 | 3 => {
                say(&mut stream, uid);
                reset(stream);
            }
            4 => {
                say(&mut stream, uid);
                let _ = stream.shutdown(std::net::Shutdown::Write);
                reset(stream);
            }
            _ => {
                say(&mut stream, uid);
                kept.push_back(stream);
                if kept.len() > KEPT
                    && let Some(oldest) = kept.pop_front()
                {
                    reset(oldest);
                }
            }
        }
        made.fetch_add(1, Ordering::SeqCst);
    }
}
