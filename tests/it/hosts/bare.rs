//! A host without an init system, a user without a name, a root that nobody can write to, and an
//! environment in which nothing is set.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use credd::os::files;

use super::unshare;
use crate::commands::aws::configure;
use crate::serving::program::{Place, Running, Said};
use crate::serving::{eventually, skipped};

/// One that no `passwd` has.
const USER: &str = "543210";

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A copy of credd that any user can run, by `credd install`.
fn installed(place: &Place) -> PathBuf {
    set_mode(place.folder(), 0o755);
    let folder = place.folder().to_str().unwrap().to_owned();
    let said = place.run(&["install", &folder]);
    assert!(said.is_success(), "{said:?}");
    place.folder().join("credd")
}

#[test]
fn the_program_copies_itself_for_all_to_run_over_what_was_there() {
    let place = Place::bare();
    let there = place.folder().join("credd");
    files::write_private(&there, b"an earlier version").unwrap();
    assert_eq!(installed(&place), there);
    let mode = fs::metadata(&there).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o755);
    let said = Said::by(Command::new(&there).arg("--version"));
    assert_eq!(
        said.data(),
        concat!("credd ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let named = place.folder().join("other").to_str().unwrap().to_owned();
    assert!(place.run(&["install", &named]).is_success());
    assert!(Said::by(Command::new(named).arg("--version")).is_success());
    let said = place.run(&["install", "/proc/no/such/volume"]);
    assert_eq!(said.code(), Some(1));
    let start = "credd: cannot copy this program to /proc/no/such/volume: ";
    assert!(said.stderr.starts_with(start), "{said:?}");
}

#[test]
fn it_serves_as_any_user_on_a_read_only_root_with_nothing_in_its_environment() {
    let Some(mut command) = unshare(&["--mount", "--propagation", "private"]) else {
        return skipped("this user may not make mount namespaces");
    };
    let place = Place::bare();
    let (credd, config) = (installed(&place), place.config());
    let keys = place.folder().join("keys");
    let text =
        "[a]\naws_access_key_id = ASIABARE\naws_secret_access_key = s\naws_session_token = t\n";
    files::write_private(&keys, text.as_bytes()).unwrap();
    let text = "[identity.a]\nprovider = \"profile\"\nprofile = \"a\"\nconfig-file = \"/dev/null\"\n\
        credentials-file = \"keys\"\n";
    configure(&place, text);
    for path in [&keys, &config] {
        chown(path, Some(USER.parse().unwrap()), None).unwrap();
    }
    fs::create_dir(place.runtime()).unwrap();
    // Every file system that is there, and then one that is not read-only.
    let script = r#"
        set -eu
        mount -t tmpfs -o "mode=0700,uid=$USER,gid=$USER" tmpfs "$RUN"
        mount -o remount,bind,ro /
        ! touch "$RUN/../written" 2>/dev/null || mount -o remount,bind,ro "$(df --output=target "$RUN/.." | tail -1)"
        ! touch "$RUN/../written" 2>/dev/null
        exec setpriv --reuid="$USER" --regid="$USER" --clear-groups --no-new-privs \
            env -i --default-signal "$CREDD" serve --runtime-dir "$RUN" --config "$CONFIG"
    "#;
    command
        .args(["/bin/sh", "-c", script])
        .env("USER", USER)
        .env("RUN", place.runtime())
        .env("CREDD", &credd)
        .env("CONFIG", &config);
    let mut running = Running::start(&mut command, &place.folder().join("log"));
    let target = running.id().to_string();
    let ask = |word: &str| {
        let mut command = Command::new("/usr/bin/nsenter");
        command
            .args(["--mount", "--target", &target, "/usr/bin/setpriv"])
            .args(["--reuid", USER, "--regid", USER, "--clear-groups"])
            .args(["/usr/bin/env", "-i"])
            .arg(&credd)
            .args([word, "--runtime-dir"])
            .arg(place.runtime());
        Said::by(&mut command)
    };
    eventually("every identity is served", || {
        assert!(running.try_end().is_none(), "{}", running.output());
        ask("health").is_success().then_some(())
    });
    assert!(ask("get").data().contains("ASIABARE"));
    let output = running.output();
    assert!(!output.contains("ERROR"), "{output}");
    running.terminate();
}

#[test]
fn without_a_place_for_its_sockets_it_says_which_to_name() {
    let Some(mut command) = unshare(&["--user"]) else {
        return skipped("this user may not make user namespaces");
    };
    // A user without a number: not root, whoever runs the test.
    command
        .args(["/usr/bin/env", "-i", env!("CARGO_BIN_EXE_credd"), "serve"])
        .args(["--config", "/dev/null"]);
    let said = Said::by(&mut command);
    assert_eq!(said.code(), Some(1), "{said:?}");
    assert!(said.stderr.contains("--runtime-dir"), "{said:?}");
}

#[test]
fn a_config_in_a_variable_is_served_and_checked() {
    let place = Place::bare();
    let given = |text: &str, words: &[&str]| {
        let mut command = place.credd(words);
        command.env_remove("CREDD_CONFIG");
        command.env("CREDD_CONFIG_CONTENT", text);
        command
    };
    let text = "[serve.http]\nlisten = [\"127.0.0.1:0\"]\n\
        [identity.orders]\nprovider = \"environment\"\n";
    let said = Said::by(&mut given(text, &["check"]));
    assert_eq!(said.data(), "ok: CREDD_CONFIG_CONTENT: identities orders\n");
    let said = Said::by(&mut given("[identity.orders]\nprovider = 1\n", &["serve"]));
    assert_eq!(said.code(), Some(1));
    assert!(
        said.stderr.contains("\nCREDD_CONFIG_CONTENT:2:1: "),
        "{said:?}"
    );
    let mut running = place.serving(&mut given(text, &["serve"]));
    assert!(place.run(&["status"]).stdout.contains("orders"));
    running.terminate();
    let mut both = place.credd(&["check"]);
    let said = Said::by(both.env("CREDD_CONFIG_CONTENT", text));
    assert_eq!(said.code(), Some(1));
    assert!(said.stderr.contains("unset one of them"), "{said:?}");
}
