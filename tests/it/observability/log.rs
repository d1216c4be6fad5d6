//! The log: its forms, and what it lets through, which changes while the daemon runs.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use credd::clock::{Clock, SystemClock};
use credd::os::files::write_private;
use credd::os::stream::Patient;
use credd::telemetry::{self, Form, Sink};
use tracing_subscriber::layer::SubscriberExt;

use super::{Samples, asked, text};
use crate::serving::program::{Place, Running, Said};
use crate::serving::upstream::{self, Upstream};
use crate::serving::{eventually, skipped};
use crate::support::journald::{received, value};

fn place() -> (Place, Upstream) {
    let expiry = SystemClock::new().now().plus(Duration::from_hours(6));
    let upstream = Upstream::answering(upstream::credentials(expiry));
    (Place::new(&[("default", upstream.uri("/"))]), upstream)
}

fn logging(sink: Sink, log: impl FnOnce()) {
    let subscriber = tracing_subscriber::registry().with(telemetry::layer(sink));
    tracing::subscriber::with_default(subscriber, log);
}

#[test]
fn the_journal_gets_a_field_for_each_value_of_an_event_and_of_what_it_is_a_part_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let journald = UnixDatagram::bind(&path).unwrap();
    let sink = Sink::journal(path, io::sink()).unwrap();
    logging(sink, || {
        let empty = tracing::field::Empty;
        let span = tracing::error_span!("refresh", identity = "billing", request_id = empty);
        span.record("request_id", "c6104cbe");
        span.in_scope(|| tracing::warn!(count = 3, error = "two\nlines", "refresh failed"));
        tracing::info!("alone");
    });
    let mut fields = vec![0; 64 * 1024];
    let length = journald.recv(&mut fields).unwrap();
    let expected = b"MESSAGE=refresh failed identity=billing request_id=c6104cbe count=3 \
        error=\"two\\nlines\"\nPRIORITY=4\nSYSLOG_IDENTIFIER=credd\nCREDD_TARGET=it::observability::log\n\
        CREDD_IDENTITY=billing\nCREDD_REQUEST_ID=c6104cbe\nCREDD_COUNT=3\n\
        CREDD_ERROR\n\x09\0\0\0\0\0\0\0two\nlines\n";
    assert_eq!(
        fields[..length].escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
    let fields = received(&journald);
    assert_eq!(value(&fields, "MESSAGE"), Some("alone"));
    assert_eq!(value(&fields, "PRIORITY"), Some("6"));
    assert_eq!(value(&fields, "CREDD_IDENTITY"), None);
}

/// What is written to stderr.
#[derive(Clone, Default)]
struct Stderr(Arc<Mutex<Vec<u8>>>);

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stderr {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[test]
fn what_the_journal_does_not_take_goes_to_stderr_with_its_priority() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let journald = UnixDatagram::bind(&path).unwrap();
    let stderr = Stderr::default();
    let sink = Sink::journal(path.clone(), stderr.clone()).unwrap();
    logging(sink, || {
        drop(journald);
        std::fs::remove_file(&path).unwrap();
        tracing::warn!(identity = "ops", "while it is away");
        let journald = UnixDatagram::bind(&path).unwrap();
        tracing::warn!("after it is back");
        let message = value(&received(&journald), "MESSAGE").map(str::to_owned);
        assert_eq!(message.as_deref(), Some("after it is back"));
    });
    assert_eq!(stderr.text(), "<4>while it is away identity=ops\n");
}

#[test]
fn a_journal_that_takes_nothing_makes_nobody_wait_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let journald = UnixDatagram::bind(&path).unwrap();
    let stderr = Stderr::default();
    let sink = Sink::journal(path, stderr.clone()).unwrap();
    let clock = SystemClock::new();
    let begun = clock.boot();
    logging(sink, || {
        (0..5000).for_each(|number| tracing::info!(number, "full"));
    });
    // As many as the queue of the socket takes, then one wait.
    assert!(begun.until(clock.boot()) < Duration::from_secs(20));
    let on_stderr = stderr.text().lines().count();
    journald.set_nonblocking(true).unwrap();
    let in_journal = std::iter::from_fn(|| journald.recv(&mut [0; 1024]).ok()).count();
    assert_eq!(on_stderr + in_journal, 5000);
    assert!(on_stderr > 0 && in_journal > 0, "{on_stderr} {in_journal}");
}

#[test]
fn a_log_that_nobody_takes_is_counted() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let before = telemetry::dropped();
    logging(Sink::stream(ours, Form::Text), || tracing::info!("unheard"));
    assert!(telemetry::dropped() > before);
}

#[test]
fn a_stderr_that_nobody_reads_keeps_no_client_waiting() {
    let (place, _upstream) = place();
    let (_unread, stderr) = io::pipe().unwrap();
    let mut filling = Patient::new(File::from(OwnedFd::from(stderr.try_clone().unwrap())));
    while filling.write_all(&[b'.'; 4096]).is_ok() {}
    let mut command = place.credd(&["serve"]);
    let child = command.stdout(Stdio::null()).stderr(stderr).spawn();
    let log = place.folder().join("log");
    write_private(&log, b"").unwrap();
    let mut daemon = Running::of(child.unwrap(), &log);
    place.warm();
    let dropped = eventually("lines are lost", || {
        let mut admin = UnixStream::connect(place.runtime().join("admin/credd.sock")).unwrap();
        let page = asked(&mut admin, "/metrics");
        let samples = Samples::parse(&text(page));
        let dropped: u64 = samples.value("credd_log_dropped_total").parse().unwrap();
        (dropped > 0).then_some(dropped)
    });
    assert!(dropped >= 2, "{dropped}");
    assert!(place.run(&["get"]).is_success());
    daemon.terminate();
}

/// Has the daemon think that its stderr is connected to the journal, at `journald`.
fn with_journal(place: &Place, journald: &Path) -> Command {
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
        mount --bind \"$0\" /run/systemd/journal && \
        JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec \"$@\"";
    let credd = place.credd(&["serve"]);
    command.args(["--mount", "sh", "-c", script]).arg(journald);
    command.arg(credd.get_program()).args(credd.get_args());
    command.env_clear();
    for (name, value) in credd.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command
}

#[test]
fn under_systemd_the_program_logs_to_the_journal_by_itself() {
    if !credd::os::process::is_root() {
        return skipped("only root may have a journal of its own");
    }
    let (place, _upstream) = place();
    let folder = tempfile::tempdir().unwrap();
    let journald = UnixDatagram::bind(folder.path().join("socket")).unwrap();
    let mut command = with_journal(&place, folder.path());
    let log = place.folder().join("log");
    let mut daemon = Running::start(&mut command, &log);
    let refreshed = eventually("the first refresh is logged", || {
        assert!(daemon.try_end().is_none(), "{}", daemon.output());
        let fields = received(&journald);
        let message = value(&fields, "MESSAGE")?;
        message.starts_with("refreshed ").then_some(fields)
    });
    assert_eq!(value(&refreshed, "CREDD_IDENTITY"), Some("default"));
    assert_eq!(
        value(&refreshed, "CREDD_PROVIDER"),
        Some("container endpoint")
    );
    assert_eq!(value(&refreshed, "CREDD_OUTCOME"), Some("new"));
    assert!(
        value(&refreshed, "CREDD_DURATION_MS").is_some(),
        "{refreshed:?}"
    );
    assert_eq!(
        value(&refreshed, "CREDD_TARGET"),
        Some("credd::refresh::task")
    );
    assert_eq!(daemon.output(), "", "nothing goes both ways");
}

#[test]
fn a_journal_that_is_not_there_is_said_where_it_was_asked_for_by_name() {
    let (place, _upstream) = place();
    if Path::new(credd::journal::SOCKET).exists() {
        return skipped("this host has a journal");
    }
    let said = place.run(&["serve", "--log-format", "journal"]);
    assert_eq!(said.code(), Some(1));
    assert!(
        said.stderr
            .contains("cannot write the log to the journal: /run/systemd"),
        "{}",
        said.stderr
    );
}

/// What the program writes to a terminal, with these variables.
fn on_a_terminal(variables: &str) -> String {
    let (place, _upstream) = place();
    let credd = env!("CARGO_BIN_EXE_credd");
    let config = place.folder().join("none.toml");
    let command = format!(
        "env {variables} {credd} serve --config {}",
        config.display()
    );
    // It says that it gives up the rest, then that the config is not there.
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
    script.env("TERM", "xterm");
    Said::by(&mut script).stdout
}

#[test]
fn on_a_terminal_levels_have_colours_unless_somebody_minds() {
    if Command::new("script").arg("--version").output().is_err() {
        return skipped("there is no script (bsdutils)");
    }
    let shown = on_a_terminal("NO_COLOR=");
    assert!(shown.contains("\x1b[32m INFO\x1b[0m memory"), "{shown}");
    for variables in ["NO_COLOR=1", "TERM=dumb"] {
        let shown = on_a_terminal(variables);
        assert!(
            shown.contains(" INFO memory") && !shown.contains('\x1b'),
            "{shown}"
        );
    }
}

#[test]
fn what_is_logged_is_changed_while_the_daemon_runs_and_changed_back() {
    let (place, _upstream) = place();
    let mut command = place.credd(&["serve", "--log", "info"]);
    let daemon = place.serving(&mut command);
    place.warm();
    let refresh = || {
        let before = daemon.output().len();
        assert!(place.run(&["refresh"]).is_success());
        daemon.output().split_off(before)
    };
    assert_eq!(place.run(&["log"]).data(), "info\n");
    assert!(!refresh().contains("DEBUG"));
    let changed = "info,credd::providers=debug (`credd log --reset` goes back to info)\n";
    let order = ["log", "info,credd::providers=debug"];
    assert_eq!(place.run(&order).data(), changed);
    assert_eq!(place.run(&["log"]).data(), changed);
    let louder = refresh();
    assert!(
        louder.contains("DEBUG upstream asked identity=default"),
        "{louder}"
    );
    assert!(louder.contains(" service=container status=200"), "{louder}");
    let said = place.run(&["log", "loud"]);
    assert_eq!(said.code(), Some(1));
    assert!(
        said.stderr.contains("`loud` is no log filter"),
        "{}",
        said.stderr
    );
    assert_eq!(place.run(&["log"]).data(), changed);
    assert_eq!(place.run(&["log", "--reset"]).data(), "info\n");
    assert!(!refresh().contains("DEBUG"));
    let json = place.run(&["log", "--json"]).json();
    assert_eq!(
        json,
        serde_json::json!({"filter": "info", "initial": "info"})
    );
    let said = daemon
        .output()
        .matches("what is logged has changed")
        .count();
    assert_eq!(said, 2);
}
