//! T6 and A12: directories in which somebody else could put something are not used.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use super::*;

#[test]
fn a_directory_that_others_can_change_is_refused_also_for_a_token() {
    let ground = Ground::with_worker(PRIVATE);
    ground.serve().end();
    for below in ["", "admin", "tokens", "tokens/default", "tokens/worker"] {
        let path = ground.path(below);
        for mode in [0o777, 0o720, 0o702, 0o1777] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refusal = ground.refusal();
            let told = format!("{} can be written to by other users", path.display());
            let told = told.replace("/ can", " can");
            assert!(refusal.contains(&told), "{mode:o}: {refusal}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    }
    ground.serve().end();
}

#[test]
fn a_directory_of_somebody_else_or_a_link_to_one_is_refused() {
    for below in ["admin", "tokens", "tokens/worker"] {
        let ground = Ground::with_worker(PRIVATE);
        ground.serve().end();
        let path = ground.path(below);
        if credd::os::process::is_root() {
            chown(&path, Some(STRANGER), None).unwrap();
            let refusal = ground.refusal();
            assert!(refusal.contains("belongs to another user"), "{refusal}");
            chown(&path, Some(0), None).unwrap();
        }
        let elsewhere = tempfile::tempdir().unwrap();
        fs::rename(&path, ground.path("moved")).unwrap();
        symlink(elsewhere.path(), &path).unwrap();
        let refusal = ground.refusal();
        assert!(refusal.contains("is no directory"), "{refusal}");
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
        fs::remove_file(&path).unwrap();
        small_files::write_private(&path, b"a file").unwrap();
        let refusal = ground.refusal();
        assert!(refusal.contains("is no directory"), "{refusal}");
    }
}

#[test]
fn what_is_no_token_of_ours_stays_when_others_are_removed() {
    let ground = Ground::with_worker(PRIVATE);
    ground.serve().end();
    let elsewhere = tempfile::tempdir().unwrap();
    small_files::write_private(&elsewhere.path().join("token"), b"precious").unwrap();
    symlink(elsewhere.path(), ground.path("tokens/linked")).unwrap();
    fs::create_dir(ground.path("tokens/gone")).unwrap();
    let _daemon = ground.serve();
    assert_eq!(text(&elsewhere.path().join("token")), "precious");
    assert!(!ground.path("tokens/gone").exists());
}

#[test]
fn the_runtime_directory_is_open_only_as_far_as_somebody_has_something_to_seek() {
    let mode = |ground: &Ground, below: &str| {
        fs::symlink_metadata(ground.path(below)).unwrap().mode() & 0o777
    };
    let modes = |ground: &Ground| ["", "tokens", "credd.sock"].map(|it| mode(ground, it));
    let mut ground = Ground::new();
    let daemon = ground.serve();
    assert_eq!(modes(&ground), [0o700, 0o700, 0o600]);
    daemon.end();
    let own = credd::os::process::effective_uid();
    let with_token = Conditions {
        token: Some(name("worker")),
        user: Some(STRANGER),
        ..Conditions::default()
    };
    let of = |user| Conditions {
        user: Some(user),
        ..Conditions::default()
    };
    let over_tcp = Conditions {
        listener: Some(credd::authz::ListenerName::http()),
        tcp_without_token: true,
        ..of(STRANGER)
    };
    let by_unit = Conditions {
        unit: Some("app.service".into()),
        ..Conditions::default()
    };
    for (caller, expected) in [
        // None of these lets anybody else in on the Unix socket.
        (with_token, [0o700, 0o700, 0o600]),
        (of(own), [0o700, 0o700, 0o600]),
        (of(0), [0o700, 0o700, 0o600]),
        (over_tcp, [0o700, 0o700, 0o600]),
        (of(STRANGER), [0o711, 0o700, 0o666]),
        (by_unit, [0o711, 0o700, 0o666]),
    ] {
        ground.config.allow = vec![rule(caller)];
        let daemon = ground.serve();
        assert_eq!(modes(&ground), expected, "{:?}", ground.config.allow);
        assert_eq!(mode(&ground, "admin"), 0o700);
        daemon.end();
    }
}
