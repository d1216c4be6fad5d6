//! Processes that connect, fork, exec, pass on and end as it takes.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::ALICE;
use crate::serving::skipped;

/// What every script begins with. `ask` gives the status of an answer; after a refusal the
/// connection is closed.
const BEGINNING: &str = r"
import array, os, signal, socket, sys

ALICE = int(os.environ['ALICE'])
GET = b'GET /v1/credentials HTTP/1.1\r\nHost: localhost\r\n\r\n'
PATH = sys.argv[1]

def unconnected():
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    return client

# As somebody whom no rule that always holds is about: the kernel goes by the effective user.
def connect(client):
    user = os.geteuid()
    os.seteuid(ALICE)
    client.connect(PATH)
    os.seteuid(user)

def connected():
    client = unconnected()
    connect(client)
    return client

def answer(client):
    received = b''
    while b'\r\n\r\n' not in received:
        more = client.recv(65536)
        if not more:
            return 'closed'
        received += more
    head, body = received.split(b'\r\n\r\n', 1)
    length = int(head.lower().split(b'content-length: ')[1].split(b'\r\n')[0])
    while len(body) < length:
        body += client.recv(65536)
    return received[9:12].decode()

def ask(client):
    client.sendall(GET)
    return answer(client)

# Becomes another program, in a child that first does something.
def becoming(program, first=lambda: None):
    read, write = os.pipe() # closed by exec
    child = os.fork()
    if child == 0:
        first()
        os.execv(program, [program, '30'])
    os.close(write)
    os.read(read, 1)
    os.close(read)
    return child

# In a child that ends with it.
def elsewhere(act):
    child = os.fork()
    if child == 0:
        act()
        os._exit(0)
    os.waitpid(child, 0)
    return child

def end(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
";

/// An interpreter, by the name that the kernel has for it. None where there is none.
pub(super) fn interpreter() -> Option<PathBuf> {
    let look = "import os; print(os.readlink('/proc/self/exe'))";
    let output = Command::new("python3").args(["-c", look]).output().ok();
    let Some(output) = output.filter(|output| output.status.success()) else {
        skipped("needs python3");
        return None;
    };
    Some(String::from_utf8(output.stdout).unwrap().trim().into())
}

/// Where an interpreter's library is, for one that stands elsewhere.
pub(super) fn home() -> String {
    let output = Command::new("python3")
        .args(["-c", "import sys; print(sys.prefix)"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(super) fn whole(script: &str) -> String {
    format!("{BEGINNING}{script}")
}

/// The words that a script prints that has the socket as its first argument.
#[track_caller]
pub(super) fn words(script: &str, socket: &Path, arguments: &[&str]) -> Vec<String> {
    words_of(client(script, socket).args(arguments))
}

/// Runs a script that has the socket as its first argument.
pub(super) fn client(script: &str, socket: &Path) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", &whole(script)]).arg(socket);
    command.env("ALICE", ALICE.to_string());
    command
}

#[track_caller]
pub(super) fn words_of(command: &mut Command) -> Vec<String> {
    // Without a limit: some counts are as large as whoever runs this likes.
    let output = command.env("ALICE", ALICE.to_string()).output().unwrap();
    let [said, told] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert!(output.status.success(), "{said}\n{told}");
    said.split_whitespace().map(str::to_owned).collect()
}
