//! Where lines arrive: journald, a file and whoever rotates it, stderr.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixStream};

use credd::audit::{self, Destination, Outlets, WINDOW};

use super::{Log, PROCESS, collect, decisions, in_file, let_others_run, outlets};
use crate::support::journald::{received, value};
use crate::support::patience;

#[test]
fn the_journal_gets_one_entry_for_repeats_with_a_field_for_each_key() {
    patience::run(async || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let stderr = UnixStream::pair().unwrap().0;
        let log = Log::to(Destination::Journal, outlets(path, stderr));
        for _ in 0..3 {
            log.grant(1001, "billing");
        }
        patience::settle().await;
        log.clock.advance(WINDOW);
        patience::settle().await;
        let fields = received(&journald);
        assert_eq!(value(&fields, "SYSLOG_IDENTIFIER"), Some("credd"));
        assert_eq!(value(&fields, "PRIORITY"), Some("6"));
        assert_eq!(value(&fields, "CREDD_AUDIT"), Some("1"));
        assert_eq!(value(&fields, "CREDD_COUNT"), Some("3"));
        assert_eq!(value(&fields, "CREDD_UID"), Some("1001"));
        assert_eq!(value(&fields, "CREDD_IDENTITY"), Some("billing"));
        let id = value(&fields, "CREDD_REQUEST_ID");
        assert_eq!(id, Some("3f9ac21b-0000000000"));
        assert_eq!(value(&fields, "CREDD_PID"), None, "not known");
        let message = super::json(value(&fields, "MESSAGE").unwrap());
        assert_eq!(message["last_request_id"], "3f9ac21b-0000000002");
        assert_eq!(message.as_object().unwrap().len(), 23);
    });
}

#[test]
fn another_journald_gets_what_came_while_there_was_none() {
    patience::run(async || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let first = UnixDatagram::bind(&path).unwrap();
        let stderr = UnixStream::pair().unwrap().0;
        let log = Log::to(Destination::Journal, outlets(path.clone(), stderr));
        drop(first);
        log.grant(1, "a");
        log.grant(2, "a");
        for _ in 0..5 {
            log.clock.advance(WINDOW);
            let_others_run().await;
        }
        std::fs::remove_file(&path).unwrap();
        let second = UnixDatagram::bind(&path).unwrap();
        second.set_nonblocking(true).unwrap();
        log.wind_until("a datagram", || second.recv(&mut [0; 10]).is_ok())
            .await;
        log.close().await;
        second.set_nonblocking(false).unwrap();
        assert_eq!(value(&received(&second), "CREDD_UID"), Some("2"));
    });
}

#[test]
fn a_file_is_the_owners_alone_and_is_appended_to() {
    patience::run(async || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        for uid in [1, 2] {
            let log = Log::to_file(&path);
            log.grant(uid, "a");
            // Before the second is over.
            log.close().await;
        }
        let lines = in_file(&path);
        let uids: Vec<_> = lines.iter().map(|line| line["uid"].as_u64()).collect();
        assert_eq!(uids, [Some(1), Some(2)]);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    });
}

#[test]
fn a_file_that_is_rotated_away_is_made_anew() {
    patience::run(async || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let old = folder.path().join("audit.log.1");
        let log = Log::to_file(&path);
        log.grant(1, "a");
        log.wind_until("the first line", || in_file(&path).len() == 1)
            .await;
        std::fs::rename(&path, &old).unwrap();
        log.grant(2, "a");
        log.wind_until("a new file", || path.exists() && in_file(&path).len() == 1)
            .await;
        assert_eq!(in_file(&old).len(), 1);
        // As logrotate's `copytruncate` does it.
        let truncated = std::fs::OpenOptions::new().write(true).open(&path);
        truncated.unwrap().set_len(0).unwrap();
        log.grant(3, "a");
        log.wind_until("a line at the beginning", || in_file(&path).len() == 1)
            .await;
        std::fs::remove_file(&path).unwrap();
        log.grant(4, "a");
        log.close().await;
        assert_eq!(in_file(&path)[0]["uid"], 4);
    });
}

#[test]
fn what_takes_the_place_of_the_file_is_not_followed_and_nothing_is_lost() {
    patience::run(async || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let target = folder.path().join("target");
        credd::os::files::write_private(&target, b"").unwrap();
        let log = Log::to_file(&path);
        std::fs::remove_file(&path).unwrap();
        symlink(&target, &path).unwrap();
        for uid in 0..10 {
            log.grant(uid, "a");
            log.clock.advance(WINDOW);
            let_others_run().await;
        }
        assert_eq!(in_file(&target).len(), 0);
        std::fs::remove_file(&path).unwrap();
        log.wind_until("all lines", || path.exists() && in_file(&path).len() == 10)
            .await;
        assert_eq!(log.audit.dropped(), 0);
    });
}

#[test]
fn stderr_gets_the_same_lines() {
    patience::run(async || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let reader = collect(theirs);
        let log = Log::to(Destination::Stderr, outlets("/nowhere".into(), ours));
        log.grant(1, "a");
        log.grant(1, "a");
        log.grant(1, "b");
        log.close().await;
        let lines = reader.join().unwrap();
        assert_eq!((lines.len(), decisions(&lines)), (2, 3));
    });
}

#[test]
fn where_the_config_says_nothing_a_journal_that_is_missing_is_replaced_by_stderr() {
    patience::run(async || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let mut journald = None;
        for is_there in [false, true] {
            if is_there {
                journald = Some(UnixDatagram::bind(&path).unwrap());
            }
            let (ours, theirs) = UnixStream::pair().unwrap();
            let reader = collect(theirs);
            let outlets = Outlets {
                by_default: Destination::Journal,
                ..outlets(path.clone(), ours)
            };
            let log = Log::start(&audit::Config::default(), outlets);
            log.grant(1, "a");
            log.close().await;
            let on_stderr = reader.join().unwrap();
            assert_eq!(on_stderr.len(), usize::from(!is_there));
        }
        let fields = received(&journald.unwrap());
        assert_eq!(value(&fields, "CREDD_UID"), Some("1"));
    });
}

#[test]
fn a_log_that_cannot_be_written_at_all_is_no_log() {
    let folder = tempfile::tempdir().unwrap();
    let open = |to| {
        let outlets = outlets(folder.path().join("none"), UnixStream::pair().unwrap().0);
        let config = audit::Config { to: Some(to) };
        let opened = audit::open(&config, outlets, PROCESS);
        opened.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(open(Destination::Stderr), Ok(()));
    for to in [
        Destination::Journal,
        Destination::File(folder.path().join("no/such/folder")),
        Destination::File(folder.path().to_owned()),
        Destination::File("/dev/null".into()),
    ] {
        let problem = open(to.clone()).unwrap_err();
        let start = format!("cannot write the audit log to {to}: ");
        assert!(problem.starts_with(&start), "{problem}");
        assert!(problem.contains("[audit] to ="), "{problem}");
    }
}
