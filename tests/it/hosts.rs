//! Hosts that are no server with systemd: containers, other init systems and none, bare of what a
//! program may take for granted.

mod bare;
mod first;
mod manifests;

use std::process::Command;

use credd::os::files;

/// The processes that `parent` has to wait for, those that have ended already included.
fn children(parent: u32) -> Vec<u32> {
    let file = format!("/proc/{parent}/task/{parent}/children");
    let list = files::read_text_now(file.as_ref(), 64 * 1024);
    let list = list.map(|list| list.to_string()).unwrap_or_default();
    list.split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// `inner` run by `outer`, in the environment of `inner`.
fn within(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program()).args(inner.get_args());
    outer.env_clear();
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            outer.env(name, value);
        }
    }
    outer
}

/// unshare(1) with these options, where this user may use them.
fn unshare(options: &[&str]) -> Option<Command> {
    let command = || {
        let mut command = Command::new("/usr/bin/unshare");
        command.args(options);
        command
    };
    let tried = command().arg("/bin/true").output();
    tried.is_ok_and(|it| it.status.success()).then(command)
}
