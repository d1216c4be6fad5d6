//! `credd demo`: everything against a pretend AWS, and its own commands as it prints them.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::status;
use crate::serving::eventually;
use crate::serving::program::{Place, Running, Said};

/// A demo under way, and the lines of its introduction.
fn demo(place: &Place) -> (Running, Vec<String>) {
    let mut command = place.credd(&["demo"]);
    command.env("XDG_RUNTIME_DIR", place.folder());
    let mut demo = Running::start(&mut command, &place.folder().join("demo"));
    demo.line("Refreshes are shown");
    let printed = demo.output().lines().map(str::to_owned).collect();
    (demo, printed)
}

/// What stands between two texts in one of the lines.
fn between<'a>(lines: &'a [String], before: &str, after: &str) -> &'a str {
    let line = lines
        .iter()
        .find_map(|line| Some(line.split_once(before)?.1));
    line.unwrap().split(after).next().unwrap()
}

#[test]
fn the_commands_that_it_prints_work() {
    let place = Place::bare();
    let (_demo, printed) = demo(&place);
    let commands: Vec<&str> = printed
        .iter()
        .filter_map(|line| line.strip_prefix("  "))
        .collect();
    assert!(commands.len() >= 5, "{printed:?}");
    for command in commands {
        // The AWS CLI and boto3 are what a demo may speak of and a test may not have.
        if command.contains("-- aws") || command.contains("boto3") {
            continue;
        }
        if command.starts_with("curl") && !has("curl") {
            continue;
        }
        if command.contains("--watch") {
            watch(&place, command);
            continue;
        }
        let said = Said::by(&mut shell(command));
        assert!(said.is_success(), "{command}: {said:?}");
        let expected = [
            "ASIADEMO",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI=",
            "ops-mfa is good until",
            "default: instance metadata",
        ];
        assert!(
            expected.iter().any(|it| said.stdout.contains(it)),
            "{command}: {said:?}"
        );
    }
}

/// Looks on for a while.
fn watch(place: &Place, command: &str) {
    let file = place.folder().join("watched");
    let mut watched = Running::start(&mut shell(&format!("exec {command}")), &file);
    watched.line("default");
    watched.signal(Signal::INT);
    assert!(watched.end().success(), "{}", watched.output());
}

fn has(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output();
    found.is_ok_and(|found| found.status.success())
}

fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::null());
    shell
}

#[test]
fn it_serves_obviously_fake_credentials_of_a_short_life_and_none_of_the_persons_own() {
    let place = Place::bare();
    let mut command = place.credd(&["demo"]);
    command
        .env("XDG_RUNTIME_DIR", place.folder())
        .env("AWS_ACCESS_KEY_ID", "AKIACANARY")
        .env("AWS_SECRET_ACCESS_KEY", "canary")
        .env("AWS_SESSION_TOKEN", "canary");
    let mut demo = Running::start(&mut command, &place.folder().join("demo"));
    demo.line("Refreshes are shown");
    let printed: Vec<String> = demo.output().lines().map(str::to_owned).collect();
    let runtime = between(&printed, "--runtime-dir ", " ").to_owned();
    let got = Said::by(&mut place.credd(&["get", "--runtime-dir", &runtime])).json();
    assert!(
        got["AccessKeyId"].as_str().unwrap().starts_with("ASIADEMO"),
        "{got}"
    );
    let left = place
        .run(&["status", "--json", "--runtime-dir", &runtime])
        .json();
    let identities = left["identities"].as_array().unwrap();
    let default = identities.iter().find(|it| it["name"] == "default");
    let left = default.unwrap()["seconds-left"].as_u64().unwrap();
    assert!(left <= 40, "{left}");
    let url = between(&printed, ")\" ", " ").to_owned();
    let token =
        credd::os::files::read_text_now(&Path::new(&runtime).join("tokens/default/token"), 1024)
            .unwrap();
    assert_eq!(status(&url, &token), Some(200));
    assert!(!demo.output().contains("canary"));
}

#[test]
fn a_refresh_is_shown_as_it_happens() {
    let place = Place::bare();
    let (demo, _) = demo(&place);
    eventually("the first set is shown", || {
        demo.output().contains("…0001").then_some(())
    });
    // A successor comes after 20 s, and is looked for each few.
    eventually("its successor is shown", || {
        demo.output().contains("…0002").then_some(())
    });
}

#[test]
fn an_interrupt_ends_it_and_its_directory_is_gone() {
    for signal in [Signal::INT, Signal::TERM] {
        let place = Place::bare();
        let (mut demo, printed) = demo(&place);
        let runtime = between(&printed, "--runtime-dir ", " ").to_owned();
        assert!(Path::new(&runtime).is_dir());
        demo.signal(signal);
        assert_eq!(demo.end().code(), Some(0), "{}", demo.output());
        assert!(!Path::new(&runtime).exists());
    }
}
