//! Who can read a token, and what is not taken for one (A12).

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn group(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().gid()
}

fn for_group() -> TokenSettings {
    TokenSettings {
        group: Some(GROUP),
        mode: 0o640,
        ..PRIVATE
    }
}

#[test]
fn a_token_is_64_hexadecimal_digits_and_no_newline_in_a_file_of_its_owners_alone() {
    let ground = Ground::with_worker(PRIVATE);
    let _daemon = ground.serve();
    for token in ["worker", "default"] {
        let text = ground.token(token);
        assert_eq!(text.len(), 64);
        assert!(text.bytes().all(|it| it.is_ascii_hexdigit()), "{text:?}");
        assert_eq!(mode(&ground.path("tokens").join(token)), 0o700);
        assert_eq!(
            mode(&ground.path("tokens").join(token).join("token")),
            0o600
        );
    }
    assert_eq!(mode(&ground.path("tokens")), 0o700);
    assert_eq!(mode(ground.directory.path()), 0o700);
}

#[test]
fn a_group_reads_its_token_and_nothing_else() {
    if !can_be_another() {
        return;
    }
    let ground = Ground::with_worker(for_group());
    let daemon = ground.serve();
    let file = ground.path("tokens/worker/token");
    for below in ["", "tokens"] {
        assert_eq!(mode(&ground.path(below)), 0o711, "{below}");
    }
    assert_eq!(
        (mode(&ground.path("tokens/worker")), mode(&file)),
        (0o750, 0o640)
    );
    assert_eq!(
        (group(&ground.path("tokens/worker")), group(&file)),
        (GROUP, GROUP)
    );
    let reads = |group, path: &Path| as_stranger(group, &["cat", path.to_str().unwrap()]);
    assert_eq!(reads(GROUP, &file).data(), ground.token("worker"));
    assert!(!reads(OTHER_GROUP, &file).is_success());
    rotate(&daemon, "worker");
    assert_eq!(reads(GROUP, &file).data(), ground.token("worker"));
    assert!(!reads(OTHER_GROUP, &file).is_success());
    for other in [
        "tokens/worker/superseded",
        "tokens/default/token",
        "tokens",
        "lock",
        "admin",
    ] {
        let path = ground.path(other);
        assert!(path.exists(), "{other}");
        let said = as_stranger(GROUP, &["head", "-c1", path.to_str().unwrap()]);
        assert!(!said.is_success(), "{other}: {said:?}");
    }
    assert!(!as_stranger(GROUP, &["ls", ground.path("tokens").to_str().unwrap()]).is_success());
}

#[test]
fn a_directory_of_a_token_can_be_mounted_elsewhere_and_shows_the_next_one_there() {
    if !can_be_another() {
        return;
    }
    let ground = Ground::with_worker(PRIVATE);
    let daemon = ground.serve();
    let before = ground.token("worker");
    let elsewhere = tempfile::tempdir().unwrap();
    let shown = elsewhere.path().join("shown");
    fs::create_dir(&shown).unwrap();
    // The mount goes with the namespace, and that with its last process.
    let script =
        r#"mount --bind "$1" "$2" && cat "$2/token" && echo && read -r _ && cat "$2/token""#;
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(ground.path("tokens/worker"))
        .arg(&shown)
        .stdin(std::process::Stdio::piped());
    let mut running =
        crate::serving::program::Running::start(&mut unshare, &elsewhere.path().join("output"));
    assert_eq!(running.line(""), before);
    rotate(&daemon, "worker");
    running.write(b"\n");
    assert!(running.end().success());
    assert_eq!(
        running.output(),
        format!("{before}\n{}", ground.token("worker"))
    );
}

#[test]
fn a_group_that_has_lost_its_token_has_lost_its_text_too() {
    if !can_be_another() {
        return;
    }
    let mut ground = Ground::with_worker(for_group());
    ground.serve().end();
    let first = ground.token("worker");
    // The same again, and then fewer, others, and more.
    ground.serve().end();
    assert_eq!(ground.token("worker"), first);
    let mut seen = vec![first];
    for settings in [
        PRIVATE,
        for_group(),
        TokenSettings {
            group: Some(OTHER_GROUP),
            ..for_group()
        },
    ] {
        let is_opened = settings.group == Some(GROUP);
        let said = format!("{settings:?}");
        ground.config.tokens.insert(name("worker"), settings);
        let daemon = ground.serve();
        let token = ground.token("worker");
        assert_eq!(status(&daemon, &token), 200);
        // Whoever gets in gets what is there; who does not, gets a new one.
        assert_eq!(seen.last() == Some(&token), is_opened, "{said}");
        let path = ground.path("tokens/worker/token");
        assert_eq!(mode(&path), ground.config.tokens[&name("worker")].mode);
        seen.push(token);
        daemon.end();
    }
    assert_eq!(group(&ground.path("tokens/worker/token")), OTHER_GROUP);
    assert_eq!(group(&ground.path("tokens/worker")), OTHER_GROUP);
    ground.config.tokens.insert(name("worker"), PRIVATE);
    let _daemon = ground.serve();
    for below in ["", "tokens", "tokens/worker"] {
        assert_eq!(mode(&ground.path(below)), 0o700, "{below}");
    }
}

#[test]
fn a_group_that_the_daemon_is_not_in_is_refused_in_words() {
    const INNER: &str = "CREDD_TEST_WITHOUT_CHOWN";
    let environment = Environment::of_process();
    if environment.variable(INNER).is_none() && credd::os::process::is_root() {
        // Root may give files to any group, but not without its capability.
        let test = std::env::current_exe().unwrap();
        let this = "tokens::files::a_group_that_the_daemon_is_not_in_is_refused_in_words";
        let mut setpriv = Command::new("setpriv");
        setpriv
            .args(["--bounding-set", "-chown", "--"])
            .arg(test)
            .args([this, "--exact"])
            .env(INNER, "1");
        let said = Said::by(&mut setpriv);
        assert!(
            said.is_success() && said.stdout.contains("1 passed"),
            "{said:?}"
        );
        return;
    }
    let ground = Ground::with_worker(for_group());
    let refusal = ground.refusal();
    for part in ["tokens/worker", "group 54322", "SupplementaryGroups="] {
        assert!(refusal.contains(part), "{refusal}");
    }
    assert!(!ground.path("tokens/worker/token").exists());
    // Nobody was let in on the way.
    assert_eq!(mode(&ground.path("tokens/worker")), 0o700);
}

#[test]
fn a_link_in_the_place_of_a_file_is_not_followed() {
    let ground = Ground::with_worker(PRIVATE);
    let daemon = ground.serve();
    let before = ground.token("worker");
    rotate(&daemon, "worker");
    daemon.end();
    let foreign = "0".repeat(64);
    let elsewhere = ground.path("elsewhere");
    let millis = ground.clock.now().unix_millis();
    for (file, contents) in [
        ("token", foreign.clone()),
        ("superseded", format!("{foreign} {millis}\n")),
        ("token.new", "precious".to_owned()),
    ] {
        small_files::write_private(&elsewhere, contents.as_bytes()).unwrap();
        let link = ground.path("tokens/worker").join(file);
        let _ = fs::remove_file(&link);
        symlink(&elsewhere, &link).unwrap();
        let daemon = ground.serve();
        rotate(&daemon, "worker");
        assert_eq!(status(&daemon, &foreign), 403, "{file}");
        assert_eq!(text(&elsewhere), contents, "{file}");
        assert!(
            fs::symlink_metadata(ground.path("tokens/worker/token"))
                .unwrap()
                .is_file()
        );
        assert_eq!(status(&daemon, &ground.token("worker")), 200);
        daemon.end();
        let _ = fs::remove_file(&link);
    }
    let daemon = ground.serve();
    assert_eq!(status(&daemon, &before), 403);
}

#[test]
fn a_file_that_others_could_have_written_is_no_token() {
    let ground = Ground::with_worker(PRIVATE);
    ground.serve().end();
    let path = ground.path("tokens/worker/token");
    let foreign = "0".repeat(64);
    for bits in [0o644, 0o620, 0o602, 0o640] {
        small_files::write_private(&path, foreign.as_bytes()).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(bits)).unwrap();
        let daemon = ground.serve();
        assert_eq!(status(&daemon, &foreign), 403, "{bits:o}");
        assert_eq!(mode(&path), 0o600);
        daemon.end();
    }
    if credd::os::process::is_root() {
        small_files::write_private(&path, foreign.as_bytes()).unwrap();
        std::os::unix::fs::chown(&path, Some(STRANGER), None).unwrap();
        let daemon = ground.serve();
        assert_eq!(status(&daemon, &foreign), 403);
        assert_eq!(fs::metadata(&path).unwrap().uid(), 0);
    }
}

/// A12, as far as one who may write to the directory can go: the daemon's own user.
#[test]
fn links_that_come_and_go_are_never_written_or_read_through() {
    let ground = Ground::with_worker(PRIVATE);
    let daemon = ground.serve();
    let foreign = "f".repeat(64);
    let elsewhere = ground.path("elsewhere");
    small_files::write_private(&elsewhere, foreign.as_bytes()).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let racer = thread::spawn({
        let (folder, is_over) = (ground.path("tokens/worker"), Arc::clone(&is_over));
        move || {
            let mut turns = 0_u32;
            while !is_over.load(Ordering::SeqCst) {
                for file in ["token", "token.new", "superseded", "superseded.new"] {
                    let link = folder.join("link");
                    let _ = symlink(&elsewhere, &link);
                    let _ = fs::rename(&link, folder.join(file));
                    turns += 1;
                }
            }
            (turns, text(&elsewhere))
        }
    });
    for _ in 0..300 {
        // One that loses the race may fail, in words.
        let reply = order(&daemon, "/v1/tokens/rotate", "worker");
        assert!([200, 500].contains(&reply.status), "{reply:?}");
        assert_eq!(status(&daemon, &foreign), 403);
    }
    is_over.store(true, Ordering::SeqCst);
    let (turns, kept) = racer.join().unwrap();
    assert!(turns > 1000, "{turns}");
    assert_eq!(kept, foreign);
    revoke(&daemon, "worker");
    assert_eq!(status(&daemon, &ground.token("worker")), 200);
    assert_eq!(status(&daemon, &foreign), 403);
}
