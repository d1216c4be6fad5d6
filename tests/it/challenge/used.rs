//! Codes that are used up, on disk and across restarts.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use credd::challenge::{AlreadyUsed, Totp, UsedCodes, VALIDITY, automatic};
use credd::clock::{Clock, Timestamp};
use credd::os::files;

use super::{SERIAL, code};
use crate::support::clock::TestClock;
use crate::support::journal::Journal;
use crate::support::patience::run;

fn load(path: &Path, clock: &TestClock) -> UsedCodes {
    UsedCodes::load(path.to_owned(), [7; 32], clock.boot())
}

fn contents(path: &Path) -> String {
    files::read_text_now(path, 100_000).unwrap().to_string()
}

#[test]
fn a_code_that_was_sent_is_not_sent_again_after_a_restart() {
    run(async || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("used-codes");
        let clock = TestClock::new();
        let journal = Journal::begin();

        let used = load(&path, &clock);
        let _claim = used
            .claim(SERIAL, &code("123456"), clock.boot())
            .await
            .unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);

        // Killed: nothing but the file is left. The wall clock is set to and fro meanwhile.
        drop(used);
        clock.step_forward(Duration::from_hours(1));
        let used = load(&path, &clock);
        clock.step_back(Duration::from_hours(2));
        clock.advance(VALIDITY.checked_sub(Duration::from_secs(1)).unwrap());
        let refused = used.claim(SERIAL, &code("123456"), clock.boot()).await;
        let free_in = Duration::from_secs(1);
        assert_eq!(refused.unwrap_err(), AlreadyUsed { free_in });
        let _other = used
            .claim(SERIAL, &code("123457"), clock.boot())
            .await
            .unwrap();
        clock.advance(free_in);
        let _claim = used
            .claim(SERIAL, &code("123456"), clock.boot())
            .await
            .unwrap();
        assert_eq!(journal.lines("WARN"), Vec::<String>::new());
    });
}

#[test]
fn a_code_that_never_left_may_be_sent() {
    run(async || {
        let folder = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let used = load(&folder.path().join("used-codes"), &clock);
        let claim = used
            .claim(SERIAL, &code("123456"), clock.boot())
            .await
            .unwrap();
        claim.release();
        let kept = used
            .claim(SERIAL, &code("123456"), clock.boot())
            .await
            .unwrap();
        // Letting go of a claim is not giving it back.
        drop(kept);
        let refused = used.claim(SERIAL, &code("123456"), clock.boot()).await;
        assert!(refused.is_err());
    });
}

#[test]
fn claims_at_the_same_time_all_come_to_the_disk() {
    run(async || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("used-codes");
        let clock = TestClock::new();
        let used = load(&path, &clock);
        let mut claims = tokio::task::JoinSet::new();
        for number in 0..20 {
            let (used, now) = (used.clone(), clock.boot());
            claims.spawn(async move {
                let code = code(&format!("{:06}", number / 2));
                used.claim(SERIAL, &code, now).await.is_ok()
            });
        }
        let granted = claims.join_all().await;
        assert_eq!(granted.iter().filter(|granted| **granted).count(), 10);
        let after = load(&path, &clock);
        for number in 0..10 {
            let code = code(&format!("{number:06}"));
            assert!(after.check(SERIAL, &code, clock.boot()).is_err());
        }
    });
}

#[test]
fn a_file_that_credd_did_not_write_is_replaced_with_one_line_in_the_log() {
    run(async || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("used-codes");
        let clock = TestClock::new();
        let used = load(&path, &clock);
        let _claim = used
            .claim(SERIAL, &code("123456"), clock.boot())
            .await
            .unwrap();
        let good = contents(&path);
        let target = folder.path().join("target");

        let spoil: [(&str, &dyn Fn()); 4] = [
            ("cut off", &|| {
                files::write_private(&path, &good.as_bytes()[..80]).unwrap();
            }),
            ("not text", &|| {
                files::write_private(&path, &[0xff; 40]).unwrap();
            }),
            ("open to others", &|| {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            }),
            ("a link", &|| {
                fs::rename(&path, &target).unwrap();
                std::os::unix::fs::symlink(&target, &path).unwrap();
            }),
        ];
        for (what, spoil) in spoil {
            spoil();
            let journal = Journal::begin();
            let used = load(&path, &clock);
            let _claim = used
                .claim(SERIAL, &code("123456"), clock.boot())
                .await
                .unwrap();
            assert_eq!(journal.lines("WARN").len(), 1, "{what}");
            let metadata = fs::symlink_metadata(&path).unwrap();
            assert!(metadata.is_file() && metadata.mode() & 0o777 == 0o600);
            assert_eq!(contents(&path), good, "{what}");
        }
    });
}

#[test]
fn a_disk_that_cannot_be_written_costs_one_line_in_the_log_and_no_code() {
    run(async || {
        let folder = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let used = load(&folder.path().join("absent/used-codes"), &clock);
        let journal = Journal::begin();
        for digits in ["123456", "123457"] {
            let _claim = used
                .claim(SERIAL, &code(digits), clock.boot())
                .await
                .unwrap();
            let again = used.claim(SERIAL, &code(digits), clock.boot()).await;
            assert!(again.is_err());
        }
        assert_eq!(journal.lines("WARN").len(), 1, "{}", journal.text());
        assert!(!journal.text().contains("12345"));
    });
}

#[test]
fn a_virtual_device_whose_code_is_used_is_asked_again_at_its_next_step() {
    run(async || {
        let folder = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let used = load(&folder.path().join("used-codes"), &clock);
        let totp = Totp::parse("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ").unwrap();
        let shown = |now: Timestamp| automatic(&totp, &used, SERIAL, now, clock.boot());

        let now = Timestamp::from_unix_millis(1_111_111_105_500);
        let first = shown(now).unwrap();
        assert_eq!(first.expose(), "081804");
        let _claim = used.claim(SERIAL, &first, clock.boot()).await.unwrap();
        let wait = shown(now).unwrap_err();
        assert_eq!(wait, Duration::from_millis(4500));
        clock.advance(wait);
        assert_eq!(shown(now.plus(wait)).unwrap().expose(), "050471");
    });
}
