//! Many people at once, some of whom leave, and a provider that fails in every way: a seed decides
//! who does what when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use credd::challenge::{Challenge, NotAccepted, Verdict};
use tokio::task::JoinSet;

use super::{Office, SERIAL, code, subject};
use crate::support::chance::Chance;
use crate::support::patience::run;

/// What the provider saw.
#[derive(Default)]
struct Tried {
    /// Codes that may have been sent.
    sent: Vec<String>,
    count: usize,
}

/// Takes what comes until told to stop, and gives up waiting now and then.
async fn provide(challenge: Challenge, mut chance: Chance, stop: Arc<AtomicUsize>) -> Tried {
    let mut tried = Tried::default();
    while stop.load(Ordering::Relaxed) > 0 {
        tokio::select! {
            biased;
            () = challenge.answered() => {}
            () = rest(&mut chance) => continue,
        }
        let Some(answered) = challenge.take() else {
            continue; // whoever left it has taken it back
        };
        tried.count += 1;
        let digits = answered.code().expose().to_owned();
        assert!(challenge.take().is_none(), "two codes at once");
        rest(&mut chance).await;
        match chance.next() % 4 {
            0 => answered.conclude(Verdict::Unsent("no route".to_owned())),
            what => {
                tried.sent.push(digits);
                match what {
                    1 => answered.conclude(Verdict::Refused("wrong".to_owned())),
                    2 => answered.conclude(Verdict::Unclear("no answer".to_owned())),
                    _ => drop(answered),
                }
            }
        }
    }
    tried
}

async fn rest(chance: &mut Chance) {
    for _ in 0..chance.between(1, 6) {
        tokio::task::yield_now().await;
    }
}

#[test]
fn no_crowd_brings_a_code_to_be_sent_twice_or_anybody_to_wait_for_nothing() {
    for seed in 0..20 {
        run(async move || {
            let mut chance = Chance::new(seed);
            let office = Office::new();
            let challenge = office.challenges.open(subject("ops", SERIAL));
            let left = Arc::new(AtomicUsize::new(40));
            let mut providing = JoinSet::new();
            providing.spawn(provide(challenge, chance.fork(), Arc::clone(&left)));
            let mut people = JoinSet::new();
            for _ in 0..40 {
                let mut chance = chance.fork();
                let (challenges, left) = (Arc::clone(&office.challenges), Arc::clone(&left));
                people.spawn(async move {
                    rest(&mut chance).await;
                    // Few codes, so that many type the same one.
                    let digits = format!("{:06}", chance.between(0, 9));
                    let answer = challenges.answer(Some("ops"), code(&digits));
                    let outcome = tokio::select! {
                        biased;
                        outcome = answer => Some(outcome),
                        () = leave(&mut chance) => None,
                    };
                    left.fetch_sub(1, Ordering::Relaxed);
                    outcome
                });
            }
            let outcomes = people.join_all().await;
            let tried = providing.join_next().await.unwrap().unwrap();
            let once: BTreeSet<&String> = tried.sent.iter().collect();
            assert_eq!(once.len(), tried.sent.len(), "{seed}: sent twice");
            let heard = outcomes.iter().flatten();
            let heard = heard
                .filter(|outcome| outcome.as_ref().is_err_and(is_of_a_try))
                .count();
            let gone = outcomes.iter().filter(|outcome| outcome.is_none()).count();
            assert!(
                heard <= tried.count && tried.count <= heard + gone,
                "{seed}"
            );
        });
    }
}

fn is_of_a_try(error: &NotAccepted) -> bool {
    use NotAccepted::{Refused, Unclear, Unsent};
    matches!(error, Refused { .. } | Unclear { .. } | Unsent { .. })
}

/// One in three leaves after a while.
async fn leave(chance: &mut Chance) {
    if chance.one_in(3) {
        rest(chance).await;
    } else {
        std::future::pending::<()>().await;
    }
}
