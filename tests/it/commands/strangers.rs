//! Other users of the host. These need root, which alone can become somebody else.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::place;
use crate::serving::program::{Place, Said};
use crate::serving::skipped;

/// Asks a socket as another user, and prints the answer.
const ASK: &str = r"
import os, socket, sys
# What is imported later may be out of the other user's reach.
request = sys.argv[3].encode().decode('unicode_escape').encode()
os.setgid(65534)
os.setuid(int(sys.argv[1]))
client = socket.socket(socket.AF_UNIX)
client.settimeout(20)
client.connect(sys.argv[2])
client.sendall(request)
print(client.recv(65536).decode())
";

/// Whether this test can be somebody else.
fn can_be_another() -> bool {
    let may = credd::os::process::is_root();
    let can = Command::new("python3").arg("-c").arg("0").status();
    if !may || !can.is_ok_and(|status| status.success()) {
        skipped("needs root and python3");
        return false;
    }
    true
}

/// Lets everybody through to the sockets, so that only the daemon itself is left to refuse.
fn open_the_doors(place: &Place) {
    for folder in [
        place.folder().to_owned(),
        place.runtime(),
        place.runtime().join("admin"),
    ] {
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    }
    for socket in [place.socket(), place.runtime().join("admin/credd.sock")] {
        fs::set_permissions(socket, Permissions::from_mode(0o666)).unwrap();
    }
}

fn asked_by(user: u32, socket: &Path, request: &str) -> Said {
    let mut python = Command::new("python3");
    python
        .args(["-c", ASK, &user.to_string()])
        .arg(socket)
        .arg(request);
    Said::by(&mut python)
}

/// Who owns nothing here. Not 65534, which stands for everybody whom this host has no number for.
const OTHER: u32 = 61234;

const GET: &str = r"GET /v1/credentials HTTP/1.1\r\nHost: localhost\r\n\r\n";
const STATUS: &str = r"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n";
const ENDPOINT: &str = r"GET /v1/endpoint HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LEASE: &str = r"POST /v1/lease HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";

#[test]
fn the_sockets_refuse_other_users_even_if_the_doors_are_open() {
    if !can_be_another() {
        return;
    }
    let (place, _upstream) = place();
    let _daemon = place.serve();
    place.warm();
    open_the_doors(&place);
    let admin = place.runtime().join("admin/credd.sock");
    let with_token = GET.replace(
        "Host:",
        &format!(r"Authorization: {}\r\nHost:", place.token()),
    );
    for (socket, request) in [
        (place.socket(), GET),
        (place.socket(), &with_token),
        (place.socket(), ENDPOINT),
        (place.socket(), LEASE),
        (admin, STATUS),
    ] {
        for user in [65534, 1] {
            let said = asked_by(user, &socket, request);
            assert!(
                said.stdout.starts_with("HTTP/1.1 403 "),
                "{request}: {said:?}"
            );
            assert!(said.stdout.contains("AccessDenied"), "{said:?}");
            assert!(!said.stdout.contains("ASIA"), "{said:?}");
        }
        let said = asked_by(0, &socket, request);
        assert!(
            said.stdout.starts_with("HTTP/1.1 200 "),
            "{request}: {said:?}"
        );
    }
}

#[test]
fn as_they_are_the_doors_let_no_other_user_through() {
    if !can_be_another() {
        return;
    }
    let (place, _upstream) = place();
    let _daemon = place.serve();
    // The test's own folder is in nobody's way.
    fs::set_permissions(place.folder(), Permissions::from_mode(0o755)).unwrap();
    let said = asked_by(65534, &place.socket(), GET);
    assert!(said.stderr.contains("PermissionError"), "{said:?}");
}

#[test]
fn root_is_served_by_another_users_daemon_and_its_owner_too() {
    if !can_be_another() {
        return;
    }
    let (place, _upstream) = place();
    for part in [place.folder().to_owned(), place.home(), place.config()] {
        std::os::unix::fs::chown(part, Some(OTHER), Some(OTHER)).unwrap();
    }
    // The program must be within reach of a user who may not enter root's folders.
    let program = place.folder().join("program");
    fs::copy(env!("CARGO_BIN_EXE_credd"), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let other = OTHER.to_string();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &other, "--regid", &other])
        .args(["--clear-groups", "--"])
        .arg(&program)
        .arg("serve")
        .env_clear();
    for (name, value) in place.credd(&[]).get_envs() {
        command.env(name, value.unwrap());
    }
    let _daemon = place.serving(&mut command);
    place.warm();
    open_the_doors(&place);
    for (user, served) in [(0, true), (OTHER, true), (1, false)] {
        let said = asked_by(user, &place.socket(), GET);
        assert_eq!(
            said.stdout.starts_with("HTTP/1.1 200 "),
            served,
            "{user}: {said:?}"
        );
    }
}
