//! The units that are shipped, as systemd itself reads them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use credd::os::files::{read_text_now, write_private};
use tempfile::TempDir;

use super::manager::NAMES;
use crate::serving::skipped;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

/// All units below `systemd/` in a folder of their own, with the program where it is built.
fn installed(folder: &str) -> (TempDir, Vec<String>) {
    let copies = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(shipped().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if !name.ends_with(".service") && !name.ends_with(".socket") {
            continue;
        }
        let text = read_text_now(&entry.path(), 64 * 1024).unwrap();
        let text = text.replace("/usr/bin/credd ", concat!(env!("CARGO_BIN_EXE_credd"), " "));
        // A template stands for what it is made into.
        let name = name.replace("@.", "@169.254.169.254.");
        write_private(&copies.path().join(&name), text.as_bytes()).unwrap();
        names.push(name);
    }
    names.sort();
    (copies, names)
}

fn install(copies: &TempDir, unit: &str, drop_in: &Path) {
    let folder = copies.path().join(format!("{unit}.d"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(drop_in, folder.join("it.conf")).unwrap();
}

/// Nothing where there is no systemd.
fn analyze(copies: &TempDir, words: &[&str]) -> Option<Output> {
    let output = Command::new("systemd-analyze")
        .args(words)
        .current_dir(copies.path())
        .env("SYSTEMD_UNIT_PATH", format!("{}:", copies.path().display()))
        .env("XDG_RUNTIME_DIR", copies.path())
        .output();
    if output.is_err() {
        skipped("needs systemd-analyze");
    }
    output.ok()
}

#[track_caller]
fn verify(copies: &TempDir, words: &[&str], unit: &str) -> bool {
    let unit_here = format!("./{unit}");
    let words = [&["verify", "--man=no"], words, &[unit_here.as_str()]].concat();
    let Some(output) = analyze(copies, &words) else {
        return false;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let here = copies.path().display().to_string();
    let wrong: Vec<&str> = said
        .lines()
        // Of our units alone: what else is installed here is not ours to judge.
        .filter(|line| line.contains(&here) || line.contains("credd"))
        // As the unit says: before systemd 254.
        .filter(|line| !line.contains("'FileDescriptorStorePreserve'"))
        .collect();
    assert!(
        output.status.success() && wrong.is_empty(),
        "{unit}: {said}"
    );
    true
}

#[test]
fn systemd_understands_every_unit() {
    let (copies, names) = installed(".");
    assert!(names.len() >= 6, "{names:?}");
    for name in &names {
        if !verify(&copies, &[], name) {
            return;
        }
    }
    let (copies, names) = installed("user");
    assert_eq!(names, ["credd.service", "credd.socket"]);
    for name in &names {
        verify(&copies, &["--user"], name);
    }
}

/// At boot the sockets come before everything that waits for `basic.target`.
#[test]
fn no_socket_that_is_enabled_waits_for_what_waits_for_it() {
    let (copies, names) = installed(".");
    let wants = copies.path().join("sockets.target.wants");
    std::fs::create_dir(&wants).unwrap();
    for name in names.iter().filter(|name| name.ends_with(".socket")) {
        std::os::unix::fs::symlink(copies.path().join(name), wants.join(name)).unwrap();
    }
    for name in &names {
        if !verify(&copies, &[], name) {
            return;
        }
    }
}

#[test]
fn systemd_understands_every_drop_in() {
    let drop_ins = std::fs::read_dir(shipped().join("drop-ins")).unwrap();
    let drop_ins = drop_ins.map(|entry| entry.unwrap().path());
    let also = [shipped().join("addresses.conf")];
    for drop_in in drop_ins.chain(also) {
        let (copies, _) = installed(".");
        install(&copies, "credd.service", &drop_in);
        if !verify(&copies, &[], "credd.service") {
            return;
        }
    }
}

/// `systemd-analyze security`, in tenths: what the units' readers are promised.
#[test]
fn the_units_and_their_drop_ins_are_as_little_exposed_as_they_say() {
    for (unit, drop_in, most) in [
        ("credd.service", None, 12),
        ("credd.service", Some("drop-ins/credentials.conf"), 12),
        ("credd.service", Some("drop-ins/network.conf"), 12),
        ("credd.service", Some("drop-ins/units.conf"), 14),
        ("credd.service", Some("drop-ins/groups.conf"), 14),
        ("credd.service", Some("drop-ins/executables.conf"), 16),
        ("credd.service", Some("addresses.conf"), 14),
        ("credd-address@169.254.169.254.service", None, 45),
    ] {
        let (copies, _) = installed(".");
        if let Some(drop_in) = drop_in {
            install(&copies, unit, &shipped().join(drop_in));
        }
        let threshold = format!("--threshold={most}");
        let words = ["security", "--offline=true", "--no-pager", &threshold];
        let unit_here = format!("./{unit}");
        let Some(output) = analyze(&copies, &[&words[..], &[&unit_here]].concat()) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        let verdict = said.lines().last().unwrap_or_default();
        assert!(output.status.success(), "{unit} {drop_in:?}: {verdict}");
    }
}

/// What the .socket units call their sockets is what a daemon knows them by, and none of them ever
/// gives its socket up.
#[test]
fn the_sockets_are_called_what_the_daemon_knows_them_by() {
    let (copies, names) = installed(".");
    let sockets = names.iter().filter(|name| name.ends_with(".socket"));
    let mut called = Vec::new();
    for name in sockets {
        let text = read_text_now(&copies.path().join(name), 64 * 1024).unwrap();
        let mut lines = text.lines();
        called
            .extend(lines.find_map(|it| Some(it.strip_prefix("FileDescriptorName=")?.to_owned())));
        assert!(text.contains("\nTriggerLimitIntervalSec=0\n"), "{name}");
        let is_within = ["\nListenStream=/run/credd/", "\nListenNetlink="];
        let is_within = is_within.iter().any(|listen| text.contains(listen));
        assert!(is_within || text.contains("\nBindToDevice=lo\n"), "{name}");
        let is_its_service = *name == "credd.socket" || text.contains("\nService=credd.service\n");
        assert!(is_its_service, "{name}");
    }
    called.sort();
    let others = ["imds", "metrics", "sock-diag"];
    let mut known: Vec<&str> = NAMES.split(':').chain(others).collect();
    known.sort_unstable();
    assert_eq!(called, known);
}

#[test]
fn users_and_places_are_those_of_the_units() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("etc")).unwrap();
    let root = format!("--root={}", folder.path().display());
    for (program, file) in [
        ("systemd-sysusers", "sysusers.d/credd.conf"),
        ("systemd-tmpfiles", "tmpfiles.d/credd.conf"),
    ] {
        let mut command = Command::new(program);
        if program == "systemd-tmpfiles" {
            command.arg("--create");
        }
        let Ok(output) = command.arg(&root).arg(shipped().join(file)).output() else {
            return skipped("needs systemd");
        };
        if !rustix::process::geteuid().is_root() {
            return skipped("needs root");
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {said}");
    }
    let groups = read_text_now(&folder.path().join("etc/group"), 64 * 1024).unwrap();
    assert!(groups.contains("credd-admin:"), "{}", *groups);
    let admin = std::fs::metadata(folder.path().join("run/credd/admin")).unwrap();
    let mode = std::os::unix::fs::MetadataExt::mode(&admin) & 0o777;
    assert_eq!(mode, 0o750);
    // Else nobody's own credd trusts what is there, nor that there is nothing.
    let config = std::fs::metadata(folder.path().join("etc/credd")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&config), 0);
}

/// An upgrade reads the units anew, and systemd lets go of a socket that is at another place in them.
#[test]
fn no_version_moves_a_socket() {
    for (unit, place) in [
        ("credd.socket", "127.0.0.1:339"),
        ("credd-unix.socket", "/run/credd/credd.sock"),
        ("credd-admin.socket", "/run/credd/admin/credd.sock"),
        ("credd-imds.socket", "169.254.169.254:80"),
        ("credd-metrics.socket", "127.0.0.1:9170"),
        ("user/credd.socket", "127.0.0.1:9169"),
    ] {
        let text = read_text_now(&shipped().join(unit), 64 * 1024).unwrap();
        let listens = text.lines().filter(|it| it.starts_with("Listen"));
        let listens: Vec<&str> = listens.collect();
        assert_eq!(listens, [format!("ListenStream={place}")], "{unit}");
    }
}
