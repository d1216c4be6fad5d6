//! What a program sees that `credd exec` runs, and how its end is passed on.

use std::process::{Command, Stdio};

use credd::os::files;
use rustix::process::Signal;

use super::{place, status};
use crate::serving::eventually;
use crate::serving::program::{Place, Running, Said, send};

/// The address, the token and the process, then nothing until a signal.
const SHOW: &str = r#"echo "url $AWS_CONTAINER_CREDENTIALS_FULL_URI"
    echo "token $AWS_CONTAINER_AUTHORIZATION_TOKEN"
    echo "id $$"
    exec sleep 1000"#;

#[test]
fn the_exit_code_is_that_of_the_program() {
    let (place, _upstream) = place();
    let _daemon = place.serve();
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        // As a shell says it: 128 and the signal.
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
        ("kill -INT $$", 130),
        ("kill -SEGV $$", 139),
    ] {
        let said = Said::by(&mut place.exec(&[], script));
        assert_eq!(said.code(), Some(code), "{script}: {said:?}");
    }
}

#[test]
fn the_program_makes_files_with_the_modes_of_whoever_ran_it() {
    let (place, _upstream) = place();
    let _daemon = place.serve();
    let own = Said::by(Command::new("sh").args(["-c", "umask"])).data();
    assert_eq!(Said::by(&mut place.exec(&[], "umask")).data(), own);
}

#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    let (place, _upstream) = place();
    let _daemon = place.serve();
    // As nohup has it. The parent of the shell is `credd exec`.
    let script = "kill -HUP $PPID; kill -HUP $$; echo alive";
    let words = ["exec", "--", "sh", "-c", script];
    let said = Said::by(&mut place.credd_with_signals("--ignore-signal=HUP", &words));
    assert_eq!(said.data(), "alive\n");
}

#[test]
fn a_program_that_is_not_there_is_127_and_one_that_cannot_run_126() {
    let (place, _upstream) = place();
    let _daemon = place.serve();
    let plain = place.folder().join("plain");
    files::write_private(&plain, b"no program").unwrap();
    let folder = place.folder().to_str().unwrap();
    for (program, code) in [
        ("no-such-program", 127),
        ("/no/such/program", 127),
        (plain.to_str().unwrap(), 126),
        (folder, 126),
    ] {
        let said = place.run(&["exec", "--", program]);
        assert_eq!(said.code(), Some(code), "{program}: {said:?}");
        assert_eq!(said.stdout, "");
        let start = format!("credd: cannot run `{program}`: ");
        assert!(said.stderr.starts_with(&start), "{said:?}");
    }
}

#[test]
fn the_programs_streams_and_words_are_its_own() {
    let (place, _upstream) = place();
    let _daemon = place.serve();
    let mut command = place.credd(&["exec", "--", "printf", "%s|", "a b", "--keep-profiles", "*"]);
    assert_eq!(Said::by(&mut command).data(), "a b|--keep-profiles|*|");
    let mut command = place.exec(&[], "cat; echo error >&2; exit 3");
    let said = Said::by(command.stdin(Stdio::null()));
    assert_eq!((said.code(), said.stdout.as_str()), (Some(3), ""));
    assert_eq!(said.stderr, "error\n");
}

#[test]
fn what_outranks_the_endpoint_is_gone_and_the_rest_stays() {
    let (place, _upstream) = place();
    let _daemon = place.serve();
    let mut command = place.exec(&[], "env");
    let outranking = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_SECURITY_TOKEN",
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_ROLE_ARN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AWS_CREDENTIAL_EXPIRATION",
        "BOTO_CONFIG",
    ];
    for name in outranking {
        command.env(name, "outranking");
    }
    command
        .env("AWS_RETRY_MODE", "standard")
        .env("OTHER", "kept");
    let printed = Said::by(&mut command).data();
    assert!(!printed.contains("outranking"), "{printed}");
    for line in ["AWS_RETRY_MODE=standard", "OTHER=kept"] {
        assert!(printed.lines().any(|it| it == line), "{printed}");
    }
    let url = format!(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://{}/v1/credentials/default",
        place.address()
    );
    assert!(printed.lines().any(|it| it == url), "{printed}");
    assert!(
        !printed.contains(&place.token()),
        "the token of all is for nobody here"
    );
}

#[test]
fn profiles_are_out_of_sight_but_for_their_region() {
    let (place, _upstream) = place();
    let _daemon = place.serve();
    std::fs::create_dir(place.home().join(".aws")).unwrap();
    let profiles = place.home().join(".aws/config");
    let keys = "aws_access_key_id = AKIAOTHER\naws_secret_access_key = other\n";
    let text = format!(
        "[default]\nregion = eu-central-1\n{keys}[profile work]\nregion = eu-west-3\n{keys}"
    );
    files::write_private(&profiles, text.as_bytes()).unwrap();
    let script = r#"echo "${AWS_CONFIG_FILE-unset} ${AWS_SHARED_CREDENTIALS_FILE-unset}"
        echo "${AWS_REGION-unset} ${AWS_DEFAULT_REGION-unset}""#;
    let isolated = "/dev/null /dev/null\n";

    let printed = Said::by(&mut place.exec(&[], script)).data();
    assert_eq!(printed, format!("{isolated}eu-central-1 eu-central-1\n"));
    let printed = Said::by(place.exec(&[], script).env("AWS_PROFILE", "work")).data();
    assert_eq!(printed, format!("{isolated}eu-west-3 eu-west-3\n"));
    let printed = Said::by(place.exec(&[], script).env("AWS_REGION", "us-east-1")).data();
    assert_eq!(printed, format!("{isolated}us-east-1 unset\n"));
    let printed = Said::by(&mut place.exec(&["--keep-profiles"], script)).data();
    assert_eq!(printed, "unset unset\nunset unset\n");
}

#[test]
fn where_there_is_a_proxy_the_endpoint_goes_around_it() {
    let (place, _upstream) = place();
    let _daemon = place.serve();
    let script = r#"echo "${NO_PROXY-unset} ${no_proxy-unset}""#;
    assert_eq!(
        Said::by(&mut place.exec(&[], script)).data(),
        "unset unset\n"
    );
    let mut command = place.exec(&[], script);
    command
        .env("https_proxy", "http://proxy:3128")
        .env("no_proxy", "example.com");
    assert_eq!(
        Said::by(&mut command).data(),
        "127.0.0.1 example.com,127.0.0.1\n"
    );
}

#[test]
fn the_token_opens_the_programs_identity_and_no_other() {
    let upstream = super::upstream();
    let identities = [("billing", upstream.uri("/")), ("ops", upstream.uri("/"))];
    let place = Place::new(&identities);
    let _daemon = place.serve();
    let mut running = Running::start(
        &mut place.exec(&["billing"], SHOW),
        &place.folder().join("shown"),
    );
    let (url, token) = (running.line("url "), running.line("token "));
    assert!(url.ends_with("/v1/credentials/billing"), "{url}");
    assert_eq!(status(&url, &token), Some(200));
    assert_eq!(status(&url.replace("billing", "ops"), &token), Some(403));
    // Which of the two is meant without a name, nobody has said.
    let said = place.run(&["exec", "--", "true"]);
    assert_eq!(said.code(), Some(1));
    assert!(
        said.stderr
            .contains("there are several identities; name one"),
        "{said:?}"
    );
}

#[test]
fn the_token_dies_with_the_program() {
    let (place, _upstream) = place();
    let _daemon = place.serve();
    let mut running = Running::start(&mut place.exec(&[], SHOW), &place.folder().join("shown"));
    let (url, token) = (running.line("url "), running.line("token "));
    assert_eq!(status(&url, &token), Some(200));
    send(running.line("id ").parse().unwrap(), Signal::TERM);
    assert_eq!(running.end().code(), Some(143));
    eventually("the token is no longer valid", || {
        (status(&url, &token) == Some(403)).then_some(())
    });
}

#[test]
fn the_token_dies_also_if_credd_itself_is_killed() {
    let (place, _upstream) = place();
    let _daemon = place.serve();
    let mut running = Running::start(&mut place.exec(&[], SHOW), &place.folder().join("shown"));
    let (url, token) = (running.line("url "), running.line("token "));
    let program = running.line("id ").parse().unwrap();
    running.kill();
    eventually("the token is no longer valid", || {
        (status(&url, &token) == Some(403)).then_some(())
    });
    // The program has lost its parent, and lives.
    send(program, Signal::KILL);
}
