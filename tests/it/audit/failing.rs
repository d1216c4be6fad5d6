//! Sinks that are stuck, slow or full: nobody waits, and what is lost is counted.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;

use credd::audit::{CAPACITY, Destination, WINDOW};

use super::{Log, collect, decisions, dropped, json, let_others_run, outlets};
use crate::support::journal::Journal;
use crate::support::patience;

#[test]
fn nobody_waits_for_a_reader_that_is_stuck_and_what_it_costs_is_counted() {
    patience::run(async || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let log = Log::to(Destination::Stderr, outlets("/nowhere".into(), ours));
        let callers = 5 * u32::try_from(CAPACITY).unwrap();
        // This thread is the one that the daemon serves on: it would hang here.
        for uid in 0..callers {
            log.grant(uid, "a");
            if uid % 64 == 0 {
                patience::settle().await;
            }
        }
        let lost = log.audit.dropped();
        assert!(lost > 0, "the log took more than there is room for");
        assert_eq!(log.audit.waiting(), CAPACITY);
        let reader = collect(theirs);
        log.wind_until("room", || log.audit.waiting() == 0).await;
        log.grant(callers, "a");
        log.grant(callers + 1, "a");
        assert_eq!(log.audit.dropped(), lost);
        log.close().await;
        let lines = reader.join().unwrap();
        assert_eq!(decisions(&lines) + lost, u64::from(callers) + 2);
        assert_eq!(dropped(&lines), lost);
        let telling: Vec<_> = lines.iter().filter(|line| line["dropped"] != 0).collect();
        assert_eq!(telling.len(), 1, "one line says how many");
        assert_eq!(telling[0]["uid"], callers, "the first that gets through");
    });
}

#[test]
fn a_line_torn_by_a_sink_without_room_is_completed_later() {
    patience::run(async || {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        // A pipe that says so when it is full, as a disk does.
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let log = Log::to(Destination::Stderr, outlets("/nowhere".into(), ours));
        for uid in 0..1500 {
            log.grant(uid, &format!("identity-{uid}"));
        }
        let mut text = Vec::new();
        log.wind_until("all lines", || {
            // A little at a time, so that the writer runs into the end again and again.
            let mut buffer = [0; 10_000];
            if let Ok(length) = theirs.read(&mut buffer) {
                text.extend_from_slice(&buffer[..length]);
            }
            text.lines().count() == 1500 && text.ends_with(b"\n")
        })
        .await;
        let lines: Vec<_> = text.lines().map(|line| json(&line.unwrap())).collect();
        for (uid, line) in lines.iter().enumerate() {
            assert_eq!(line["identity"], format!("identity-{uid}"));
        }
        assert_eq!(log.audit.dropped(), 0);
    });
}

#[test]
fn a_failure_is_told_once_and_so_is_its_end() {
    patience::run(async || {
        let journal = Journal::begin();
        let folder = tempfile::tempdir().unwrap();
        let away = folder.path().join("away");
        let folder = folder.path().join("logs");
        std::fs::create_dir(&folder).unwrap();
        let log = Log::to_file(&folder.join("audit.log"));
        std::fs::rename(&folder, &away).unwrap();
        log.grant(1, "a");
        for _ in 0..20 {
            log.clock.advance(WINDOW);
            let_others_run().await;
        }
        assert_eq!(journal.lines("cannot write the audit log").len(), 1);
        std::fs::create_dir(&folder).unwrap();
        log.wind_until("a line", || {
            !journal.lines("the audit log is written again").is_empty()
        })
        .await;
        assert_eq!(super::in_file(&folder.join("audit.log")).len(), 1);
    });
}

#[test]
fn at_the_end_a_sink_that_fails_is_tried_once_more_and_then_let_go() {
    patience::run(async || {
        let journal = Journal::begin();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let log = Log::to(Destination::Stderr, outlets("/nowhere".into(), ours));
        drop(theirs);
        for _ in 0..3 {
            log.grant(1, "a");
        }
        let audit = log.audit.clone();
        log.close().await;
        assert_eq!(audit.dropped(), 3);
        let last = journal.lines("the end of the audit log is lost");
        assert!(last[0].contains("decisions=3"), "{last:?}");
    });
}

#[test]
fn a_slow_reader_gets_everything() {
    patience::run(async || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let reader = std::thread::spawn(move || {
            let mut reader = BufReader::with_capacity(512, theirs);
            let mut lines = Vec::new();
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 0 {
                lines.push(json(&line));
                line.clear();
                std::thread::yield_now();
            }
            lines
        });
        let log = Log::to(Destination::Stderr, outlets("/nowhere".into(), ours));
        for round in 0..20_u32 {
            for uid in 0..500 {
                log.grant(uid, &format!("round-{round}"));
            }
            log.wind_until("room", || log.audit.waiting() < CAPACITY / 2)
                .await;
        }
        log.close().await;
        let lines = reader.join().unwrap();
        assert_eq!((decisions(&lines), dropped(&lines)), (10_000, 0));
    });
}
