//! One daemon for one place: a second does no harm, a dead one's leftovers are taken over, and
//! what others could have put there is not trusted.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use rustix::process::Signal;

use super::{place, status};
use crate::serving::program::{Place, Said};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn all_that_a_daemon_makes_is_its_owners_alone() {
    let (place, _upstream) = place();
    // A mask that takes nothing away.
    let mut shell = std::process::Command::new("sh");
    shell.args([
        "-c",
        "umask 0; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_credd"),
        "serve",
    ]);
    shell.env_clear();
    for (name, value) in place.credd(&[]).get_envs() {
        shell.env(name, value.unwrap());
    }
    let _daemon = place.serving(&mut shell);
    let runtime = place.runtime();
    for folder in ["", "admin", "tokens", "tokens/default"] {
        assert_eq!(mode(&runtime.join(folder)), 0o700, "{folder}");
    }
    for file in [
        "credd.sock",
        "admin/credd.sock",
        "tokens/default/token",
        "lock",
    ] {
        assert_eq!(mode(&runtime.join(file)), 0o600, "{file}");
    }
    let token = place.token();
    assert_eq!(token.len(), 64);
    assert!(token.bytes().all(|it| it.is_ascii_hexdigit()), "no newline");
}

#[test]
fn a_second_daemon_in_the_same_directory_goes_away_and_leaves_the_first_as_it_was() {
    let (place, _upstream) = place();
    let first = place.serve();
    place.warm();
    let seen = || {
        let inode = |path: &std::path::Path| fs::metadata(path).unwrap().ino();
        let admin = place.runtime().join("admin/credd.sock");
        (
            inode(&place.socket()),
            inode(&admin),
            inode(&place.token_file()),
            place.token(),
        )
    };
    let before = seen();
    let said = place.run(&["serve"]);
    assert_eq!(said.code(), Some(1), "{said:?}");
    let taken = format!("another credd (process {}) already serves from", first.id());
    assert!(said.stderr.contains(&taken), "{said:?}");
    assert!(said.stderr.contains("--runtime-dir"), "{said:?}");
    assert_eq!(seen(), before);
    assert!(place.run(&["get"]).is_success());
    let url = format!("http://{}/v1/credentials", place.address());
    assert_eq!(status(&url, &before.3), Some(200));
}

#[test]
fn a_second_daemon_on_the_same_port_goes_away_and_leaves_the_first_as_it_was() {
    let (first, upstream) = place();
    let _daemon = first.serve();
    let address = first.address();
    let second = Place::new(&[]);
    second.listen_on(&address.to_string(), &[("default", upstream.uri("/"))]);
    let said = second.run(&["serve"]);
    assert_eq!(said.code(), Some(1), "{said:?}");
    let told = format!("cannot listen on {address}: it is in use");
    assert!(said.stderr.contains(&told), "{said:?}");
    assert!(!second.socket().exists());
    first.warm();
    let url = format!("http://{address}/v1/credentials");
    assert_eq!(status(&url, &first.token()), Some(200));
}

#[test]
fn what_a_killed_daemon_leaves_behind_is_taken_over() {
    let (place, _upstream) = place();
    let mut first = place.serve();
    let token = place.token();
    first.signal(Signal::KILL);
    first.end();
    assert!(place.socket().exists());
    assert!(place.runtime().join("lock").exists());
    let second = place.serve();
    place.warm();
    assert_eq!(place.token(), token);
    let report = place.run(&["status", "--json"]).json();
    assert_eq!(report["pid"], second.id());
}

#[test]
fn a_token_that_others_could_have_read_or_written_is_replaced() {
    let (place, _upstream) = place();
    place.serve().terminate();
    let first = place.token();
    let tampered: [&dyn Fn(); 5] = [
        &|| fs::set_permissions(place.token_file(), Permissions::from_mode(0o644)).unwrap(),
        &|| fs::set_permissions(place.token_file(), Permissions::from_mode(0o620)).unwrap(),
        &|| credd::os::files::write_private(&place.token_file(), b"short").unwrap(),
        &|| {
            let with_newline = format!("{}\n", place.token());
            credd::os::files::write_private(&place.token_file(), with_newline.as_bytes()).unwrap();
        },
        &|| {
            let elsewhere = place.folder().join("elsewhere");
            credd::os::files::write_private(&elsewhere, "0".repeat(64).as_bytes()).unwrap();
            fs::remove_file(place.token_file()).unwrap();
            std::os::unix::fs::symlink(&elsewhere, place.token_file()).unwrap();
        },
    ];
    let mut seen = vec![first];
    for tamper in tampered {
        tamper();
        place.serve().terminate();
        let token = place.token();
        assert!(!seen.contains(&token), "{seen:?}");
        assert!(fs::symlink_metadata(place.token_file()).unwrap().is_file());
        assert_eq!(mode(&place.token_file()), 0o600);
        assert_eq!(token.len(), 64);
        seen.push(token);
    }
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    for writable in ["run", "run/admin", "run/tokens", "run/tokens/default"] {
        let (place, _upstream) = place();
        place.serve().terminate();
        let folder = place.folder().join(writable);
        for mode in [0o777, 0o720, 0o702] {
            fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
            let said = place.run(&["serve"]);
            assert_eq!(said.code(), Some(1), "{writable} {mode:o}: {said:?}");
            assert!(
                said.stderr.contains("can be written to by other users"),
                "{said:?}"
            );
            assert!(said.stderr.contains(folder.to_str().unwrap()), "{said:?}");
        }
    }
}

#[test]
fn a_directory_that_is_none_is_refused() {
    let (place, _upstream) = place();
    credd::os::files::write_private(&place.runtime(), b"a file").unwrap();
    let said = place.run(&["serve"]);
    assert_eq!(said.code(), Some(1), "{said:?}");
    assert!(
        said.stderr.starts_with("20") || said.stderr.contains("credd: "),
        "{said:?}"
    );

    let (place, _upstream) = super::place();
    let elsewhere = place.folder().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, place.runtime()).unwrap();
    let said = place.run(&["serve"]);
    assert_eq!(said.code(), Some(1), "{said:?}");
    assert!(said.stderr.contains("is no directory"), "{said:?}");
}

#[test]
fn without_any_runtime_directory_it_says_how_to_name_one() {
    let place = Place::bare();
    let mut command = place.credd(&["serve"]);
    command.env_remove("RUNTIME_DIRECTORY");
    if credd::os::process::is_root() {
        crate::serving::skipped("root has a runtime directory without naming one");
        return;
    }
    let said = Said::by(&mut command);
    assert_eq!(said.code(), Some(1), "{said:?}");
    assert!(said.stderr.contains("--runtime-dir"), "{said:?}");
}
