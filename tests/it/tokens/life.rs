//! T17: a token that is replaced, taken back or left behind opens nothing any more.

use std::mem::MaybeUninit;

use rustix::fs::inotify::{self, ReadFlags, WatchFlags};

use super::*;
use crate::serving::eventually;

fn rotating() -> TokenSettings {
    TokenSettings {
        rotate: Some(24 * HOUR),
        ..PRIVATE
    }
}

#[test]
fn a_token_that_is_revoked_is_refused_at_the_very_next_request_of_a_connection() {
    for token in ["default", "worker"] {
        let ground = Ground::with_worker(PRIVATE);
        let daemon = ground.serve();
        let before = ground.token(token);
        let (mut kept, mut other) = (daemon.tcp(), daemon.tcp());
        assert_eq!(asked(&mut kept, &before).status, 200);
        assert_eq!(asked(&mut other, &before).status, 200);
        revoke(&daemon, token);
        assert_eq!(asked(&mut kept, &before).status, 403, "{token}");
        let after = ground.token(token);
        assert_ne!(after, before);
        assert_eq!(asked(&mut other, &after).status, 200, "{token}");
        assert_eq!(status(&daemon, &before), 403);
    }
}

#[test]
fn revoking_ends_those_that_an_overlap_kept_too_and_no_other_token() {
    let ground = Ground::with_worker(PRIVATE);
    let daemon = ground.serve();
    let first = ground.token("worker");
    rotate(&daemon, "worker");
    let second = ground.token("worker");
    assert_eq!(
        (status(&daemon, &first), status(&daemon, &second)),
        (200, 200)
    );
    revoke(&daemon, "worker");
    assert_eq!(
        (status(&daemon, &first), status(&daemon, &second)),
        (403, 403)
    );
    assert_eq!(status(&daemon, &ground.token("default")), 200);
    daemon.end();
    let daemon = ground.serve();
    assert_eq!(
        (status(&daemon, &first), status(&daemon, &second)),
        (403, 403)
    );
    assert_eq!(status(&daemon, &ground.token("worker")), 200);
}

/// What happens to the names in a directory, in its order, while `act` does it.
fn steps_in(directory: &Path, act: impl FnOnce()) -> Vec<(ReadFlags, String)> {
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    let changes = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE;
    inotify::add_watch(&watch, directory, changes).unwrap();
    act();
    let mut room = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(watch, &mut room);
    let next = || {
        let event = reader.next().ok()?;
        let name = event.file_name().unwrap().to_str().unwrap();
        Some((event.events(), name.to_owned()))
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn a_crash_at_any_step_of_a_revocation_leaves_nothing_that_it_takes_back() {
    let ground = Ground::with_worker(PRIVATE);
    let daemon = ground.serve();
    let first = ground.token("worker");
    rotate(&daemon, "worker");
    let second = ground.token("worker");
    let directory = ground.path("tokens/worker");
    let mut files: BTreeMap<String, Vec<u8>> = ["token", "superseded"]
        .map(|name| (name.to_owned(), text(&directory.join(name)).into_bytes()))
        .into();
    let steps = steps_in(&directory, || revoke(&daemon, "worker"));
    let third = ground.token("worker");
    daemon.end();
    let mut cut_off = 0;
    for (change, name) in &steps {
        match *change {
            ReadFlags::DELETE | ReadFlags::MOVED_FROM => {
                files.remove(name);
            }
            // Empty at first, and whole in the end.
            ReadFlags::CREATE => {
                files.insert(name.clone(), Vec::new());
            }
            ReadFlags::MOVED_TO => {
                files.insert(name.clone(), third.clone().into_bytes());
            }
            other => panic!("{other:?} of {name}"),
        }
        for name in ["token", "superseded", "token.new", "superseded.new"] {
            let path = directory.join(name);
            let _ = std::fs::remove_file(&path);
            if let Some(contents) = files.get(name) {
                small_files::write_private(&path, contents).unwrap();
            }
        }
        let daemon = ground.serve();
        let honoured = [&first, &second].map(|token| status(&daemon, token));
        assert_eq!(
            honoured,
            [403, 403],
            "after {change:?} of {name}: {steps:?}"
        );
        assert_eq!(status(&daemon, &ground.token("worker")), 200);
        daemon.end();
        cut_off += 1;
    }
    // Both are removed, and another is written beside its place and moved there.
    assert_eq!(cut_off, 5, "{steps:?}");
}

#[test]
fn a_token_that_is_rotated_by_order_opens_until_the_overlap_ends() {
    let ground = Ground::with_worker(PRIVATE);
    let daemon = ground.serve();
    let before = ground.token("worker");
    rotate(&daemon, "worker");
    let after = ground.token("worker");
    assert_ne!(before, after);
    ground.clock.wind(9 * MINUTE);
    assert_eq!(
        (status(&daemon, &before), status(&daemon, &after)),
        (200, 200)
    );
    assert_eq!(
        seen(&daemon, "worker")["previous-valid-until"],
        "2026-11-22T09:40:02Z"
    );
    ground.clock.wind(MINUTE);
    eventually("the one before is refused", || {
        (status(&daemon, &before) == 403).then_some(())
    });
    assert_eq!(status(&daemon, &after), 200);
    assert_eq!(seen(&daemon, "worker")["previous-valid-until"], Value::Null);
}

#[test]
fn each_of_two_rotations_has_its_own_overlap() {
    let ground = Ground::with_worker(PRIVATE);
    let daemon = ground.serve();
    let first = ground.token("worker");
    rotate(&daemon, "worker");
    let second = ground.token("worker");
    ground.clock.wind(5 * MINUTE);
    rotate(&daemon, "worker");
    let third = ground.token("worker");
    for token in [&first, &second, &third] {
        assert_eq!(status(&daemon, token), 200);
    }
    ground.clock.wind(5 * MINUTE);
    eventually("the first is refused", || {
        (status(&daemon, &first) == 403).then_some(())
    });
    assert_eq!(
        (status(&daemon, &second), status(&daemon, &third)),
        (200, 200)
    );
}

#[test]
fn without_an_overlap_the_one_before_is_refused_at_once() {
    let ground = Ground::with_worker(TokenSettings {
        overlap: Duration::ZERO,
        ..PRIVATE
    });
    let daemon = ground.serve();
    let before = ground.token("worker");
    rotate(&daemon, "worker");
    assert_eq!(status(&daemon, &before), 403);
    assert_eq!(status(&daemon, &ground.token("worker")), 200);
}

#[test]
fn a_token_is_rotated_when_it_is_due_and_its_file_with_it() {
    let ground = Ground::with_worker(rotating());
    let daemon = ground.serve();
    let (before, default) = (ground.token("worker"), ground.token("default"));
    assert_eq!(
        seen(&daemon, "worker")["next-rotation"],
        "2026-11-23T09:30:00Z"
    );
    ground.clock.wind(23 * HOUR);
    let worker = seen(&daemon, "worker");
    assert_eq!(worker["next-rotation-seconds"], 3598);
    assert_eq!(worker["age-seconds"], 23 * 3600 + 2);
    assert_eq!(ground.token("worker"), before);
    ground.clock.wind(HOUR);
    eventually("the file has another", || {
        (ground.token("worker") != before).then_some(())
    });
    let after = ground.token("worker");
    eventually("the new one opens", || {
        (status(&daemon, &after) == 200).then_some(())
    });
    assert_eq!(status(&daemon, &before), 200);
    ground.clock.wind(10 * MINUTE);
    eventually("the one before is refused", || {
        (status(&daemon, &before) == 403).then_some(())
    });
    assert_eq!(ground.token("default"), default);
    assert_eq!(seen(&daemon, "default")["next-rotation"], Value::Null);
}

#[test]
fn age_and_overlap_survive_a_restart() {
    let ground = Ground::with_worker(rotating());
    let daemon = ground.serve();
    let first = ground.token("worker");
    rotate(&daemon, "worker");
    let second = ground.token("worker");
    daemon.end();
    ground.clock.wind(5 * MINUTE);
    let daemon = ground.serve();
    assert_eq!(ground.token("worker"), second);
    assert_eq!(
        (status(&daemon, &first), status(&daemon, &second)),
        (200, 200)
    );
    let worker = seen(&daemon, "worker");
    assert_eq!(worker["age-seconds"], 302);
    assert_eq!(worker["made"], "2026-11-22T09:30:02Z");
    ground.clock.wind(5 * MINUTE);
    eventually("the one before is refused", || {
        (status(&daemon, &first) == 403).then_some(())
    });
    daemon.end();
    // It fell due while nobody was there to see it.
    ground.clock.wind(24 * HOUR);
    let daemon = ground.serve();
    eventually("the file has another", || {
        (ground.token("worker") != second).then_some(())
    });
    assert_eq!(status(&daemon, &first), 403);
    assert_eq!(status(&daemon, &second), 200);
}

#[test]
fn a_restart_keeps_tokens_and_removes_those_that_the_config_has_no_longer() {
    let mut ground = Ground::with_worker(PRIVATE);
    let daemon = ground.serve();
    let (default, worker) = (ground.token("default"), ground.token("worker"));
    rotate(&daemon, "worker");
    daemon.end();
    ground.config.tokens.clear();
    let daemon = ground.serve();
    assert_eq!(ground.token("default"), default);
    assert!(!ground.path("tokens/worker").exists());
    assert_eq!(
        (status(&daemon, &default), status(&daemon, &worker)),
        (200, 403)
    );
    daemon.end();
    ground.config.tokens.insert(name("worker"), PRIVATE);
    let daemon = ground.serve();
    assert_ne!(ground.token("worker"), worker);
    assert_eq!(status(&daemon, &worker), 403);
}

#[test]
fn tokens_of_another_boot_are_replaced_where_the_directory_outlives_it() {
    if credd::os::host::boot_id().is_none() {
        crate::serving::skipped("the kernel does not say which boot this is");
        return;
    }
    let ground = Ground::with_worker(PRIVATE);
    let daemon = ground.serve();
    let before = [ground.token("default"), ground.token("worker")];
    rotate(&daemon, "worker");
    daemon.end();
    let other = b"00000000-0000-0000-0000-000000000000";
    small_files::write_private(&ground.path("tokens/.boot"), other).unwrap();
    let daemon = ground.serve();
    for before in &before {
        assert_eq!(status(&daemon, before), 403);
    }
    assert_eq!(status(&daemon, &ground.token("worker")), 200);
}

#[test]
fn orders_for_what_is_no_token_are_refused_in_words() {
    let ground = Ground::with_worker(PRIVATE);
    let daemon = ground.serve();
    let before = ground.token("default");
    for path in ["/v1/tokens/rotate", "/v1/tokens/revoke"] {
        for token in ["none", "../default", "", ".boot"] {
            let reply = order(&daemon, path, token);
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (404, "TokenNotFound")
            );
        }
        let get = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(exchange(&mut daemon.admin(), get).unwrap().status, 404);
    }
    assert_eq!(ground.token("default"), before);
}

#[test]
fn what_operators_see_holds_no_token() {
    let ground = Ground::with_worker(PRIVATE);
    let daemon = ground.serve();
    rotate(&daemon, "worker");
    let seen = [seen(&daemon, "worker"), seen(&daemon, "default")].map(|it| it.to_string());
    for token in ["worker", "default"] {
        assert!(!seen.concat().contains(&ground.token(token)));
    }
}
