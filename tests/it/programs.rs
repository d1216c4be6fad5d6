//! Programs that credd runs: real scripts, ended in time and with all that they started.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use credd::credentials::{Failure, FailureClass};
use credd::environment::Environment;
use credd::os::files;
use credd::program::{Command, Limits, Output, Problem, ProgramError};
use tempfile::TempDir;

use crate::support::clock::TestClock;
use crate::support::patience::{run, settle, until};

const CANARY: &str = "CANARY";

struct Scripts {
    folder: TempDir,
    clock: Arc<TestClock>,
    variables: Vec<(String, String)>,
}

impl Scripts {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: TestClock::new(),
            variables: Vec::new(),
        }
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A script that only its owner can change, to be run with these arguments.
    fn script(&self, text: &str, arguments: &[&str]) -> Command {
        let path = self.folder.path().join("vault");
        files::write_private(&path, format!("#!/bin/sh\n{text}\n").as_bytes()).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let path = path.to_str().unwrap();
        let words = std::iter::once(&path).chain(arguments);
        Command::Arguments(words.map(|word| (*word).to_owned()).collect())
    }

    async fn run(&self, command: &Command) -> Result<Output, ProgramError> {
        let environment: Environment = self.variables.iter().cloned().collect();
        loop {
            let outcome = command.run(Limits::OF_SDKS, &environment, &*self.clock);
            match outcome.await {
                // Another test was starting a program while this one's script was written.
                Err(ProgramError {
                    problem: Problem::Start(error),
                    ..
                }) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
                outcome => return outcome,
            }
        }
    }

    async fn said(&self, command: &Command) -> String {
        let output = self.run(command).await.unwrap();
        String::from_utf8(output.stdout.to_vec()).unwrap()
    }

    async fn failure(&self, command: &Command) -> Failure {
        self.run(command).await.unwrap_err().into()
    }

    /// The process ids that a script has written into the file `pids`, once there are so many.
    async fn processes(&self, count: usize) -> Vec<u32> {
        let path = self.folder.path().join("pids");
        let read = || -> Vec<u32> {
            let text = files::read_text_now(&path, 1000);
            let text = text.map(|text| text.to_string()).unwrap_or_default();
            let lines = text.split_inclusive('\n');
            let whole = lines.filter_map(|line| line.strip_suffix('\n')?.parse().ok());
            whole.collect()
        };
        until(|| read().len() == count).await;
        read()
    }
}

/// A process that waits for its parent to ask after it runs no more.
fn is_running(process: u32) -> bool {
    let status = files::read_text_now(Path::new(&format!("/proc/{process}/status")), 10_000);
    status.is_ok_and(|status| !status.contains("State:\tZ") && !status.contains("State:\tX"))
}

fn is_reaped(process: u32) -> bool {
    !Path::new(&format!("/proc/{process}")).exists()
}

/// Starts a process of its own, notes both, and goes on for ever.
const FAMILY: &str = r#"sleep 1000 & echo $! > "$1/pids"; echo $$ >> "$1/pids"; wait"#;

#[test]
fn arguments_reach_a_program_as_they_are() {
    run(async || {
        let scripts = Scripts::new();
        let arguments = ["a b", "", "$HOME", "*", "'; exit 1"];
        let command = scripts.script(r#"printf '%s|' "$@"; echo noise >&2"#, &arguments);
        assert_eq!(scripts.said(&command).await, "a b||$HOME|*|'; exit 1|");
    });
}

#[test]
fn a_shell_line_means_what_it_means_to_a_shell() {
    run(async || {
        let scripts = Scripts::new().set("WHO", "world");
        let line = Command::Shell(r#"printf 'hello %s' "$WHO" | tr a-z A-Z"#.to_owned());
        assert_eq!(scripts.said(&line).await, "HELLO WORLD");
    });
}

#[test]
fn a_program_has_the_environment_but_for_what_is_credds_own() {
    run(async || {
        let mut scripts = Scripts::new().set("PATH", "/usr/bin:/bin");
        for name in [
            "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
            "LISTEN_FDS",
        ] {
            scripts = scripts.set(name, CANARY);
        }
        let scripts = scripts.set("AWS_ACCESS_KEY_ID", "AKIA");
        let said = scripts.said(&scripts.script("env", &[])).await;
        assert!(said.contains("AWS_ACCESS_KEY_ID=AKIA\n"), "{said}");
        assert!(!said.contains(CANARY), "{said}");
        // Nor anything of the process that runs these tests.
        assert!(!said.contains("CARGO"), "{said}");
    });
}

#[test]
fn a_program_starts_without_input_in_the_root_folder_and_its_own_group() {
    run(async || {
        let scripts = Scripts::new();
        let command = scripts.script(
            r#"pwd; read line || echo end; [ "$(cut -d' ' -f5 /proc/$$/stat)" = $$ ] && echo leads"#,
            &[],
        );
        assert_eq!(scripts.said(&command).await, "/\nend\nleads\n");
    });
}

#[test]
fn signals_have_their_usual_effect_on_a_program() {
    run(async || {
        let scripts = Scripts::new();
        // Ignored and blocked ones, of which this host's tests set none.
        let command = scripts.script(r"grep -E '^Sig(Ign|Blk)' /proc/self/status", &[]);
        let said = scripts.said(&command).await;
        assert!(said.contains("SigBlk:\t0000000000000000"), "{said}");
        // SIGPIPE, which Rust ignores: bit 12.
        let ignored = said.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
        let ignored = u64::from_str_radix(ignored.unwrap(), 16).unwrap();
        assert_eq!(ignored >> 12 & 1, 0, "{said}");
    });
}

#[test]
fn time_that_runs_out_ends_a_program_with_all_that_it_started() {
    run(async || {
        let scripts = Scripts::new();
        let folder = scripts.folder.path().to_str().unwrap();
        let command = scripts.script(FAMILY, &[folder, CANARY]);
        let (failure, family) = tokio::join!(scripts.failure(&command), async {
            let family = scripts.processes(2).await;
            assert!(family.iter().all(|it| is_running(*it)));
            scripts.clock.advance(Duration::from_secs(59));
            settle().await;
            assert!(family.iter().all(|it| is_running(*it)));
            scripts.clock.advance(Duration::from_secs(1));
            family
        });
        assert_eq!(failure.class, FailureClass::Transient);
        let message = &failure.message;
        assert!(message.contains("`vault` did not finish"), "{message}");
        assert!(!message.contains(CANARY) && !message.contains(folder));
        until(|| !family.iter().any(|it| is_running(*it))).await;
        assert!(is_reaped(family[1]));
    });
}

#[test]
fn a_run_that_is_abandoned_ends_the_program_with_all_that_it_started() {
    run(async || {
        let scripts = Scripts::new();
        let folder = scripts.folder.path().to_str().unwrap();
        let command = scripts.script(FAMILY, &[folder]);
        let family = tokio::select! {
            _ = scripts.run(&command) => panic!("it goes on for ever"),
            family = scripts.processes(2) => family,
        };
        until(|| !family.iter().any(|it| is_running(*it))).await;
    });
}

#[test]
fn a_child_that_holds_the_output_open_holds_up_the_end_and_no_longer_than_allowed() {
    run(async || {
        let scripts = Scripts::new();
        let folder = scripts.folder.path().to_str().unwrap();
        let command = scripts.script(r#"sleep 1000 & echo $! > "$1/pids""#, &[folder]);
        let (failure, family) = tokio::join!(scripts.failure(&command), async {
            let family = scripts.processes(1).await;
            settle().await;
            scripts.clock.advance(Duration::from_mins(1));
            family
        });
        assert!(failure.message.contains("did not finish"), "{failure}");
        until(|| !is_running(family[0])).await;
        // One that lets go of it is none of credd's business.
        let command = scripts.script("sleep 1 >/dev/null 2>&1 & echo done", &[]);
        assert_eq!(scripts.said(&command).await, "done\n");
    });
}

#[test]
fn output_is_taken_up_to_its_limit_and_not_beyond() {
    run(async || {
        let scripts = Scripts::new();
        let bytes = |count: usize| format!("head -c {count} /dev/zero");
        let most = Limits::OF_SDKS.output_bytes;
        let said = scripts.said(&scripts.script(&bytes(most), &[])).await;
        assert_eq!(said.len(), most);
        for endless in [&bytes(most + 1), "yes", "cat /dev/zero"] {
            let failure = scripts.failure(&scripts.script(endless, &[])).await;
            assert_eq!(failure.class, FailureClass::Misconfigured);
            assert!(failure.message.contains("more than 65536"), "{failure}");
        }
    });
}

#[test]
fn a_failing_program_is_quoted_on_one_line_and_in_its_beginning_only() {
    run(async || {
        let scripts = Scripts::new();
        let text = r"echo CANARY; printf 'no\n\033[2Jsession\r\n' >&2; exit 7";
        let failure = scripts.failure(&scripts.script(text, &[])).await;
        assert_eq!(failure.class, FailureClass::Transient);
        let expected = "`vault` failed (exit status: 7): no [2Jsession";
        assert_eq!(failure.message, expected);

        // All of it is heard out, so that the program comes to its own end.
        let text = "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 3";
        let failure = scripts.failure(&scripts.script(text, &[])).await;
        assert!(failure.message.contains("exit status: 3"));
        let length = failure.message.len();
        assert!((4096..4200).contains(&length), "{length}");

        let failure = scripts.failure(&scripts.script("kill -9 $$", &[])).await;
        assert!(failure.message.contains("signal: 9"), "{failure}");
    });
}

#[test]
fn a_program_that_cannot_be_trusted_or_started_is_not_run() {
    run(async || {
        let scripts = Scripts::new();
        let folder = scripts.folder.path();
        let command = scripts.script("touch \"$1/ran\"", &[folder.to_str().unwrap()]);
        let set_mode = |path: &Path, mode| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        };
        let refused = async |why: &str| {
            let failure = scripts.failure(&command).await;
            assert_eq!(failure.class, FailureClass::Misconfigured, "{failure}");
            assert!(failure.message.contains(why), "{failure}");
        };
        set_mode(&folder.join("vault"), 0o775);
        refused("chmod go-w").await;
        set_mode(&folder.join("vault"), 0o755);
        set_mode(folder, 0o777);
        refused("anybody may replace").await;
        set_mode(folder, 0o700);
        assert!(!folder.join("ran").exists());
        scripts.said(&command).await;
        assert!(folder.join("ran").exists());

        // No interpreter, no format, no path, no program.
        files::write_private(&folder.join("odd"), b"#!/no/such/shell\n").unwrap();
        set_mode(&folder.join("odd"), 0o755);
        let odd = folder.join("odd").to_str().unwrap().to_owned();
        for (words, why) in [
            (vec![odd], "cannot run `odd`"),
            (vec!["vault".to_owned()], "no absolute path"),
            (vec!["/no/such/program".to_owned()], "No such file"),
            (vec![], "names no program"),
        ] {
            let failure = scripts.failure(&Command::Arguments(words)).await;
            assert_eq!(failure.class, FailureClass::Misconfigured);
            assert!(failure.message.contains(why), "{failure}");
        }
    });
}
