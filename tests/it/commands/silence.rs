//! What the log says, and what it never does.

use serde_json::Value;

use super::{place, status};
use crate::serving::program::{Place, Running, Said};
use crate::serving::upstream::{SECRET, TOKEN};

/// Makes a daemon go through all that it does in a day.
fn exercise(place: &Place, daemon: &mut Running) {
    place.warm();
    let address = place.address();
    let token = place.token();
    for path in ["/v1/credentials", "/v1/credentials/none", "/"] {
        for token in [token.as_str(), "canary-of-a-wrong-token", ""] {
            status(&format!("http://{address}{path}"), token).unwrap();
        }
    }
    for words in [
        &["get"][..],
        &["get", "none"],
        &["env"],
        &["status"],
        &["health"],
    ] {
        place.run(words);
    }
    let script = "echo \"$AWS_CONTAINER_AUTHORIZATION_TOKEN\"";
    let leased = Said::by(&mut place.exec(&[], script)).data();
    assert_eq!(leased.trim().len(), 64);
    daemon.terminate();
    let log = daemon.output();
    for secret in [
        SECRET,
        TOKEN,
        "canary-of-a-wrong-token",
        token.as_str(),
        leased.trim(),
    ] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[test]
fn not_even_a_trace_holds_a_secret() {
    let (place, _upstream) = place();
    let mut daemon = place.serving(&mut place.credd(&["serve", "--log", "trace"]));
    exercise(&place, &mut daemon);
    // The audit log, which goes to stderr here, says both.
    for decision in ["\"decision\":\"granted\"", "\"decision\":\"denied\""] {
        assert!(daemon.output().contains(decision), "{}", daemon.output());
    }
}

#[test]
fn json_lines_are_json_and_hold_no_secret_either() {
    let (place, _upstream) = place();
    let words = ["serve", "--log", "trace", "--log-format", "json"];
    let mut daemon = place.serving(&mut place.credd(&words));
    exercise(&place, &mut daemon);
    let log = daemon.output();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let says = |message: &str| lines.iter().find(|line| line["message"] == message);
    let ready = says("ready to serve").unwrap();
    assert!(
        ready["url"]
            .as_str()
            .unwrap()
            .starts_with("http://127.0.0.1:"),
        "{ready}"
    );
    assert_eq!(ready["level"], "INFO");
    let refreshed = says("refreshed").unwrap();
    assert_eq!(refreshed["identity"], "default");
    assert_eq!(refreshed["key"], "…0001");
    assert!(says("stopped").is_some());
}

#[test]
fn the_log_is_on_stderr_and_as_loud_as_it_is_told_to_be() {
    let (place, _upstream) = place();
    let lines = |words: &[&str], variable: Option<&str>| {
        let mut command = place.credd(words);
        command.env_remove("CREDD_LOG");
        if let Some(level) = variable {
            command.env("CREDD_LOG", level);
        }
        std::fs::remove_file(place.folder().join("log")).ok();
        let mut daemon = place.serving(&mut command);
        place.warm();
        daemon.terminate();
        daemon.output()
    };
    assert_eq!(lines(&["serve", "--log", "error"], None), "");
    assert_eq!(lines(&["serve"], Some("error")), "");
    assert!(lines(&["serve", "--log", "info"], Some("error")).contains("ready to serve"));
    assert!(!lines(&["serve"], None).contains("DEBUG"));
}

#[test]
fn what_holds_secrets_cannot_be_looked_into_by_other_processes_of_the_user() {
    let (place, _upstream) = place();
    let daemon = place.serve();
    let path = |file: &str| format!("/proc/{}/{file}", daemon.id());
    // Not dumpable: what /proc shows of it belongs to root (prctl(2), PR_SET_DUMPABLE).
    let limits = credd::os::files::read_text_now(path("limits").as_ref(), 8192).unwrap();
    let cores = limits
        .lines()
        .find(|it| it.starts_with("Max core file size"))
        .unwrap();
    let columns: Vec<&str> = cores.split_whitespace().collect();
    assert_eq!(&columns[4..6], ["0", "0"], "{cores}");
    let environment = std::fs::metadata(path("environ")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&environment), 0);
}
