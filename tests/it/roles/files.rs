//! Profile files as they are edited, broken and written by others, while roles are at work.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use credd::program::Command;
use credd::providers::process;

use super::*;

#[test]
fn a_profile_file_that_breaks_costs_nothing_before_the_set_in_hand_ends() {
    run(async || {
        let text = format!(
            "[profile deploy]\nrole_arn = {DEPLOY}\nsource_profile = ops\n\
             [profile ops]\naws_access_key_id = {OPS_KEY}\naws_secret_access_key = {OPS_SECRET}\n"
        );
        let ground = Ground::new().await.profiles(&text);
        let house = ground.open(&[("deploy", profile("deploy"))]);
        house.warm().await;
        let good = house.key("deploy").unwrap();
        for (broken, said) in [
            ("[profile deploy", "must end with ']'"),
            ("", "No profiles were defined"),
            (
                "[profile deploy]\n",
                "did not contain credential information",
            ),
            (
                "[profile deploy]\nrole_arn = x\nsource_profile = ops\n",
                "not the ARN of a role",
            ),
            (
                "[profile deploy]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = ops\n",
                "could not find source profile ops referenced from deploy",
            ),
        ] {
            house.write("config", broken);
            let calls = house.aws.calls();
            house.refresh("deploy").await;
            let failure = house.failure("deploy").unwrap();
            assert_eq!(failure.class.as_str(), "misconfigured");
            assert!(failure.message.contains(said), "{failure}");
            assert_eq!(house.aws.calls(), calls);
            assert_eq!(house.key("deploy").as_ref(), Some(&good));
        }
        let spent = house.snapshot("deploy").attempts;
        house.pass(10 * MINUTE, SECOND, |_| ()).await;
        let attempts = house.snapshot("deploy").attempts - spent;
        assert!(attempts < 40, "{attempts}");
        house.write("config", &text);
        house.pass(2 * MINUTE, SECOND, |_| ()).await;
        assert_eq!(house.failure("deploy"), None);
        assert_ne!(house.key("deploy"), Some(good));
        assert!(!house.journal.text().contains(CANARY));
    });
}

#[test]
fn half_of_a_profiles_keys_is_told_by_the_half_that_is_missing() {
    let (id, secret) = ("aws_access_key_id", "aws_secret_access_key");
    for (there, missing) in [(id, secret), (secret, id)] {
        run(async move || {
            let text = format!("[profile ops]\n{there} = CANARY\n");
            let house = Ground::new()
                .await
                .profiles(&text)
                .open(&[("ops", profile("ops"))]);
            house.warm().await;
            let failure = house.failure("ops").unwrap();
            let said = format!("profile missing {missing}");
            assert!(failure.message.contains(&said), "{failure}");
            assert!(!failure.message.contains(CANARY), "{failure}");
        });
    }
}

/// A profile whose credentials a program prints, and a role that is assumed with them.
fn with_a_process(folder: &std::path::Path) -> String {
    let marker = folder.join("ran").display().to_string();
    format!(
        "[profile deploy]\nrole_arn = {DEPLOY}\nsource_profile = process\n[profile process]\n\
         credential_process = echo ran >> {marker}; echo '{{\"Version\": 1, \"AccessKeyId\": \
         \"{OPS_KEY}\", \"SecretAccessKey\": \"{OPS_SECRET}\"}}'\n"
    )
}

fn running_programs(name: &str) -> Link {
    Link::Profile(profile::Config {
        profile: Some(name.to_owned()),
        may_run_programs: true,
        ..profile::Config::default()
    })
}

#[test]
fn a_program_is_run_only_where_nobody_else_could_have_written_its_line() {
    for mode in [0o600, 0o644, 0o620, 0o602, 0o666] {
        run(async move || {
            let ground = Ground::new().await;
            let text = with_a_process(ground.folder.path());
            let ground = ground.profiles(&text);
            let path = ground.folder.path().join("config");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let house = ground.open(&[
                ("deploy", running_programs("deploy")),
                ("process", running_programs("process")),
            ]);
            house.warm().await;
            let is_safe = mode & 0o022 == 0;
            let ran = house.folder.path().join("ran");
            assert_eq!(ran.exists(), is_safe, "{mode:o}");
            if is_safe {
                assert_eq!(house.failure("deploy"), None);
                assert!(house.key("deploy").is_some());
                return;
            }
            for name in ["deploy", "process"] {
                let failure = house.failure(name).unwrap();
                assert_eq!(failure.class.as_str(), "misconfigured");
                assert!(failure.message.contains("credential_process"), "{failure}");
                assert!(failure.message.contains("chmod go-w"), "{failure}");
                assert!(!failure.message.contains(CANARY), "{failure}");
            }
            assert_eq!(house.aws.calls(), 0);
            // Mended, it is taken at the next look.
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            house.refresh("deploy").await;
            assert!(house.key("deploy").is_some());
        });
    }
}

#[test]
fn files_without_programs_may_be_anybodys() {
    run(async || {
        let ground = Ground::new().await.profiles(&format!(
            "[profile deploy]\nrole_arn = {DEPLOY}\nsource_profile = ops\n\
             [profile ops]\naws_access_key_id = {OPS_KEY}\naws_secret_access_key = {OPS_SECRET}\n"
        ));
        let path = ground.folder.path().join("config");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        let house = ground.open(&[("deploy", running_programs("deploy"))]);
        house.warm().await;
        assert!(house.key("deploy").is_some());
    });
}

#[test]
fn no_program_of_a_profile_runs_unless_the_config_lets_it() {
    run(async || {
        let ground = Ground::new().await;
        let text = with_a_process(ground.folder.path());
        let house = ground
            .profiles(&text)
            .open(&[("deploy", profile("deploy"))]);
        house.warm().await;
        let failure = house.failure("deploy").unwrap();
        assert!(failure.message.contains("run-programs = true"), "{failure}");
        assert!(!house.folder.path().join("ran").exists());
    });
}

#[test]
fn a_program_has_its_whole_minute() {
    run(async || {
        let ground = Ground::new().await;
        let gate = ground.folder.path().join("gate");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, &gate, mode).unwrap();
        let expiry = ground.clock.now().plus(HOUR);
        let line = format!(
            "read word < {}; echo '{{\"Version\": 1, \"AccessKeyId\": \"ASIASLOW\", \
             \"SecretAccessKey\": \"{CANARY}\", \"SessionToken\": \"{CANARY}\", \"Expiration\": \
             \"{expiry}\"}}'",
            gate.display()
        );
        let command = Command::Shell(line);
        let house = ground.open(&[("slow", Link::Process(process::Config { command }))]);
        let reader = house.reader("slow");
        reader.demand();
        // Opened once the program is there to read.
        let opened = tokio::task::spawn_blocking(move || OpenOptions::new().write(true).open(gate));
        let mut gate = opened.await.unwrap().unwrap();
        house.clock.advance(45 * SECOND);
        house.quiet().await;
        assert_eq!(house.failure("slow"), None);
        gate.write_all(b"go\n").unwrap();
        reader.until(|snapshot| snapshot.attempts > 0).await;
        assert_eq!(house.failure("slow"), None);
        assert!(house.body("slow").is_some());
    });
}

#[test]
fn long_lived_keys_of_a_profiles_program_are_served_as_a_session() {
    run(async || {
        let ground = Ground::new().await;
        let text = with_a_process(ground.folder.path());
        let house = ground
            .profiles(&text)
            .open(&[("process", running_programs("process"))]);
        house.warm().await;
        assert_eq!(house.failure("process"), None);
        assert!(house.key("process").is_some());
        assert_eq!(house.aws.count(Call::GetSessionToken), 1);
    });
}
