//! Restarts of the daemon, as its clients do not see them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;

use super::{place, status};
use crate::serving::eventually;
use crate::serving::program::{Place, Running};
use crate::serving::upstream::{KEY, Upstream};

/// A daemon that will be found at the same port when it is started again.
fn settled() -> (Place, Upstream, Running) {
    let (place, upstream) = place();
    let mut first = place.serve();
    let address = place.address();
    first.terminate();
    place.listen_on(&address.to_string(), &[("default", upstream.uri("/"))]);
    let daemon = place.serve();
    place.warm();
    (place, upstream, daemon)
}

#[test]
fn the_token_of_a_running_program_is_never_refused_through_restarts() {
    let (place, _upstream, mut daemon) = settled();
    let script = r#"echo "url $AWS_CONTAINER_CREDENTIALS_FULL_URI"
        echo "token $AWS_CONTAINER_AUTHORIZATION_TOKEN"
        exec sleep 1000"#;
    let mut running = Running::start(&mut place.exec(&[], script), &place.folder().join("shown"));
    let (url, token) = (running.line("url "), running.line("token "));
    assert_eq!(status(&url, &token), Some(200));
    for end in [Signal::TERM, Signal::INT, Signal::KILL] {
        let is_over = Arc::new(AtomicBool::new(false));
        let asking = thread::spawn({
            let (url, token) = (url.clone(), token.clone());
            let is_over = Arc::clone(&is_over);
            move || {
                let mut statuses = Vec::new();
                while !is_over.load(Ordering::SeqCst) {
                    statuses.extend(status(&url, &token));
                }
                statuses
            }
        });
        daemon.signal(end);
        daemon.end();
        daemon = place.serve();
        eventually("the token is valid again", || {
            (status(&url, &token) == Some(200)).then_some(())
        });
        is_over.store(true, Ordering::SeqCst);
        let statuses = asking.join().unwrap();
        assert!(statuses.contains(&200), "{statuses:?}");
        assert!(!statuses.contains(&403), "{end:?}: {statuses:?}");
    }
    running.signal(Signal::TERM);
    assert_eq!(running.end().code(), Some(143));
    eventually("the token is no longer valid", || {
        (status(&url, &token) == Some(403)).then_some(())
    });
}

#[test]
fn a_program_outlives_its_daemon_at_little_cost() {
    let (place, _upstream, mut daemon) = settled();
    let script = "echo ready; exec sleep 1000";
    let mut running = Running::start(&mut place.exec(&[], script), &place.folder().join("shown"));
    running.line("ready");
    daemon.terminate();
    // In clock ticks of user and system time (proc(5), fields 14 and 15): 10 ms each.
    let spent = |process: u32| -> u64 {
        let path = format!("/proc/{process}/stat");
        let stat = credd::os::files::read_text_now(path.as_ref(), 4096).unwrap();
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = rest.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let looks = |process: u32| -> u64 {
        let path = format!("/proc/{process}/status");
        let status = credd::os::files::read_text_now(path.as_ref(), 8192).unwrap();
        let line = status
            .lines()
            .find(|it| it.starts_with("voluntary_ctxt"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let (ticks, before) = (spent(running.id()), looks(running.id()));
    eventually("it has looked for the daemon five times", || {
        (looks(running.id()) >= before + 5).then_some(())
    });
    // A loop that spins would have taken all of the second that this took.
    let taken = spent(running.id()) - ticks;
    assert!(taken <= 20, "{taken}");
    assert!(running.try_end().is_none());
}

#[test]
fn the_token_file_survives_a_restart_and_a_kill() {
    let (place, _upstream, mut daemon) = settled();
    let url = format!("http://{}/v1/credentials", place.address());
    let token = place.token();
    for end in [Signal::TERM, Signal::KILL] {
        daemon.signal(end);
        daemon.end();
        daemon = place.serve();
        assert_eq!(place.token(), token);
        place.warm();
        assert_eq!(status(&url, &token), Some(200));
    }
}

#[test]
fn get_goes_on_through_a_restart() {
    let (place, _upstream, mut daemon) = settled();
    let asking = |number: u32| {
        Running::start(
            &mut place.credd(&["get"]),
            &place.folder().join(format!("got{number}")),
        )
    };
    daemon.signal(Signal::TERM);
    let mut gets: Vec<Running> = (0..4).map(asking).collect();
    daemon.end();
    gets.extend((4..8).map(asking));
    let _daemon = place.serve();
    for get in &mut gets {
        assert!(get.end().success(), "{}", get.output());
        assert!(get.output().contains(KEY));
    }
}

#[test]
fn exec_finds_a_daemon_that_restarts() {
    let (place, _upstream, mut daemon) = settled();
    daemon.terminate();
    let mut running = Running::start(
        &mut place.exec(&[], "echo started"),
        &place.folder().join("started"),
    );
    let _daemon = place.serve();
    assert!(running.end().success(), "{}", running.output());
    assert_eq!(running.output(), "started\n");
}

#[test]
fn a_request_that_waits_is_answered_before_the_daemon_ends() {
    let upstream = Upstream::hanging();
    let place = Place::new(&[("default", upstream.uri("/"))]);
    let mut daemon = place.serve();
    let mut get = Running::start(&mut place.credd(&["get"]), &place.folder().join("got"));
    eventually("the upstream is asked", || {
        (upstream.calls() > 0).then_some(())
    });
    daemon.signal(Signal::TERM);
    let expiry = credd::clock::Timestamp::parse("2099-01-01T00:00:00Z").unwrap();
    upstream.answer(crate::serving::upstream::credentials(expiry));
    assert_eq!(daemon.end().code(), Some(0));
    assert!(!place.socket().exists());
    // It may have come too late for this daemon, and waits for the next one then.
    let _next = place.serve();
    assert!(get.end().success(), "{}", get.output());
}
