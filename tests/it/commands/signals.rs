//! Signals that `credd exec` passes on, once each.

use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::place;
use crate::serving::program::{Place, Running};
use crate::serving::skipped;

/// Tells of each signal, and ends at SIGTERM with the count of SIGINTs as its code.
const TELL: &str = r"count=0
    trap 'count=$((count+1)); echo INT' INT
    trap 'echo QUIT' QUIT
    trap 'echo HUP' HUP
    trap 'echo USR1' USR1
    trap 'echo USR2' USR2
    trap 'echo TERM; exit $((10+count))' TERM
    echo ready
    while :; do sleep 0.02; done";

#[test]
fn each_signal_reaches_the_program_once_and_its_end_is_passed_on() {
    let (place, _upstream) = place();
    let _daemon = place.serve();
    let mut running = Running::start(&mut place.exec(&[], TELL), &place.folder().join("told"));
    running.line("ready");
    for (signal, name) in [
        (Signal::HUP, "HUP"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::QUIT, "QUIT"),
        (Signal::INT, "INT"),
    ] {
        running.signal(signal);
        running.line(name);
    }
    running.signal(Signal::TERM);
    running.line("TERM");
    assert_eq!(running.end().code(), Some(11), "{}", running.output());
    let told = running.output();
    assert_eq!(told.lines().count(), 7, "{told}");
}

#[test]
fn an_interrupt_from_the_terminal_reaches_the_program_once() {
    interrupt_on_a_terminal("");
}

#[test]
fn an_interrupt_from_the_terminal_reaches_a_program_once_that_reads_from_a_pipe() {
    interrupt_on_a_terminal("</dev/null");
}

fn interrupt_on_a_terminal(redirection: &str) {
    if !Command::new("script")
        .arg("--version")
        .output()
        .is_ok_and(|it| it.status.success())
    {
        skipped("there is no `script` to make a terminal with");
        return;
    }
    let (place, _upstream) = place();
    let _daemon = place.serve();
    let mut running = terminal(&place, redirection);
    running.line("ready");
    running.write(b"\x03");
    let counted = running.line("^Ccounted ");
    assert_eq!(counted.trim_end(), "1", "{}", running.output());
}

/// `credd exec` as the foreground of a terminal of its own.
fn terminal(place: &Place, redirection: &str) -> Running {
    // No sleep: a shell that waits takes two signals for one. The second loop gives a second
    // signal the time to come.
    let script = "count=0; trap \"count=\\$((count+1))\" INT; echo ready
        while [ $count -eq 0 ]; do :; done
        turn=0; while [ $turn -lt 300000 ]; do turn=$((turn+1)); done
        echo counted $count";
    let exec = format!("\"$CREDD\" exec -- sh -c '{script}' {redirection}");
    let mut command = Command::new("/usr/bin/env");
    command
        .args([
            "--default-signal",
            "script",
            "-q",
            "-e",
            "-c",
            &exec,
            "/dev/null",
        ])
        .env_clear();
    for (name, value) in place.credd(&[]).get_envs() {
        command.env(name, value.unwrap());
    }
    command
        .env("CREDD", env!("CARGO_BIN_EXE_credd"))
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped());
    Running::start(&mut command, &place.folder().join("terminal"))
}
