//! Processes that end, become others, pass their connections on, or take the place of others.
//!
//! | what a process does | what comes of requests on its connection |
//! |---|---|
//! | becomes another program | rules by executable judge what it has become, within 100 ms |
//! | ends, and leaves the connection to others | all refused |
//! | passes the connection on, and goes on running | they are its own |
//! | becomes another user | it stays who it was when it connected |
//! | ends, and another one gets its number | all refused |

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use credd::authz::Conditions;

use super::python::{self, words, words_of};
use super::{ALICE, BOB, World, count, inside, is_root, on_unix, tell, user};
use crate::serving::skipped;
use crate::support::clock::TestClock;

fn executable(path: &Path) -> Conditions {
    Conditions {
        executable: Some(path.to_owned()),
        ..on_unix()
    }
}

/// Another program than the interpreter, by the name that the kernel has for it.
fn sleep() -> PathBuf {
    fs::canonicalize("/bin/sleep").unwrap()
}

#[test]
fn a_process_that_has_become_another_program_is_judged_as_that() {
    let Some(interpreter) = python::interpreter().filter(|_| is_root()) else {
        return;
    };
    let script = r"
before, after = unconnected(), unconnected()
def first():
    connect(before)
    connect(after)
    print(ask(before), flush=True)
child = becoming(sys.argv[2], first)
print(ask(after))
end(child)
";
    let sleep = sleep();
    let argument = [sleep.to_str().unwrap()];
    let world = World::opening_to(executable(&interpreter));
    let said = words(script, &world.daemon.socket(), &argument);
    assert_eq!(said, ["200", "403"]);
    let world = World::opening_to(executable(&sleep));
    let said = words(script, &world.daemon.socket(), &argument);
    assert_eq!(said, ["403", "200"]);
}

#[test]
fn what_a_process_has_become_on_a_connection_in_use_is_seen_within_100_ms() {
    let Some(interpreter) = python::interpreter().filter(|_| is_root()) else {
        return;
    };
    let script = r"
client = unconnected()
def first():
    connect(client)
    print(ask(client), flush=True)
child = becoming(sys.argv[2], first)
for _ in sys.stdin:
    print(ask(client), flush=True)
end(child)
";
    let clock = TestClock::new();
    let world = World::opening_by(Arc::clone(&clock) as _, executable(&interpreter));
    let mut client = python::client(script, &world.daemon.socket())
        .arg(sleep())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut orders = client.stdin.take().unwrap();
    let mut said = BufReader::new(client.stdout.take().unwrap()).lines();
    let mut says = || said.next().unwrap().unwrap();
    assert_eq!(says(), "200");
    clock.advance(Duration::from_millis(99));
    orders.write_all(b"again\n").unwrap();
    assert_eq!(says(), "200");
    clock.advance(Duration::from_millis(1));
    orders.write_all(b"again\n").unwrap();
    assert_eq!(says(), "403");
    drop(orders);
    assert!(client.wait().unwrap().success());
}

#[test]
fn a_connection_that_outlives_its_process_is_nobodys() {
    let Some(interpreter) = python::interpreter().filter(|_| is_root()) else {
        return;
    };
    let script = r"
client = unconnected()
elsewhere(lambda: (connect(client), print(ask(client), flush=True)))
print(ask(client))
# The request was there before the process ended.
client = unconnected()
elsewhere(lambda: connect(client))
print(ask(client))
# As long as it is not reaped, it has ended all the same.
client = unconnected()
child = os.fork()
if child == 0:
    connect(client)
    os._exit(0)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
print(ask(client))
";
    for caller in [executable(&interpreter), user(ALICE)] {
        let world = World::opening_to(caller);
        let said = words(script, &world.daemon.socket(), &[]);
        assert_eq!(said, ["200", "403", "403", "403"]);
    }
}

#[test]
fn a_lease_ends_with_the_process_that_took_it_whoever_has_its_connection() {
    if python::interpreter().is_none() || !is_root() {
        return;
    }
    let script = r"
client = unconnected()
def lease():
    connect(client)
    client.sendall(b'POST /v1/lease HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}')
    print(client.recv(12).decode().split()[1], flush=True)
elsewhere(lease)
client.settimeout(60)
while client.recv(4096):
    pass
print('over')
";
    let world = World::opening_to(user(ALICE));
    assert_eq!(words(script, &world.daemon.socket(), &[]), ["200", "over"]);
}

#[test]
fn a_connection_that_is_passed_on_is_the_givers_for_as_long_as_it_runs() {
    let Some(interpreter) = python::interpreter().filter(|_| is_root()) else {
        return;
    };
    let script = r"
ours, theirs = socket.socketpair()
giver = os.fork()
if giver == 0:
    client = connected()
    rights = array.array('i', [client.fileno()])
    theirs.sendmsg([b'.'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    theirs.recv(1)
    os._exit(0)
_, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
passed = array.array('i')
passed.frombytes(ancillary[0][2])
client = socket.socket(fileno=passed[0])
client.settimeout(60)
os.setuid(int(sys.argv[2])) # who gets nothing of its own accord
own = unconnected()
own.connect(PATH)
print(ask(own), ask(client))
ours.send(b'.')
os.waitpid(giver, 0)
print(ask(client))
";
    let world = World::opening_to(Conditions {
        user: Some(ALICE),
        ..executable(&interpreter)
    });
    let said = words(script, &world.daemon.socket(), &[&BOB.to_string()]);
    assert_eq!(said, ["403", "200", "403"]);
}

#[test]
fn who_has_connected_stays_who_it_was_and_who_connects_is_who_it_is() {
    if python::interpreter().is_none() || !is_root() {
        return;
    }
    let script = r"
before, after = connected(), unconnected()
os.setuid(int(sys.argv[2]))
after.connect(PATH)
print(ask(before), ask(after))
";
    let world = World::opening_to(user(ALICE));
    let said = words(script, &world.daemon.socket(), &[&BOB.to_string()]);
    assert_eq!(said, ["200", "403"]);
}

/// In a mount namespace of one's own, which any user may have, any file may be anywhere.
#[test]
fn a_program_that_is_mounted_over_another_is_not_taken_for_it() {
    let Some(interpreter) = python::interpreter().filter(|_| is_root()) else {
        return;
    };
    let sleep = sleep();
    let world = World::opening_to(executable(&sleep));
    let mounting = format!(
        "mount --bind {} {1} && exec {1} \"$@\"",
        interpreter.display(),
        sleep.display()
    );
    let script = r"
print(os.readlink('/proc/self/exe'), ask(connected()))
";
    let said = words_of(
        Command::new("unshare")
            .args(["--mount", "sh", "-c", &mounting, "sh"])
            .args(["-c", &python::whole(script)])
            .arg(world.daemon.socket())
            .env("PYTHONHOME", python::home()),
    );
    assert_eq!(said, [sleep.to_str().unwrap(), "403"]);
}

#[test]
fn an_executable_that_was_removed_or_replaced_is_no_longer_the_one_of_the_rule() {
    let Some(interpreter) = python::interpreter().filter(|_| is_root()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let copy = fs::canonicalize(folder.path()).unwrap().join("program");
    fs::copy(&interpreter, &copy).unwrap();
    let world = World::opening_to(executable(&copy));
    let script = r"
clients = [connected() for _ in range(5)]
program = os.readlink('/proc/self/exe')
def say():
    print(ask(clients.pop()))
say()
os.rename(program, program + '.old')
say()
os.rename(program + '.old', program)
say()
os.unlink(program)
say()
with open(program, 'w') as other:
    other.write('other')
say()
";
    let said = words_of(
        Command::new(&copy)
            .args(["-c", &python::whole(script)])
            .arg(world.daemon.socket())
            .env("PYTHONHOME", python::home()),
    );
    assert_eq!(said, ["200", "403", "200", "403", "403"]);
}

#[test]
fn a_script_is_its_interpreter() {
    let Some(interpreter) = python::interpreter().filter(|_| is_root()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    let text = format!(
        "#!{}\n{}print(ask(connected()))\n",
        interpreter.display(),
        python::whole("")
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    for (named, expected) in [(&interpreter, "200"), (&script, "403")] {
        let world = World::opening_to(executable(named));
        let said = words_of(Command::new(&script).arg(world.daemon.socket()));
        assert_eq!(said, [expected]);
    }
}

/// Control groups made for a test, gone with it.
struct Groups {
    made: Vec<PathBuf>,
    slice: PathBuf,
}

impl Groups {
    /// Where systemd keeps units: its own hierarchy of version 1, or the unified one.
    fn new() -> Option<Self> {
        let hierarchies = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup"];
        let root = hierarchies.iter().find(|it| {
            let processes = Path::new(it).join("cgroup.procs");
            processes.exists()
        });
        let slice = Path::new(root?).join(format!("creddtest{}.slice", std::process::id()));
        let mut groups = Self {
            made: Vec::new(),
            slice: slice.clone(),
        };
        groups.make(slice).then_some(groups)
    }

    fn make(&mut self, path: PathBuf) -> bool {
        let is_made = fs::create_dir(&path).is_ok();
        if is_made {
            self.made.push(path);
        } else {
            skipped("cannot make control groups here");
        }
        is_made
    }

    /// The group of that name below the slice, with those on the way there.
    fn group(&mut self, name: &str) -> Option<PathBuf> {
        let mut path = self.slice.clone();
        for part in name.split('/') {
            path.push(part);
            if !path.exists() && !self.make(path.clone()) {
                return None;
            }
        }
        Some(path)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            let _ = fs::remove_dir(path);
        }
    }
}

#[test]
fn units_and_containers_are_those_that_a_process_is_in() {
    if python::interpreter().is_none() || !is_root() {
        return;
    }
    let Some(mut groups) = Groups::new() else {
        return;
    };
    let id = "0123456789abcdef".repeat(4);
    let by_unit = World::opening_to(Conditions {
        unit: Some("app.service".into()),
        ..on_unix()
    });
    let by_container = World::opening_to(Conditions {
        container: Some(id.as_str().into()),
        ..on_unix()
    });
    let script = r"
outside, before = ask(connected()), connected()
with open(os.path.join(sys.argv[2], 'cgroup.procs'), 'w') as group:
    group.write('0')
print(outside, ask(before), ask(connected()))
";
    let docker = format!("docker-{id}.scope");
    for (group, in_unit, in_container) in [
        ("app.service", true, false),
        ("app.service/inside", true, false),
        ("other.service", false, false),
        ("other.service/app.service", false, false),
        (&format!("user@7.service/{docker}"), false, false),
        (&docker, false, true),
        (&format!("{docker}/app.service"), false, true),
    ] {
        let Some(path) = groups.group(group) else {
            return;
        };
        let path = path.to_str().unwrap();
        for (world, is_in) in [(&by_unit, in_unit), (&by_container, in_container)] {
            let inside = if is_in { "200" } else { "403" };
            let said = words(script, &world.daemon.socket(), &[path]);
            assert_eq!(said, ["403", inside, inside], "{group}");
        }
    }
}

/// How many processes' numbers are taken over, and how many connections each of those leaves.
/// `CREDD_REUSES=20000` makes a million attributions.
const REUSES: usize = 100;
const CONNECTIONS: usize = 50;

#[test]
fn a_process_that_gets_the_number_of_one_that_connected_is_never_taken_for_it() {
    let test = "callers::processes::\
                a_process_that_gets_the_number_of_one_that_connected_is_never_taken_for_it";
    if python::interpreter().is_none() || !is_root() {
        return;
    }
    // Numbers are dealt out there as is asked, and nobody else takes them.
    if !inside::is(test, inside::namespaces()) {
        return;
    }
    let script = r"
turns, many, program = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
allowed = unconnected()
child = becoming(program, lambda: connect(allowed))
assert ask(allowed) == '200'
end(child)
reused = asked = wrong = 0
for turn in range(turns):
    clients = [unconnected() for _ in range(many)]
    def first():
        for client in clients:
            connect(client)
            # Half of the requests are under way when the number changes hands.
            if turn % 2:
                client.sendall(GET)
    gone = elsewhere(first)
    with open('/proc/sys/kernel/ns_last_pid', 'w') as last:
        last.write(str(gone - 1))
    child = becoming(program)
    if child == gone:
        reused += 1
        for client in clients:
            asked += 1
            status = answer(client) if turn % 2 else ask(client)
            assert status in ('200', '403'), status
            wrong += status == '200'
    for client in clients:
        client.close()
    end(child)
print(reused, asked, wrong)
";
    let world = World::opening_to(executable(&sleep()));
    let turns = count("CREDD_REUSES", REUSES);
    let said = words(
        script,
        &world.daemon.socket(),
        &[
            &turns.to_string(),
            &CONNECTIONS.to_string(),
            sleep().to_str().unwrap(),
        ],
    );
    let numbers: Vec<usize> = said.iter().map(|word| word.parse().unwrap()).collect();
    let [reused, asked, wrong] = numbers[..] else {
        panic!("{said:?}");
    };
    tell(&format!(
        "{reused} process ids reused by force, {asked} requests on connections of those before, \
         {wrong} attributed to the one after"
    ));
    assert_eq!(wrong, 0);
    assert!(reused * 10 > turns * 9, "{said:?}");
}
