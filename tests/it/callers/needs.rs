//! What a policy needs to be told, and a daemon that is not told it.

use std::process::Command;
use std::sync::Arc;

use credd::audit::Outlets;
use credd::authz::{Conditions, Rule};
use credd::clock::SystemClock;
use credd::config::Config;
use credd::daemon::{Daemon, Parts, StartError};
use credd::environment::Environment;
use credd::identity::IdentityName;
use credd::random::SystemDraws;
use credd::serve::{Config as ServeConfig, Untold, Witness};
use credd::systemd::Inherited;

use super::{ALICE, as_user, inside, is_root, on_unix, rule, user};
use crate::serving::skipped;

fn rules(caller: Conditions) -> Vec<Rule> {
    vec![rule(1, caller, IdentityName::default())]
}

fn by_executable(uid: Option<u32>) -> Conditions {
    Conditions {
        user: uid,
        executable: Some("/usr/bin/app".into()),
        ..on_unix()
    }
}

fn by_unit(uid: Option<u32>) -> Conditions {
    Conditions {
        user: uid,
        unit: Some("app.service".into()),
        ..on_unix()
    }
}

/// Whether rules for those can be judged by a daemon of that user.
fn told(uid: u32, caller: Conditions) -> Result<(), Untold> {
    let addresses = ["127.0.0.1".parse().unwrap()];
    let judge = || Witness::default().suffices_for(&rules(caller), &addresses);
    std::thread::scope(|scope| as_user(scope, uid, &[], judge).join().unwrap())
}

#[test]
fn root_is_told_everything() {
    if !is_root() {
        return;
    }
    for caller in [by_executable(None), by_unit(None), user(ALICE)] {
        told(0, caller).unwrap();
    }
}

#[test]
fn rules_by_executable_take_rights_that_others_have_for_their_own_processes_only() {
    if !is_root() {
        return;
    }
    for uid in [None, Some(0)] {
        let untold = told(ALICE, by_executable(uid)).unwrap_err();
        assert!(matches!(untold, Untold::Executables(_)), "{untold:?}");
        let said = untold.to_string();
        assert!(said.contains("CAP_SYS_PTRACE"), "{said}");
        assert!(said.contains("drop-ins/executables.conf"), "{said}");
    }
    told(ALICE, by_executable(Some(ALICE))).unwrap();
    for caller in [by_unit(None), user(ALICE)] {
        told(ALICE, caller).unwrap();
    }
}

#[test]
fn rules_by_unit_take_a_proc_in_which_others_can_be_seen() {
    if !is_root() {
        return;
    }
    let test = "callers::needs::rules_by_unit_take_a_proc_in_which_others_can_be_seen";
    if !inside::is(test, inside::namespaces()) {
        return;
    }
    told(ALICE, by_unit(None)).unwrap();
    // As ProtectProc=invisible does it (systemd.exec(5)).
    let options = ["-o", "remount,hidepid=invisible", "/proc"];
    assert!(
        Command::new("mount")
            .args(options)
            .status()
            .unwrap()
            .success()
    );
    let untold = told(ALICE, by_unit(None)).unwrap_err();
    assert!(matches!(untold, Untold::Cgroups(_)), "{untold:?}");
    let said = untold.to_string();
    assert!(said.contains("drop-ins/units.conf"), "{said}");
    told(0, by_unit(None)).unwrap();
}

/// Refuses one address family, as `RestrictAddressFamilies=` does, and runs a program.
const WITHOUT_NETLINK: &str = r"
import ctypes, os, platform, socket, struct, sys
os.dup2(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4).detach(), 3) # NETLINK_SOCK_DIAG
os.set_inheritable(3, True) # where it was 3 before
SOCKET = {'x86_64': 41, 'aarch64': 198}[platform.machine()]
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, AFNOSUPPORT = 0x7fff0000, 0x00050000 | 97
program = b''.join(struct.pack('HBBI', *it) for it in [
    (LOAD, 0, 0, 0), (EQUAL, 0, 3, SOCKET),
    (LOAD, 0, 0, 16), (EQUAL, 0, 1, 16), # AF_NETLINK
    (RETURN, 0, 0, AFNOSUPPORT),
    (RETURN, 0, 0, ALLOW),
])
code = ctypes.create_string_buffer(program)
filter = struct.pack('HxxxxxxP', len(program) // 8, ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, filter, 0, 0) == 0, ctypes.get_errno()
os.execv(sys.argv[1], sys.argv[1:])
";

#[tokio::test]
async fn without_netlink_a_daemon_starts_only_if_no_rule_needs_it_or_it_is_handed_over() {
    let test = "callers::needs::without_netlink_a_daemon_starts_only_if_no_rule_needs_it_or_it_is_handed_over";
    if Command::new("python3").arg("--version").output().is_err() {
        skipped("needs python3");
        return;
    }
    let mut python = Command::new("python3");
    python.args(["-c", WITHOUT_NETLINK]);
    if !inside::is(test, python) {
        return;
    }
    // As systemd hands over the socket of credd-diag.socket.
    let handed = [
        ("LISTEN_PID", std::process::id().to_string()),
        ("LISTEN_FDS", "1".to_owned()),
        ("LISTEN_FDNAMES", "sock-diag".to_owned()),
    ];
    let handed = handed.map(|(name, value)| (name.to_owned(), value));
    let handed = Inherited::of(&handed.into_iter().collect()).unwrap();
    let start = async |caller, http: &[&str], inherited| {
        let folder = tempfile::tempdir().unwrap();
        let parts = Parts {
            config: Config {
                serve: ServeConfig {
                    http: http.iter().map(|it| it.parse().unwrap()).collect(),
                    ..ServeConfig::default()
                },
                allow: rules(caller),
                ..Config::default()
            },
            environment: Arc::new(Environment::default()),
            runtime_directory: folder.path().join("run"),
            config_file: None,
            confinement: credd::daemon::sandbox::Confinement::default(),
            inherited,
            is_on_ec2: false,
            clock: Arc::new(SystemClock::new()),
            draws: |_| Box::new(SystemDraws),
            outlets: Outlets::to(std::io::sink()),
        };
        let started = Daemon::start(parts).await.map(drop);
        // A refusal has touched nothing.
        assert_eq!(folder.path().join("run").exists(), started.is_ok());
        started
    };
    let local = ["127.0.0.1:0"];
    let none = Inherited::default;
    let error = start(user(ALICE), &local, none()).await.unwrap_err();
    assert!(
        matches!(error, StartError::Callers(Untold::SocketOwners(_))),
        "{error:?}"
    );
    let said = error.to_string();
    assert!(said.contains("start credd-diag.socket"), "{said}");
    // Nobody can come by TCP.
    start(user(ALICE), &[], none()).await.unwrap();
    start(on_unix(), &local, none()).await.unwrap();
    start(user(ALICE), &local, handed).await.unwrap();
}
