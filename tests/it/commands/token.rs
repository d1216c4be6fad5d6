//! token: which there are, new ones, and an end to those that are lost.

use std::io::Read;

use rustix::process::Signal;

use super::{place, status};
use crate::serving::program::Running;

#[test]
fn tokens_are_listed_with_their_files_and_not_their_texts() {
    let (place, _upstream) = place();
    let _daemon = place.serve();
    let table = place.run(&["token"]).data();
    let file = place.token_file();
    assert!(table.starts_with("TOKEN"), "{table}");
    assert!(table.contains(file.to_str().unwrap()), "{table}");
    let report = place.run(&["token", "--json"]).json();
    let token = &report["tokens"][0];
    assert_eq!(token["name"], "default");
    assert_eq!(token["mode"], "0600");
    assert_eq!(token["file"], file.to_str().unwrap());
    assert!(token["next-rotation"].is_null());
    for shown in [table, report.to_string()] {
        assert!(!shown.contains(&place.token()), "{shown}");
    }
}

#[test]
fn rotate_keeps_the_one_before_for_a_while_and_revoke_does_not() {
    let (place, _upstream) = place();
    let _daemon = place.serve();
    place.warm();
    let url = format!("http://{}/v1/credentials", place.address());
    let first = place.token();
    let said = place.run(&["token", "rotate", "default"]).data();
    assert!(said.contains("the one before is valid until"), "{said}");
    let second = place.token();
    assert_eq!(status(&url, &first), Some(200));
    assert_eq!(status(&url, &second), Some(200));
    let report = place.run(&["token", "revoke", "default", "--json"]).json();
    assert_eq!(report["tokens"][0]["name"], "default");
    assert!(report["tokens"][0]["previous-valid-until"].is_null());
    let third = place.token();
    assert_eq!(status(&url, &first), Some(403));
    assert_eq!(status(&url, &second), Some(403));
    assert_eq!(status(&url, &third), Some(200));
}

#[test]
fn a_program_under_exec_keeps_its_own_token_when_the_common_one_is_revoked() {
    let (place, _upstream) = place();
    let _daemon = place.serve();
    place.warm();
    let script = r#"echo "url $AWS_CONTAINER_CREDENTIALS_FULL_URI"
        echo "token $AWS_CONTAINER_AUTHORIZATION_TOKEN"; exec sleep 1000"#;
    let mut running = Running::start(&mut place.exec(&[], script), &place.folder().join("shown"));
    let (url, token) = (running.line("url "), running.line("token "));
    place.run(&["token", "revoke", "default"]).data();
    assert_eq!(status(&url, &token), Some(200));
    running.signal(Signal::TERM);
    running.end();
}

#[test]
fn orders_for_no_token_fail_in_words() {
    let (place, _upstream) = place();
    let said = place.run(&["token"]);
    assert_eq!((said.code(), said.stdout.as_str()), (Some(1), ""));
    assert!(said.stderr.contains("credd serve"), "{said:?}");
    let _daemon = place.serve();
    for order in ["rotate", "revoke"] {
        let said = place.run(&["token", order, "worker"]);
        assert_eq!((said.code(), said.stdout.as_str()), (Some(1), ""));
        assert!(said.stderr.contains("no token of this name"), "{said:?}");
        assert_eq!(place.run(&["token", order]).code(), Some(2));
        assert_eq!(place.run(&["token", order, "../x"]).code(), Some(2));
    }
}

/// A9
#[test]
fn no_process_shows_a_token_but_the_program_that_is_to_have_it() {
    let (place, _upstream) = place();
    let daemon = place.serve();
    let script = r#"echo "token $AWS_CONTAINER_AUTHORIZATION_TOKEN"
        echo "id $$"; exec sleep 1000"#;
    let mut running = Running::start(&mut place.exec(&[], script), &place.folder().join("shown"));
    let (token, id) = (running.line("token "), running.line("id "));
    assert_eq!(showing(&token), [format!("{id}/environ")]);
    assert_eq!(showing(&place.token()), Vec::<String>::new());
    // They were looked at.
    let seen = showing(place.runtime().to_str().unwrap());
    assert!(
        seen.contains(&format!("{}/environ", daemon.id())),
        "{seen:?}"
    );
    assert!(
        seen.contains(&format!("{}/environ", running.id())),
        "{seen:?}"
    );
}

/// Which of `/proc/*/environ` and `/proc/*/cmdline` hold that.
fn showing(text: &str) -> Vec<String> {
    const LONGEST: u64 = 2 * 1024 * 1024;
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if !name.bytes().all(|it| it.is_ascii_digit()) {
            continue;
        }
        for file in ["environ", "cmdline"] {
            let mut read = Vec::new();
            // Others may end meanwhile.
            let opened = std::fs::File::open(entry.path().join(file));
            let _ = opened.and_then(|file| file.take(LONGEST).read_to_end(&mut read));
            if String::from_utf8_lossy(&read).contains(text) {
                found.push(format!("{name}/{file}"));
            }
        }
    }
    found
}
