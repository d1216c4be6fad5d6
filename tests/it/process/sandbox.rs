//! What the daemon gives up where nobody else has taken it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use credd::os::files::{read_text_now, write_private};

use crate::commands::aws::{OPS, OPS_KEY, OPS_SECRET, beside_aws, configure, credd};
use crate::serving::program::{Place, Running, Said};
use crate::serving::{eventually, skipped};
use crate::support::fake_aws::{Call, FakeAws};

const SERIAL: &str = "arn:aws:iam::123456789012:mfa/ops";

fn status_of(process: &str, field: &str) -> String {
    let status = read_text_now(format!("/proc/{process}/status").as_ref(), 16 * 1024).unwrap();
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t"));
    value.unwrap().to_owned()
}

fn is_filtered() -> bool {
    let is_filtered = status_of("self", "Seccomp") != "0";
    if is_filtered {
        skipped("system calls are filtered here already");
    }
    is_filtered
}

#[test]
fn the_daemon_has_no_new_privileges_and_a_filter_of_system_calls() {
    let place = Place::bare();
    let daemon = place.serve();
    let status = |field| status_of(&daemon.id().to_string(), field);
    assert_eq!(status("NoNewPrivs"), "1");
    assert_eq!(status("Seccomp"), "2");
    assert!(daemon.output().contains("sandbox no_new_privileges=active"));
    for thread in fs::read_dir(format!("/proc/{}/task", daemon.id())).unwrap() {
        let thread = thread.unwrap().file_name();
        let path = format!("{}/task/{}", daemon.id(), thread.display());
        assert_eq!(status_of(&path, "Seccomp"), "2");
    }
}

/// Prints what the kernel says to calls that change nothing even where they are let through: a
/// mount on nothing, an attachment to nobody, mounts of one's own, no clock, an unknown order to
/// reboot, an unknown one for keyrings.
const TRY: &str = r"
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def say(returned):
    return ctypes.get_errno() if returned == -1 else 0
print(say(libc.mount(b'none', b'/nonexistent', b'tmpfs', 0, None)),
      say(libc.ptrace(16, 0x7fffffff, 0, 0)),
      say(libc.unshare(0x20000)),
      say(libc.clock_settime(99, ctypes.create_string_buffer(16))),
      say(libc.reboot(1)),
      say(libc.syscall(ctypes.c_long(LANGUAGE), ctypes.c_long(99999), 0, 0, 0, 0)))
";

#[test]
fn programs_that_the_daemon_runs_are_refused_what_they_never_need() {
    if is_filtered() {
        return;
    }
    let keyctl = libc::SYS_keyctl.to_string();
    let script = TRY.replace("LANGUAGE", &keyctl);
    let python = |command: &mut Command| Said::by(command.args(["-c", &script])).data();
    let before = python(&mut Command::new("python3"));
    assert_ne!(before, "1 1 1 1 1 1\n");

    let place = Place::bare();
    let program = place.folder().join("program");
    let folder = place.folder().display().to_string();
    write_private(&place.folder().join("try.py"), script.as_bytes()).unwrap();
    let text = format!(
        "#!/bin/sh\npython3 {folder}/try.py > {folder}/said.new 2>&1\n\
         mv {folder}/said.new {folder}/said\nexit 1\n"
    );
    write_private(&program, text.as_bytes()).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o700)).unwrap();
    configure(
        &place,
        &format!("[identity.vault]\nprovider = \"process\"\ncommand = [\"{folder}/program\"]\n"),
    );
    let daemon = place.serve();
    let said = eventually("the program has run", || {
        read_text_now(&place.folder().join("said"), 1024).ok()
    });
    assert_eq!(*said, "1 1 1 1 1 1\n", "before: {before}");
    // They write where they like.
    assert!(daemon.output().contains("landlock=\"left out"));
}

/// A daemon that waits for a code, in a runtime directory whose name is then somebody else's.
fn misled(place: &Place, aws: &FakeAws) -> Running {
    aws.mfa_device(OPS, SERIAL);
    write_private(&place.folder().join("key"), OPS_SECRET.as_bytes()).unwrap();
    configure(
        place,
        &format!(
            r#"
            [identity.ops]
            provider = "keys"
            access-key-id = "{OPS_KEY}"
            secret-access-key = "file:{}"
            [identity.mfa]
            provider = "session-token"
            from = "ops"
            mfa-serial = "{SERIAL}"
            "#,
            place.folder().join("key").display()
        ),
    );
    let daemon = place.serving(&mut credd(place, aws, &["serve"]));
    eventually("a code is waited for", || {
        let said = place.run(&["mfa", "--list"]);
        said.stdout.contains("mfa").then_some(())
    });
    let moved = place.folder().join("moved");
    fs::rename(place.runtime(), &moved).unwrap();
    fs::create_dir(place.runtime()).unwrap();
    aws.mfa_codes(SERIAL, &["246813"]);
    let mut command = place.credd(&["mfa", "mfa", "--runtime-dir"]);
    command.arg(&moved);
    let (read, mut write) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut write, b"246813\n").unwrap();
    drop(write);
    // Whatever is said of it: the code is written down before it is sent.
    Said::by(command.stdin(Stdio::from(read)));
    daemon
}

#[test]
fn the_daemon_writes_nowhere_but_in_its_own_directories() {
    beside_aws(|aws| {
        let place = Place::bare();
        let daemon = misled(&place, aws);
        if daemon.output().contains("no landlock here") {
            return skipped("this kernel has no landlock");
        }
        let left = fs::read_dir(place.runtime()).unwrap().count();
        assert_eq!(left, 0, "{}", daemon.output());
    });
}

#[test]
fn a_daemon_that_runs_programs_writes_where_it_is_misled_to() {
    beside_aws(|aws| {
        let place = Place::bare();
        configure(&place, "[mfa]\nhook = [\"/bin/true\"]\n");
        let daemon = misled(&place, aws);
        assert!(
            place.runtime().join("used-codes").exists(),
            "{}",
            daemon.output()
        );
        assert_eq!(
            aws.seen()
                .iter()
                .filter(|it| it.call == Call::GetSessionToken)
                .count(),
            1
        );
    });
}
