//! A test that runs again, by itself, where it can do as it likes.

use std::process::Command;

use super::tell;

const INSIDE: &str = "CREDD_INSIDE";

/// The test of that name, run by `command`, which is given a program and its arguments. Whether
/// this is that run, so that there is something to do.
#[track_caller]
pub(super) fn is(test: &str, mut command: Command) -> bool {
    if std::env::var_os(INSIDE).is_some_and(|it| it == test) {
        return true;
    }
    command
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, test);
    let output = command.output().unwrap();
    let [said, told] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert!(output.status.success(), "{said}\n{told}");
    assert!(said.contains("1 passed"), "{said}");
    tell(told.trim_end());
    false
}

/// Namespaces of processes and mounts of its own, in which a shell is the first process.
pub(super) fn namespaces() -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", "\"$@\"; exit $?", "sh"]);
    command
}
