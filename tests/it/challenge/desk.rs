//! What becomes of a code, from the person to the provider and back.

use std::time::Duration;

use credd::challenge::{Accepted, Answered, Challenge, MfaCode, NotAccepted, Verdict};
use tokio::task::JoinSet;

use super::{Office, SERIAL, code, subject};
use crate::support::journal::Journal;
use crate::support::patience::{run, settle, until};

type Outcome = Result<Accepted, NotAccepted>;

impl Office {
    fn ops(&self) -> Challenge {
        self.challenges.open(subject("ops", SERIAL))
    }

    /// A person types a code, and waits in a task of their own.
    fn type_in(&self, people: &mut JoinSet<Outcome>, digits: &str) {
        let (challenges, code) = (self.challenges.clone(), code(digits));
        people.spawn(async move { challenges.answer(None, code).await });
    }
}

async fn heard(people: &mut JoinSet<Outcome>) -> Outcome {
    people.join_next().await.unwrap().unwrap()
}

async fn taken(challenge: &Challenge) -> Answered {
    challenge.answered().await;
    challenge.take().unwrap()
}

#[test]
fn a_code_is_handed_over_once_and_its_outcome_told() {
    run(async || {
        let office = Office::new();
        let journal = Journal::begin();
        let challenge = office.ops();
        challenge.ask(office.now(), None);
        let mut people = JoinSet::new();
        office.type_in(&mut people, "837261");
        let answered = taken(&challenge).await;
        assert_eq!(answered.code().expose(), "837261");
        // On disk before anybody could send it.
        assert!(office.folder.path().join("used-codes").exists());
        assert!(challenge.take().is_none());
        assert!(office.challenges.list()[0].is_being_tried);
        assert!(!format!("{answered:?} {:?}", office.challenges).contains("837261"));

        let until = office.tomorrow();
        answered.conclude(Verdict::Accepted { until });
        let accepted = heard(&mut people).await.unwrap();
        assert_eq!(accepted.until, until);
        assert_eq!(
            accepted.to_string(),
            "accepted: ops is good until 2026-11-23T09:30:00Z"
        );
        let open = office.challenges.list().remove(0);
        assert_eq!((open.pending_since, open.ends), (None, Some(until)));
        assert!(!open.is_being_tried && open.last.unwrap().outcome.is_ok());
        assert!(!journal.text().contains("837261"));
    });
}

#[test]
fn of_two_people_at_once_one_is_tried_and_the_other_told() {
    run(async || {
        let office = Office::new();
        let challenge = office.ops();
        challenge.ask(office.now(), None);
        let mut people = JoinSet::new();
        office.type_in(&mut people, "111111");
        office.type_in(&mut people, "222222");
        let busy = heard(&mut people).await.unwrap_err();
        assert!(matches!(busy, NotAccepted::Busy { .. }), "{busy:?}");
        let answered = taken(&challenge).await;
        assert_eq!(answered.code().expose(), "111111");
        let busy = office.challenges.answer(None, code("222222")).await;
        assert!(matches!(busy, Err(NotAccepted::Busy { .. })));
        let until = office.tomorrow();
        answered.conclude(Verdict::Accepted { until });
        heard(&mut people).await.unwrap();

        let late = office.challenges.answer(None, code("222222")).await;
        let ops = subject("ops", SERIAL);
        assert_eq!(
            late,
            Err(NotAccepted::AlreadyAnswered {
                subject: ops,
                until
            })
        );
        assert!(challenge.take().is_none());
        // Later it is a renewal ahead of time, with the code that was not sent before.
        office.clock.advance(Duration::from_mins(1));
        office.type_in(&mut people, "222222");
        let answered = taken(&challenge).await;
        answered.conclude(Verdict::Accepted { until });
        heard(&mut people).await.unwrap();
    });
}

#[test]
fn a_wrong_code_costs_one_attempt_and_says_so() {
    run(async || {
        let office = Office::new();
        let challenge = office.ops();
        challenge.ask(office.now(), None);
        let mut people = JoinSet::new();
        office.type_in(&mut people, "111111");
        let word = "MultiFactorAuthentication failed with\ninvalid MFA one time pass code.";
        taken(&challenge)
            .await
            .conclude(Verdict::Refused(word.to_owned()));
        let refused = heard(&mut people).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "AWS refused the code for ops (arn:aws:iam::123456789012:mfa/ops): \
             MultiFactorAuthentication failed with invalid MFA one time pass code.; this attempt \
             is spent: if the device is the right one, type the code that it shows next"
        );
        let open = office.challenges.list().remove(0);
        assert_eq!(open.pending_since, Some(office.now()));
        assert_eq!(open.last.unwrap().outcome, Err(refused));

        office.clock.advance(Duration::from_secs(20));
        let again = office.challenges.answer(Some("ops"), code("111111")).await;
        assert_eq!(
            again.unwrap_err().to_string(),
            "this code has been sent before, and AWS takes each once; type the next one, which \
             the device shows in 10 s"
        );
        assert!(challenge.take().is_none());
        office.type_in(&mut people, "222222");
        assert_eq!(taken(&challenge).await.code().expose(), "222222");
    });
}

#[test]
fn a_code_that_never_left_is_as_good_as_before() {
    run(async || {
        let office = Office::new();
        let challenge = office.ops();
        let mut people = JoinSet::new();
        for _ in 0..3 {
            office.type_in(&mut people, "111111");
            let why = "connection refused".to_owned();
            taken(&challenge).await.conclude(Verdict::Unsent(why));
            let unsent = heard(&mut people).await.unwrap_err();
            assert!(unsent.to_string().contains("not spent"), "{unsent}");
        }
        // One that may have left is not.
        office.type_in(&mut people, "111111");
        let why = "no answer within 5 s".to_owned();
        taken(&challenge).await.conclude(Verdict::Unclear(why));
        let unclear = heard(&mut people).await.unwrap_err();
        assert!(unclear.to_string().contains("may be spent"), "{unclear}");
        let again = office.challenges.answer(None, code("111111")).await;
        assert!(matches!(again, Err(NotAccepted::AlreadyUsed { .. })));
    });
}

#[test]
fn a_code_stays_used_after_a_restart_and_for_other_identities() {
    run(async || {
        let mut office = Office::new();
        let challenge = office.ops();
        let mut people = JoinSet::new();
        office.type_in(&mut people, "111111");
        let answered = taken(&challenge).await;
        // Killed in the middle of it.
        office.restart();
        let _ops = office.ops();
        let _other = office.challenges.open(subject("other", SERIAL));
        for identity in ["ops", "other"] {
            let again = office.challenges.answer(Some(identity), code("111111"));
            let again = again.await.unwrap_err();
            assert!(matches!(again, NotAccepted::AlreadyUsed { .. }));
        }
        drop(answered);
    });
}

#[test]
fn whoever_waits_is_told_when_nobody_asks_any_more() {
    run(async || {
        let office = Office::new();
        let mut people = JoinSet::new();
        let challenge = office.ops();
        office.type_in(&mut people, "111111");
        challenge.answered().await;
        drop(challenge);
        let gone = heard(&mut people).await.unwrap_err();
        assert!(matches!(gone, NotAccepted::Gone { .. }), "{gone:?}");
        let nobody = office.challenges.answer(None, code("111111")).await;
        assert_eq!(nobody, Err(NotAccepted::NothingOpen));

        // It was not sent, so that it is good for who asks next.
        let challenge = office.ops();
        office.type_in(&mut people, "111111");
        let answered = taken(&challenge).await;
        // The challenge goes while its code is under way: the outcome is told all the same.
        drop(challenge);
        let until = office.tomorrow();
        answered.conclude(Verdict::Accepted { until });
        assert_eq!(heard(&mut people).await.unwrap().until, until);
    });
}

#[test]
fn an_attempt_that_is_cut_short_is_told() {
    run(async || {
        let office = Office::new();
        let challenge = office.ops();
        let mut people = JoinSet::new();
        office.type_in(&mut people, "111111");
        drop(taken(&challenge).await);
        let unclear = heard(&mut people).await.unwrap_err();
        assert!(
            matches!(unclear, NotAccepted::Unclear { .. }),
            "{unclear:?}"
        );
        assert!(!office.challenges.list()[0].is_being_tried);
    });
}

#[test]
fn waiting_for_a_code_loses_none_when_it_is_given_up_again_and_again() {
    run(async || {
        let office = Office::new();
        let challenge = office.ops();
        let mut people = JoinSet::new();
        for round in 0..50 {
            let is_answered = tokio::select! {
                biased;
                () = challenge.answered() => true,
                () = tokio::task::yield_now() => false,
            };
            assert!(!is_answered, "{round}");
        }
        office.type_in(&mut people, "111111");
        until(|| office.challenges.list()[0].is_being_tried).await;
        for _ in 0..50 {
            tokio::select! {
                biased;
                () = tokio::task::yield_now() => {}
                () = challenge.answered() => {}
            }
        }
        settle().await;
        // As often as it is asked, until the code is taken.
        challenge.answered().await;
        challenge.answered().await;
        let answered = challenge.take().unwrap();
        answered.conclude(Verdict::Unsent("no route".to_owned()));
        heard(&mut people).await.unwrap_err();
    });
}

#[test]
fn a_person_who_leaves_takes_the_code_along_unless_it_is_under_way() {
    run(async || {
        let office = Office::new();
        let challenge = office.ops();
        let type_in = |code: MfaCode| {
            let challenges = office.challenges.clone();
            let mut people = JoinSet::new();
            people.spawn(async move { challenges.answer(None, code).await });
            people
        };
        let mut people = type_in(code("111111"));
        challenge.answered().await;
        people.shutdown().await;
        assert!(challenge.take().is_none());
        assert!(!office.challenges.list()[0].is_being_tried);

        let mut people = type_in(code("111111"));
        let answered = taken(&challenge).await;
        people.shutdown().await;
        let busy = office.challenges.answer(None, code("222222")).await;
        assert!(matches!(busy, Err(NotAccepted::Busy { .. })));
        let until = office.tomorrow();
        answered.conclude(Verdict::Accepted { until });
        assert_eq!(office.challenges.list()[0].ends, Some(until));
    });
}

#[test]
fn nobody_waits_for_ever() {
    run(async || {
        let office = Office::new();
        let challenge = office.ops();
        let mut people = JoinSet::new();
        office.type_in(&mut people, "111111");
        challenge.answered().await;
        settle().await;
        office.clock.advance(Duration::from_secs(35));
        let unheard = heard(&mut people).await.unwrap_err();
        assert!(
            matches!(unheard, NotAccepted::NotTaken { .. }),
            "{unheard:?}"
        );
        assert!(challenge.take().is_none());

        // It was not sent, and may be tried again; this time it is taken, and the attempt hangs.
        office.type_in(&mut people, "111111");
        let answered = taken(&challenge).await;
        settle().await;
        office.clock.advance(Duration::from_secs(35));
        let unheard = heard(&mut people).await.unwrap_err();
        assert!(
            matches!(unheard, NotAccepted::Unclear { .. }),
            "{unheard:?}"
        );
        let busy = office.challenges.answer(None, code("222222")).await;
        assert!(matches!(busy, Err(NotAccepted::Busy { .. })));
        drop(answered);
        office.type_in(&mut people, "222222");
        assert_eq!(taken(&challenge).await.code().expose(), "222222");
    });
}

#[test]
fn an_answer_finds_the_desk_that_is_meant_or_lists_those_that_may_be() {
    run(async || {
        let office = Office::new();
        let answer = async |which: Option<&str>| {
            let outcome = office.challenges.answer(which, code("111111")).await;
            outcome.unwrap_err().to_string()
        };
        assert!(answer(None).await.starts_with("no identity of this daemon"));
        assert!(answer(Some("ops")).await.starts_with("no identity of this"));

        let ops = office.ops();
        let other = office.challenges.open(subject("other", "arn:other"));
        assert_eq!(
            answer(Some("opps\u{1b}[2J")).await,
            "no identity or device `opps [2J` uses MFA codes; these do: \
             ops (arn:aws:iam::123456789012:mfa/ops), other (arn:other)"
        );
        let several = "say whose code it is, by identity or device: there are: \
                       ops (arn:aws:iam::123456789012:mfa/ops), other (arn:other)";
        assert_eq!(answer(None).await, several);
        ops.ask(office.now(), None);
        other.ask(office.now(), None);
        assert_eq!(answer(None).await, several);

        ops.obtained(office.now(), office.tomorrow());
        let mut people = JoinSet::new();
        for which in [None, Some("other"), Some("arn:other")] {
            let challenges = office.challenges.clone();
            people.spawn(async move { challenges.answer(which, code("111111")).await });
            let answered = taken(&other).await;
            answered.conclude(Verdict::Unsent("no route".to_owned()));
            heard(&mut people).await.unwrap_err();
        }
        assert!(ops.take().is_none());
    });
}
