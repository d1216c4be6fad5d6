//! T6: a socket is credd's, or there is none; and it never lets more in than it should.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};

use credd::authz::ListenerName;
use credd::serve::OwnSocket;

use super::*;

const GET: &str = r"GET /v1/credentials HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// With a socket for whoever gets to it.
fn with_own(path: PathBuf, group: Option<u32>, mode: u32) -> Ground {
    let mut ground = Ground::new();
    let listener = ListenerName::own("app");
    ground.config.allow = vec![rule(Conditions {
        listener: Some(listener.clone()),
        ..Conditions::default()
    })];
    ground.config.serve.own_sockets = vec![OwnSocket {
        listener,
        path,
        owner: None,
        group,
        mode,
    }];
    ground
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_socket_of_ones_own_has_its_group_and_mode_in_a_directory_that_is_made_for_it() {
    if !can_be_another() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().join("app/credd.sock");
    let ground = with_own(path.clone(), Some(GROUP), 0o660);
    let daemon = ground.serve();
    assert_eq!(
        (mode(&path), mode(&folder.path().join("app"))),
        (0o660, 0o711)
    );
    assert_eq!(fs::metadata(&path).unwrap().gid(), GROUP);
    let said = asked_by_stranger(GROUP, &path, GET);
    assert!(said.stdout.starts_with("HTTP/1.1 200 "), "{said:?}");
    let said = asked_by_stranger(OTHER_GROUP, &path, GET);
    assert!(said.stderr.contains("PermissionError"), "{said:?}");
    // It is the only way in for them.
    assert_eq!(mode(ground.directory.path()), 0o700);
    assert_eq!(mode(&ground.path("credd.sock")), 0o600);
    daemon.end();
    assert!(!path.exists());
}

#[test]
fn a_socket_of_ones_own_can_be_somebodys_and_be_in_the_runtime_directory() {
    if !can_be_another() {
        return;
    }
    let mut ground = with_own(PathBuf::new(), None, 0o600);
    let path = ground.path("app/credd.sock");
    ground.config.serve.own_sockets[0].path.clone_from(&path);
    ground.config.serve.own_sockets[0].owner = Some(STRANGER);
    let _daemon = ground.serve();
    assert_eq!(fs::metadata(&path).unwrap().uid(), STRANGER);
    assert_eq!(mode(ground.directory.path()), 0o711);
    let said = asked_by_stranger(OTHER_GROUP, &path, GET);
    assert!(said.stdout.starts_with("HTTP/1.1 200 "), "{said:?}");
    let said = asked_by_stranger(OTHER_GROUP, &ground.path("credd.sock"), GET);
    assert!(said.stderr.contains("PermissionError"), "{said:?}");
}

#[test]
fn a_socket_is_not_bound_where_others_could_put_one_of_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credd.sock");
    let refused = |ground: &Ground, why: &str| {
        let refusal = ground.refusal();
        assert!(refusal.contains(why), "{refusal}");
        assert!(
            refusal.contains(folder.path().to_str().unwrap()),
            "{refusal}"
        );
        assert!(!path.exists());
    };
    let own = with_own(path.clone(), None, 0o666);
    let mut public = Ground::new();
    public.config.serve.unix = Some(path.clone());
    for ground in [&own, &public] {
        for bits in [0o777, 0o1777, 0o770, 0o702] {
            fs::set_permissions(folder.path(), Permissions::from_mode(bits)).unwrap();
            refused(ground, "can be written to by other users");
        }
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        if credd::os::process::is_root() {
            chown(folder.path(), Some(STRANGER), None).unwrap();
            refused(ground, "belongs to another user");
            chown(folder.path(), Some(0), None).unwrap();
        }
    }
    let linked = tempfile::tempdir().unwrap();
    symlink(folder.path(), linked.path().join("link")).unwrap();
    let through = with_own(linked.path().join("link/credd.sock"), None, 0o666);
    assert!(through.refusal().contains("is no directory"));
    own.serve().end();
}

#[test]
fn what_stands_in_the_place_of_a_socket_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (path, precious) = (
        folder.path().join("credd.sock"),
        folder.path().join("precious"),
    );
    small_files::write_private(&precious, b"precious").unwrap();
    let ground = with_own(path.clone(), None, 0o666);
    symlink(&precious, &path).unwrap();
    assert!(ground.refusal().contains("no socket"));
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    assert_eq!(
        (text(&precious), mode(&precious)),
        ("precious".to_owned(), 0o600)
    );
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(ground.refusal().contains("no socket"));
    fs::remove_dir(&path).unwrap();
    // The lock beside it is no way to another file either.
    let lock = folder.path().join("credd.sock.lock");
    fs::remove_file(&lock).unwrap();
    symlink(&precious, &lock).unwrap();
    assert!(ground.refusal().contains("credd.sock.lock"));
    assert_eq!(text(&precious), "precious");
}

#[test]
fn a_squatter_in_the_place_of_the_daemon_is_put_out() {
    let ground = Ground::new();
    ground.serve().end();
    let path = ground.path("credd.sock");
    let squatter = UnixListener::bind(&path).unwrap();
    squatter.set_nonblocking(true).unwrap();
    let daemon = ground.serve();
    let request = "GET /v1/credentials HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(exchange(&mut daemon.unix(), request).unwrap().status, 200);
    let waiting = squatter.accept().unwrap_err();
    assert_eq!(waiting.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_second_daemon_for_the_same_socket_goes_away_and_leaves_the_first_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credd.sock");
    let first = with_own(path.clone(), None, 0o666);
    let daemon = first.serve();
    let before = fs::metadata(&path).unwrap().ino();
    let second = with_own(path.clone(), None, 0o600);
    assert!(second.refusal().contains("another credd"));
    let again = first.refusal();
    assert!(again.contains("another credd"), "{again}");
    assert_eq!(
        (fs::metadata(&path).unwrap().ino(), mode(&path)),
        (before, 0o666)
    );
    let request = "GET /v1/credentials HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut stream = UnixStream::connect(&path).unwrap();
    assert_eq!(exchange(&mut stream, request).unwrap().status, 200);
    assert_eq!(status(&daemon, &first.token("default")), 200);
}

#[test]
fn the_program_itself_makes_the_directory_of_a_socket_and_gives_tokens_to_groups() {
    if !can_be_another() {
        return;
    }
    // What it gives up before it serves must not be in the way.
    let ground = Ground::new();
    let place = crate::serving::program::Place::new(&[("default", ground.upstream.uri("/"))]);
    fs::set_permissions(place.folder(), Permissions::from_mode(0o755)).unwrap();
    let socket = place.folder().join("app/credd.sock");
    let config = text(&place.config());
    let path = socket.display();
    let config = format!(
        "{config}[serve.unix.default]\npath = \"{path}\"\ngroup = {GROUP}\n\
         [[allow]]\ncaller = {{ token = \"worker\" }}\nidentity = [\"default\"]\n\
         [token.worker]\ngroup = {GROUP}\n"
    );
    small_files::write_private(&place.config(), config.as_bytes()).unwrap();
    let _daemon = place.serve();
    place.warm();
    assert_eq!(
        (mode(&socket), fs::metadata(&socket).unwrap().gid()),
        (0o660, GROUP)
    );
    let said = asked_by_stranger(GROUP, &socket, GET);
    assert!(said.stdout.starts_with("HTTP/1.1 200 "), "{said:?}");
    let token = place.runtime().join("tokens/worker/token");
    let before = text(&token);
    place.run(&["token", "rotate", "worker"]).data();
    assert_ne!(text(&token), before);
    assert_eq!(
        (mode(&token), fs::metadata(&token).unwrap().gid()),
        (0o640, GROUP)
    );
}

/// The daemon's umask would hide it, which this process does not have.
#[test]
fn no_socket_has_wider_rights_than_it_should_even_for_a_moment() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let ground = Ground::new();
    let is_over = Arc::new(AtomicBool::new(false));
    let paths = ["credd.sock", "admin/credd.sock"].map(|it| ground.path(it));
    let watcher = std::thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            let mut seen = std::collections::BTreeSet::new();
            while !is_over.load(Ordering::SeqCst) {
                let found = paths.iter().filter_map(|it| fs::symlink_metadata(it).ok());
                seen.extend(
                    found
                        .filter(|it| it.file_type().is_socket())
                        .map(|it| it.mode() & 0o777),
                );
            }
            seen
        }
    });
    for _ in 0..20 {
        ground.serve().end();
    }
    is_over.store(true, Ordering::SeqCst);
    assert_eq!(watcher.join().unwrap(), [0o600].into());
}

#[test]
fn the_group_of_operators_comes_to_the_admin_socket_and_to_no_other() {
    if !can_be_another() {
        return;
    }
    let place = crate::serving::program::Place::bare();
    fs::set_permissions(place.folder(), Permissions::from_mode(0o755)).unwrap();
    // A host with such a group, which lasts as long as the daemon.
    let groups = place.folder().join("group");
    let entries = format!("root:x:0:\ncredd-admin:x:{GROUP}:\n");
    small_files::write_private(&groups, entries.as_bytes()).unwrap();
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--mount", "sh", "-c"])
        .arg("mount --bind \"$1\" /etc/group && shift && exec \"$@\"")
        .arg("sh")
        .arg(&groups)
        .args([env!("CARGO_BIN_EXE_credd"), "serve"])
        .env_clear();
    for (name, value) in place.credd(&[]).get_envs() {
        unshare.env(name, value.unwrap());
    }
    let _daemon = place.serving(&mut unshare);
    let admin = place.runtime().join("admin");
    let socket = admin.join("credd.sock");
    assert_eq!((mode(&admin), mode(&socket)), (0o750, 0o660));
    assert_eq!(fs::metadata(&admin).unwrap().gid(), GROUP);
    assert_eq!(fs::metadata(&socket).unwrap().gid(), GROUP);
    let request = r"GET /v1/tokens HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let said = asked_by_stranger(GROUP, &socket, request);
    assert!(said.stdout.starts_with("HTTP/1.1 200 "), "{said:?}");
    for (group, socket) in [(OTHER_GROUP, socket), (GROUP, place.socket())] {
        let said = asked_by_stranger(group, &socket, request);
        assert!(said.stderr.contains("PermissionError"), "{said:?}");
    }
}
