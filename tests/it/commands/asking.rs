//! get, env, status, health and check: data to stdout, the rest to stderr, the outcome as code.

use std::process::Stdio;

use serde_json::{Value, json};

use super::place;
use crate::serving::program::{Place, Said};
use crate::serving::upstream::{ACCOUNT, Answer, KEY, SECRET, TOKEN, Upstream};

#[test]
fn get_prints_what_a_credential_process_does() {
    let (place, _upstream) = place();
    let _daemon = place.serve();
    let said = place.run(&["get"]);
    assert!(said.stdout.ends_with("}\n"), "{said:?}");
    assert_eq!(said.stdout.lines().count(), 1);
    let printed = said.json();
    assert_eq!(printed["Version"], 1);
    assert_eq!(printed["AccessKeyId"], KEY);
    assert_eq!(printed["SecretAccessKey"], SECRET);
    assert_eq!(printed["SessionToken"], TOKEN);
    assert_eq!(printed["AccountId"], ACCOUNT);
    let expiry = printed["Expiration"].as_str().unwrap();
    assert!(expiry.ends_with('Z'), "{expiry}");
    assert_eq!(place.run(&["get", "default"]).json(), printed);
}

#[test]
fn get_of_an_identity_that_is_none_fails_in_words() {
    let (place, _upstream) = place();
    let _daemon = place.serve();
    let said = place.run(&["get", "billing"]);
    assert_eq!(said.code(), Some(1));
    assert_eq!(said.stdout, "");
    let expected = "credd: cannot get the credentials of identity billing: credd keeps no identity \
                    of this name; `credd status` lists them\n";
    assert_eq!(said.stderr, expected);
    let said = place.run(&["get", "../etc"]);
    assert_eq!(said.code(), Some(2));
    assert!(said.stderr.contains("identity name"), "{said:?}");
}

/// The codes of refusals are for SDKs.
#[test]
fn what_the_daemon_refuses_is_said_with_what_was_tried_and_without_a_code() {
    let (place, _upstream) = place();
    let _daemon = place.serve();
    for (words, start) in [
        (
            &["log", "nonsense"][..],
            "credd: cannot change what is logged: `nonsense` is no log filter; say a level",
        ),
        (
            &["token", "rotate", "app"],
            "credd: cannot rotate the token app: credd keeps no token of this name; `credd token`",
        ),
        (
            &["refresh", "app"],
            "credd: cannot refresh the credentials of identity app: credd keeps no identity",
        ),
        (
            &["forget", "app"],
            "credd: cannot drop the credentials of identity app: credd keeps no identity",
        ),
        (
            &["explain", "app"],
            "credd: cannot explain the chain of identity app: credd keeps no identity",
        ),
        (
            &["exec", "app", "--", "true"],
            "credd: cannot run a program with the credentials of identity app: credd keeps no",
        ),
        (
            &["env", "app"],
            "credd: cannot say how to get the credentials of identity app: credd keeps no",
        ),
        (
            &["whoami", "app"],
            "credd: cannot ask AWS about the credentials of identity app: credd keeps no",
        ),
    ] {
        let said = place.run(words);
        assert_eq!(said.code(), Some(1), "{said:?}");
        assert!(said.stderr.starts_with(start), "{said:?}");
    }
}

#[test]
fn without_a_daemon_every_command_says_where_it_looked() {
    let place = Place::bare();
    for words in [
        &["get"][..],
        &["env"],
        &["env", "--credentials"],
        &["status"],
        &["status", "--json"],
        &["health"],
        &["exec", "--", "true"],
    ] {
        let said = place.run(words);
        assert_eq!(said.code(), Some(1), "{words:?}: {said:?}");
        assert_eq!(said.stdout, "", "{words:?}");
        let runtime = place.runtime();
        assert!(said.stderr.contains(runtime.to_str().unwrap()), "{said:?}");
        assert!(said.stderr.contains("credd serve"), "{said:?}");
    }
}

#[test]
fn env_prints_what_a_shell_can_evaluate() {
    let (place, _upstream) = place();
    let _daemon = place.serve();
    let script = r#"eval "$("$CREDD" env)"; echo "$AWS_CONTAINER_CREDENTIALS_FULL_URI"
        cat "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"; echo
        echo "${AWS_ACCESS_KEY_ID-unset} ${AWS_PROFILE-unset}""#;
    let said = Said::by(
        shell(&place, script)
            .env("AWS_ACCESS_KEY_ID", "AKIAOTHER")
            .env("AWS_PROFILE", "other"),
    );
    let address = place.address();
    let expected = format!(
        "http://{address}/v1/credentials\n{}\nunset unset\n",
        place.token()
    );
    assert_eq!(said.data(), expected);
}

#[test]
fn env_with_credentials_prints_the_keys_themselves() {
    let (place, _upstream) = place();
    let _daemon = place.serve();
    let script = r#"eval "$("$CREDD" env --credentials)"
        echo "$AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY $AWS_SESSION_TOKEN""#;
    let said = Said::by(&mut shell(&place, script));
    assert_eq!(said.data(), format!("{KEY} {SECRET} {TOKEN}\n"));
}

fn shell(place: &Place, script: &str) -> std::process::Command {
    // What `credd` would be called with, but for a shell around it.
    let credd = place.credd(&[]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script]).env_clear().stdin(Stdio::null());
    for (name, value) in credd.get_envs() {
        shell.env(name, value.unwrap());
    }
    shell.env("CREDD", env!("CARGO_BIN_EXE_credd"));
    shell
}

#[test]
fn status_shows_a_table_to_people_and_json_to_scripts() {
    let (place, _upstream) = place();
    let daemon = place.serve();
    place.warm();
    let table = place.run(&["status"]).data();
    let mut lines = table.lines();
    assert!(lines.next().unwrap().starts_with("IDENTITY"), "{table}");
    let row = lines.next().unwrap();
    for cell in ["default", "fresh", "container endpoint", "…0001", "5h 59m"] {
        assert!(row.contains(cell), "{cell} in {table}");
    }
    let report = place.run(&["status", "--json"]).json();
    assert_eq!(report["pid"], json!(daemon.id()));
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    let identity = &report["identities"][0];
    assert_eq!(identity["name"], "default");
    assert_eq!(identity["state"], "fresh");
    assert_eq!(identity["is-served"], true);
    assert_eq!(identity["key"], "0001");
    assert_eq!(identity["account-id"], ACCOUNT);
    assert_eq!(identity["failure"], Value::Null);
}

#[test]
fn health_is_an_exit_code() {
    let (place, _upstream) = place();
    let mut daemon = place.serve();
    place.warm();
    let said = place.run(&["health"]).data();
    assert_eq!(said, "healthy: every identity has credentials\n");
    daemon.terminate();

    let hanging = Upstream::hanging();
    place.listen_on("127.0.0.1:0", &[("default", hanging.uri("/"))]);
    let _daemon = place.serve();
    let said = place.run(&["health"]);
    assert_eq!(said.code(), Some(1));
    assert_eq!(said.stdout, "unhealthy: default is warming\n");
}

#[test]
fn check_cites_every_problem_where_it_stands() {
    let (place, _upstream) = place();
    let said = place.run(&["check"]).data();
    assert!(said.starts_with("ok: "), "{said}");
    assert!(said.contains("default"), "{said}");
    place.listen_on("127.0.0.1:99999", &[]);
    let said = place.run(&["check"]);
    assert_eq!(said.code(), Some(1), "{said:?}");
    let cited = format!("{}:2:", place.config().display());
    let all = [said.stdout.as_str(), said.stderr.as_str()].concat();
    assert!(all.contains(&cited), "{said:?}");
    // The daemon says the same, and does not start.
    let said = place.run(&["serve"]);
    assert_eq!(said.code(), Some(1), "{said:?}");
    assert!(said.stderr.contains(&cited), "{said:?}");
    assert!(!place.socket().exists());
}

#[test]
fn long_lived_keys_of_which_aws_makes_no_session_are_not_handed_out() {
    let place = Place::bare();
    let upstream = Upstream::answering(Answer {
        status: 403,
        body: String::new(),
    });
    let _daemon = place.serving(
        place
            .credd(&["serve"])
            .env("AWS_ACCESS_KEY_ID", "AKIACANARY0000000001")
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_ENDPOINT_URL_STS", upstream.uri("/")),
    );
    let said = place.run(&["get"]);
    assert_eq!((said.code(), said.stdout.as_str()), (Some(1), ""));
    assert!(said.stderr.contains("AccessDenied"), "{said:?}");
    let said = place.run(&["env", "--credentials"]);
    assert_eq!((said.code(), said.stdout.as_str()), (Some(1), ""));
    let url = format!("http://{}/v1/credentials", place.address());
    assert_eq!(super::status(&url, &place.token()), Some(403));
    let report = place.run(&["status", "--json"]).json();
    assert_eq!(report["identities"][0]["state"], "failed");
}

#[test]
fn get_waits_for_a_daemon_that_warms_up() {
    let upstream = Upstream::hanging();
    let place = Place::new(&[("default", upstream.uri("/"))]);
    let _daemon = place.serve();
    let mut get = crate::serving::program::Running::start(
        &mut place.credd(&["get"]),
        &place.folder().join("got"),
    );
    crate::serving::eventually("the upstream is asked", || {
        (upstream.calls() > 0).then_some(())
    });
    assert!(get.try_end().is_none());
    let expiry = credd::clock::Timestamp::parse("2099-01-01T00:00:00Z").unwrap();
    upstream.answer(crate::serving::upstream::credentials(expiry));
    assert!(get.end().success());
    assert!(get.output().contains(KEY));
}

#[test]
fn words_that_mean_nothing_are_answered_with_usage_and_code_2() {
    let place = Place::bare();
    for words in [
        &[][..],
        &["nonsense"],
        &["get", "--nonsense"],
        &["exec", "default"],
        &["serve", "--log-format", "xml"],
    ] {
        let said = place.run(words);
        assert_eq!(
            (said.code(), said.stdout.as_str()),
            (Some(2), ""),
            "{words:?}"
        );
        assert!(
            said.stderr.contains("Usage") || said.stderr.contains("--help"),
            "{said:?}"
        );
    }
    for words in [["--help"], ["--version"]] {
        assert!(!place.run(&words).data().is_empty());
    }
    let said = place.run(&["serve", "--log", "nonsense=="]);
    assert_eq!(said.code(), Some(1), "{said:?}");
    assert!(said.stderr.contains("log filter"), "{said:?}");
}
