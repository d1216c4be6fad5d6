//! Days with people who slip, an STS that comes and goes, clocks that are set and daemons that
//! restart, as a seed decides.

use credd::challenge::VALIDITY;
use credd::clock::BootInstant;

use super::*;
use crate::support::fake_aws::Reply;
use crate::support::patience::run;

/// What STS was asked, and when, by the clock that never steps.
#[derive(Default)]
struct Seen {
    looked_at: usize,
    codes: Vec<(BootInstant, String)>,
}

impl Seen {
    /// No code within its validity was sent before.
    fn look(&mut self, bench: &Bench, seed: u64) {
        let now = bench.clock.boot();
        let all = bench.aws.seen();
        for seen in &all[self.looked_at..] {
            if seen.call != Call::GetSessionToken {
                continue;
            }
            let code = seen.parameter("TokenCode").unwrap();
            let is_fresh = |(at, it): &(BootInstant, String)| {
                it == code && BootInstant::until(*at, now) < VALIDITY
            };
            assert!(
                !self.codes.iter().any(is_fresh),
                "seed {seed}: {code} again"
            );
            self.codes.push((now, code.to_owned()));
        }
        self.looked_at = all.len();
    }
}

async fn restarted(bench: Bench) -> Bench {
    let Bench {
        clock, aws, host, ..
    } = bench;
    let identities = [
        ("ops", host.keys(KEY, "secret")),
        ("ops-mfa", session("ops", CodeSource::Ask)),
        ("deploy", role("ops-mfa", DEPLOY)),
    ];
    Bench::with(clock, aws, host, identities).await
}

/// One of few, so that many come twice.
fn digits(chance: &mut Chance) -> String {
    format!("{:06}", chance.between(0, 3))
}

fn minutes(chance: &mut Chance, most: u64) -> Duration {
    Duration::from_mins(chance.between(0, most))
}

async fn happen(bench: &Bench, chance: &mut Chance, sent: &mut usize) {
    match chance.next() % 12 {
        0..=3 => {
            let code = digits(chance);
            if !chance.one_in(3) {
                bench.codes(&[&code]);
            }
            match bench.answer(None, &code).await {
                Ok(_) | Err(NotAccepted::Refused { .. } | NotAccepted::Unclear { .. }) => {
                    *sent += 1;
                }
                Err(
                    NotAccepted::AlreadyUsed { .. }
                    | NotAccepted::AlreadyAnswered { .. }
                    | NotAccepted::Unsent { .. },
                ) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        4 => bench.aws.next(Call::GetSessionToken, |_| Reply::hang_up()),
        5 => bench.aws.go_down(),
        6 => bench.aws.be_honest(),
        7 => bench.reader("ops-mfa").refresh(),
        8 => bench.reader("ops-mfa").forget(),
        9 => bench.clock.step_forward(minutes(chance, 240)),
        10 => bench.clock.step_back(minutes(chance, 240)),
        _ => bench.clock.suspend(minutes(chance, 90)),
    }
}

#[test]
fn no_day_sends_a_code_twice_or_costs_a_session_that_lives() {
    for seed in 0..12 {
        run(async move || {
            let mut chance = Chance::new(seed);
            let mut bench = Bench::usual().await;
            let (mut seen, mut sent) = (Seen::default(), 0);
            for _ in 0..80 {
                happen(&bench, &mut chance, &mut sent).await;
                bench.reader("ops-mfa").demand();
                bench.quiet().await;
                seen.look(&bench, seed);
                // Nobody but people makes STS see codes.
                assert_eq!(bench.sessions(), sent, "seed {seed}");
                let snapshot = Arc::clone(&bench.reader("ops-mfa").load());
                let now = bench.clock.now();
                let lives = snapshot.held.as_ref().is_some_and(|held| now < held.ends());
                assert_eq!(bench.key("ops-mfa").is_some(), lives, "seed {seed}");
                let wants_code = !bench.challenges.list().is_empty();
                assert!(lives || wants_code, "seed {seed}");
                let pause = if chance.one_in(3) {
                    minutes(&mut chance, 90)
                } else {
                    Duration::from_secs(chance.between(0, 40))
                };
                bench.clock.advance(pause);
                bench.quiet().await;
                if chance.one_in(10) {
                    bench = restarted(bench).await;
                }
            }
        });
    }
}
