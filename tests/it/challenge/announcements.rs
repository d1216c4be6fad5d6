//! What people are told, and when.

use std::time::Duration;

use credd::challenge::{Announcement, Kind, Verdict, Warning};
use tokio::sync::broadcast::Receiver;

use super::{Office, SERIAL, code, subject};
use crate::support::journal::Journal;
use crate::support::patience::run;

fn kinds(announcements: &mut Receiver<Announcement>) -> Vec<Kind> {
    std::iter::from_fn(|| announcements.try_recv().ok())
        .map(|announcement| announcement.kind)
        .collect()
}

#[test]
fn a_day_with_a_session_is_announced_stage_by_stage() {
    run(async || {
        let office = Office::new();
        let journal = Journal::begin();
        let mut announcements = office.challenges.announcements();
        let challenge = office.challenges.open(subject("ops", SERIAL));
        for _ in 0..3 {
            challenge.ask(office.now(), None);
        }
        assert_eq!(kinds(&mut announcements), [Kind::Asked]);
        assert_eq!(
            office.challenges.list()[0].pending_since,
            Some(office.now())
        );

        let challenges = office.challenges.clone();
        let person = async { challenges.answer(None, code("111111")).await };
        let until = office.now().plus(Duration::from_hours(12));
        let provider = async {
            challenge.answered().await;
            let answered = challenge.take().unwrap();
            answered.conclude(Verdict::Accepted { until });
            // What a provider says besides makes no second announcement.
            challenge.obtained(office.now(), until);
        };
        let (outcome, ()) = tokio::join!(person, provider);
        outcome.unwrap();
        assert_eq!(kinds(&mut announcements), [Kind::Answered]);

        let mut stages = Vec::new();
        for left in [60, 10, 0].map(Duration::from_mins) {
            office.clock.advance(office.now().until(until.minus(left)));
            challenge.ask(office.now(), Some(until));
            challenge.ask(office.now(), Some(until));
            let left = office.now().until(until).as_secs() / 60;
            stages.push((left, kinds(&mut announcements)));
        }
        assert_eq!(
            stages,
            [
                (60, vec![Kind::Warned(Warning::First)]),
                (10, vec![Kind::Warned(Warning::Last)]),
                (0, vec![Kind::Lapsed]),
            ]
        );
        drop(challenge);
        assert_eq!(kinds(&mut announcements), [Kind::Withdrawn]);

        let lines = journal.lines("credd mfa ops");
        assert_eq!(lines.len(), 4, "{lines:#?}");
        assert!(lines.iter().all(|line| line.contains("WARN")));
    });
}

#[test]
fn a_challenge_that_nobody_had_to_hear_of_goes_without_a_word() {
    run(async || {
        let office = Office::new();
        let mut announcements = office.challenges.announcements();
        let challenge = office.challenges.open(subject("ops", SERIAL));
        challenge.obtained(office.now(), office.tomorrow());
        drop(challenge);
        assert_eq!(kinds(&mut announcements), []);
        assert!(office.challenges.list().is_empty());
    });
}
