//! credd as the first process of a container, without a container: in a PID namespace of its own.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use credd::os::files;
use rustix::process::Signal;

use super::{children, unshare, within};
use crate::commands::aws::configure;
use crate::serving::program::{Place, Running, Said, send};
use crate::serving::{eventually, skipped};

/// credd with these words as the first process of a namespace.
fn first(place: &Place, words: &[&str]) -> Option<Command> {
    let unshare = unshare(&["--pid", "--fork", "--kill-child", "--mount-proc"]);
    if unshare.is_none() {
        skipped("this user may not make PID namespaces");
    }
    // env(1), which `credd` of a place goes through, becomes credd.
    Some(within(unshare?, &place.credd(words)))
}

/// The number that the first process has outside.
fn first_process(running: &Running) -> u32 {
    eventually("the first process", || {
        children(running.id()).first().copied()
    })
}

/// A `process` provider's program that leaves an orphan, which ends once somebody writes to the FIFO.
fn with_orphans(place: &Place) -> std::path::PathBuf {
    let (program, fifo) = (place.folder().join("program"), place.folder().join("fifo"));
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let fifo = fifo.display();
    let script = format!(
        "#!/bin/sh\n(setsid sh -c 'read line <{fifo}' </dev/null >/dev/null 2>&1 &)\n\
         echo '{{\"Version\":1,\"AccessKeyId\":\"ASIAORPHAN\",\"SecretAccessKey\":\"s\",\
         \"SessionToken\":\"t\",\"Expiration\":\"2099-01-01T00:00:00Z\"}}'\n"
    );
    files::write_private(&program, script.as_bytes()).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    configure(
        place,
        &format!(
            "[identity.a]\nprovider = \"process\"\ncommand = [\"{}\"]\n",
            program.display()
        ),
    );
    place.folder().join("fifo")
}

#[test]
fn as_the_first_process_it_leaves_no_zombies_keeps_no_secrets_and_ends_when_told() {
    const CANARY: &str = "CANARY-of-the-first-process";
    let place = Place::bare();
    let fifo = with_orphans(&place);
    let Some(mut command) = first(&place, &["serve"]) else {
        return;
    };
    let mut running = place.serving(command.env("AWS_SECRET_ACCESS_KEY", CANARY));
    place.warm();
    let init = first_process(&running);
    // The daemon, and the orphan that its program has left.
    eventually("the orphan is adopted", || {
        (children(init).len() == 2).then_some(())
    });
    let mut fifo = fs::OpenOptions::new().write(true).open(fifo).unwrap();
    fifo.write_all(b"end\n").unwrap();
    eventually("the orphan is reaped", || {
        (children(init).len() == 1).then_some(())
    });
    assert!(place.run(&["health"]).is_success());
    let environment = fs::File::open(format!("/proc/{init}/environ")).unwrap();
    let environment = files::read_bounded(environment, 64 * 1024).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    assert!(
        environment.contains("AWS_SECRET_ACCESS_KEY="),
        "{environment}"
    );
    assert!(!environment.contains(CANARY), "{environment}");
    send(init, Signal::TERM);
    let status = running.end();
    assert!(status.success(), "{status}: {}", running.output());
    assert!(running.output().contains("stopped"), "{}", running.output());
    assert!(!place.socket().exists());
}

#[test]
fn a_signal_in_its_first_moments_is_not_lost_on_the_first_process() {
    let place = Place::bare();
    let Some(mut command) = first(&place, &["serve"]) else {
        return;
    };
    let mut running = Running::start(&mut command, &place.folder().join("log"));
    let init = first_process(&running);
    // Before that it is unshare(1) still.
    let credd = fs::canonicalize(env!("CARGO_BIN_EXE_credd")).unwrap();
    eventually("it is credd", || {
        let is_credd = fs::read_link(format!("/proc/{init}/exe")).ok()? == credd;
        (is_credd && !children(init).is_empty()).then_some(())
    });
    send(init, Signal::TERM);
    // As it ended, whether or not it had come to handle the signal.
    let code = running.end().code();
    assert!([Some(0), Some(143)].contains(&code), "{code:?}");
}

#[test]
fn exec_as_the_first_process_passes_on_signals_and_the_programs_end() {
    let place = Place::bare();
    with_orphans(&place);
    let _daemon = place.serve();
    place.warm();
    let Some(mut command) = first(&place, &["exec", "--", "sh", "-c", "exit 7"]) else {
        return;
    };
    assert_eq!(Said::by(&mut command).code(), Some(7));
    let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut command = first(&place, &["exec", "--", "sh", "-c", script]).unwrap();
    let mut running = Running::start(&mut command, &place.folder().join("exec"));
    running.line("ready");
    send(first_process(&running), Signal::TERM);
    assert_eq!(running.end().code(), Some(9));
}
