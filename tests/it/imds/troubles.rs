//! Identities that warm up, fail or end, as clients of EC2 see them; and what the `serve` of the IAM
//! Roles Anywhere helper gets wrong.

use std::io::Write;

use super::*;
use crate::serving::eventually;
use crate::serving::upstream::Answer;
use crate::serving::wire::{is_closed, receive};

const WAIT: Duration = Duration::from_millis(800);

fn refusing(status: u16) -> Answer {
    Answer {
        status,
        body: r#"{"code":"No","message":"upstream-says-no"}"#.to_owned(),
    }
}

/// A request for credentials that are not there yet.
fn begin_to_wait(instance: &Instance) -> TcpStream {
    let headers = shown(&instance.token());
    let request = format!("GET {ROLE}default HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n");
    // One deadline is the connection's, the other the wait's.
    let mut stream = instance.clock.until_a_deadline(|| instance.connect());
    instance
        .clock
        .until_a_deadline(|| stream.write_all(request.as_bytes()).unwrap());
    stream
}

#[test]
fn an_identity_that_warms_up_is_a_role_whose_credentials_are_asked_for_again() {
    let instance = Instance::warming();
    assert_eq!(text(&instance.get(ROLE)), "default");
    let mut waiting = begin_to_wait(&instance);
    instance.clock.wind(WAIT);
    let reply = receive(&mut waiting, true).unwrap();
    assert_eq!(reply.status, 503);
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert!(text(&reply).contains("<h1>503 - Service Unavailable</h1>"));
}

#[test]
fn whoever_waits_gets_the_first_credentials() {
    let instance = Instance::warming();
    let mut waiting = begin_to_wait(&instance);
    instance.give();
    let reply = receive(&mut waiting, true).unwrap();
    assert_eq!(reply.json()["AccessKeyId"], upstream::KEY);
}

/// Go and Rust show code and message, and no SDK asks again.
#[test]
fn what_only_a_person_can_mend_is_told_as_ec2_tells_it_and_without_the_upstreams_words() {
    let instance = Instance::warming();
    instance.upstream.answer(refusing(400));
    eventually("the identity fails", || {
        let status = instance.daemon.status();
        status.identities[0].failure.is_some().then_some(())
    });
    let reply = instance.get(&format!("{ROLE}default"));
    assert_eq!(reply.status, 200);
    let answer = reply.json();
    assert_ne!(answer["Code"], "Success");
    assert!(answer["Message"].as_str().unwrap().contains("credd"));
    assert!(answer.get("AccessKeyId").is_none());
    assert!(!text(&reply).contains("upstream-says-no"));
}

/// `serve.go` overwrites the set in hand with nothing and answers 200 `Success` with empty keys.
#[test]
fn a_failed_refresh_never_replaces_credentials_by_empty_ones() {
    let instance = Instance::new();
    let calls = instance.upstream.calls();
    instance.upstream.answer(refusing(500));
    instance.clock.wind(Duration::from_hours(5));
    eventually("a refresh has failed", || {
        // The refresher may only now begin to wait for its time.
        instance.clock.wind(Duration::from_secs(1));
        let status = instance.daemon.status();
        status.identities[0].failure.is_some().then_some(())
    });
    assert!(instance.upstream.calls() > calls);
    let path = format!("{ROLE}default");
    let answer = instance.get(&path).json();
    assert_eq!(answer["Code"], "Success");
    assert_eq!(answer["AccessKeyId"], upstream::KEY);
    assert_eq!(answer["SecretAccessKey"], upstream::SECRET);

    instance.clock.wind(Duration::from_hours(2));
    eventually("the set has ended", || {
        let status = instance.daemon.status();
        (status.identities[0].state == "expired").then_some(())
    });
    let mut waiting = begin_to_wait(&instance);
    instance.clock.wind(WAIT);
    let reply = receive(&mut waiting, true).unwrap();
    assert_eq!(reply.status, 503, "{}", text(&reply));
    assert!(!is_leaking(&reply));
}

/// It asks upstream in the request, without a lock: as often as there are clients.
#[test]
fn a_crowd_costs_one_call_upstream() {
    let instance = Instance::warming();
    let token = instance.token();
    let calls = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..32)
            .map(|_| scope.spawn(|| instance.ask("GET", &format!("{ROLE}default"), &shown(&token))))
            .collect();
        eventually("the upstream is asked", || {
            (instance.upstream.calls() > 0).then_some(())
        });
        instance.give();
        for reply in asking {
            assert_eq!(reply.join().unwrap().json()["AccessKeyId"], upstream::KEY);
        }
        instance.upstream.calls()
    });
    assert_eq!(calls, 1);
}

/// It has no time limits at all.
#[test]
fn a_head_that_never_ends_is_given_up() {
    let instance = Instance::new();
    let mut stream = instance.clock.until_a_deadline(|| instance.connect());
    stream
        .write_all(b"PUT /latest/api/token HTTP/1.1\r\n")
        .unwrap();
    eventually("the connection is closed", || {
        instance.clock.wind(Duration::from_secs(2));
        is_closed(&stream).then_some(())
    });
}

/// While its upstream fails, every request makes another call.
#[test]
fn requests_make_a_failing_upstream_no_busier() {
    let instance = Instance::warming();
    instance.upstream.answer(refusing(400));
    eventually("the identity fails", || {
        let status = instance.daemon.status();
        status.identities[0].failure.is_some().then_some(())
    });
    let calls = instance.upstream.calls();
    let token = shown(&instance.token());
    for _ in 0..200 {
        let reply = instance.ask("GET", &format!("{ROLE}default"), &token);
        assert!(!is_leaking(&reply));
    }
    assert_eq!(instance.upstream.calls(), calls);
}

/// aws-vault's proxy can be stopped by anybody, with a GET.
#[test]
fn no_path_stops_or_changes_anything() {
    let instance = Instance::new();
    for path in [
        "/stop",
        "/healthcheck",
        "/v1/refresh",
        "/v1/forget",
        "/quit",
    ] {
        assert_eq!(instance.ask("GET", path, "").status, 401, "{path}");
        assert_eq!(instance.get(path).status, 404, "{path}");
        assert_eq!(instance.ask("POST", path, "").status, 405, "{path}");
    }
    assert_eq!(instance.get(ROLE).status, 200);
    assert!(!instance.daemon.has_ended());
}
