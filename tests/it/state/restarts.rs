//! The real program, ended in every way and at any instant.

use std::thread::sleep;
use std::time::Duration;

use credd::environment::Environment;
use rustix::process::Signal;

use super::*;
use crate::commands::aws::beside_aws;
use crate::serving::measured;
use crate::support::chance::Chance;
use crate::support::fake_aws::Call;

#[test]
fn a_daemon_that_is_killed_at_any_instant_costs_no_code_and_no_call_to_aws() {
    let variable = Environment::of_process();
    let turns = variable
        .variable("CREDD_KILLS")
        .and_then(|it| it.parse().ok());
    let turns: usize = turns.unwrap_or(40);
    beside_aws(move |aws| {
        let service = Service::new(aws);
        let mut daemon = service.settle();
        let (sets, calls) = (service.sets(), aws.calls());
        assert_eq!(aws.count(Call::GetSessionToken), 2);
        assert_eq!(aws.count(Call::AssumeRole), 2);
        daemon.kill();
        let mut chance = Chance::new(1);
        for turn in 0..turns {
            let mut daemon = service.begin();
            // It answers after some 20 ms; a debug build takes longer.
            sleep(Duration::from_micros(chance.between(0, 120_000)));
            daemon.kill();
            if turn % 10 == 9 {
                let mut daemon = service.start();
                assert_eq!(service.sets(), sets, "{turn}");
                daemon.kill();
            }
        }
        let daemon = service.start();
        assert_eq!(service.sets(), sets);
        assert_eq!(service.place.challenges(), 0);
        assert_eq!(aws.calls(), calls, "{:?}", aws.asked());
        assert_eq!(service.manager.names(), ["credd-state"]);
        assert_eq!(service.manager.has_said("FDSTORE=1"), 1);
        assert_eq!(service.manager.has_said("FDSTOREREMOVE=1"), 0);
        measured(&format!("{turns} kills: 0 codes, 0 calls to AWS"));
        drop(daemon);
    });
}

#[test]
fn an_operator_is_told_whether_the_service_manager_keeps_anything() {
    let handed = "sessions are handed to the service manager";
    let kept = "sessions are kept through restarts";
    let lost = "WARN the service manager keeps nothing for this unit";
    let since_254 = ("MEMORY_PRESSURE_WATCH", "/dev/null");
    beside_aws(move |aws| {
        for (variables, said) in [
            // Before systemd 254 nothing tells.
            (&[][..], handed),
            (&[("FDSTORE", "16"), since_254], kept),
            (&[since_254], lost),
            (&[("FDSTORE", "0")], lost),
        ] {
            let service = Service::new(aws);
            let mut command = service.command();
            command.envs(variables.iter().copied());
            let start = || {
                let log = service.place.folder().join("log");
                let mut daemon = Running::start(&mut service.manager.start(&command), &log);
                eventually("it is said", || {
                    let log = service.log();
                    let lines = [handed, kept, lost];
                    lines.iter().any(|it| log.contains(it)).then_some(())
                });
                daemon.kill();
                service.log()
            };
            let log = start();
            for line in [handed, kept, lost] {
                assert_eq!(log.contains(line), line == said, "{variables:?}: {log}");
            }
            // Whoever hands it back has kept it.
            let log = start();
            assert!(log.contains(kept), "{variables:?}: {log}");
        }
    });
}

#[test]
fn what_a_person_was_told_is_accepted_is_kept_though_the_daemon_is_killed_at_once() {
    for _ in 0..3 {
        beside_aws(|aws| {
            let service = Service::new(aws);
            let mut daemon = service.start();
            service.place.answer("111111");
            daemon.kill();
            let _daemon = service.start();
            service.sets();
            assert!(!service.log().contains("panicked"));
            let codes = aws.seen().into_iter();
            let codes = codes.filter(|seen| seen.parameter("TokenCode").is_some());
            assert_eq!(codes.count(), 1);
        });
    }
}

#[test]
fn a_stop_keeps_as_much_as_a_crash() {
    beside_aws(|aws| {
        let service = Service::new(aws);
        let mut daemon = service.settle();
        let (sets, calls) = (service.sets(), aws.calls());
        for end in [Signal::TERM, Signal::INT, Signal::KILL, Signal::ABORT] {
            daemon.signal(end);
            daemon.end();
            daemon = service.start();
            assert_eq!(service.sets(), sets, "{end:?}");
        }
        assert_eq!(aws.calls(), calls);
    });
}

#[test]
fn hops_that_nobody_has_needed_since_a_restart_are_kept_for_the_next() {
    beside_aws(|aws| {
        let service = Service::new(aws);
        let mut daemon = service.settle();
        let kept = |service: &Service<'_>| {
            let bytes = service.manager.bytes();
            let sessions = aws.sessions();
            let kept = sessions.iter().filter(|it| contains(&bytes, &it.token));
            kept.count()
        };
        // A session with a code, one of the environment's keys, and two roles.
        assert_eq!(kept(&service), 4);
        for _ in 0..3 {
            daemon.kill();
            daemon = service.start();
            service.sets();
            assert_eq!(kept(&service), 4);
        }
    });
}

#[test]
fn what_is_forgotten_stays_forgotten() {
    beside_aws(|aws| {
        let service = Service::new(aws);
        let mut daemon = service.settle();
        for is_restarted in [false, true] {
            if is_restarted {
                daemon.kill();
                daemon = service.start();
                service.sets();
            }
            let tokens = || -> Vec<String> {
                let sessions = aws.sessions().into_iter();
                let with_mfa = sessions.filter(|it| it.has_mfa && it.principal == OPS);
                with_mfa.map(|it| it.token).collect()
            };
            let is_kept = || {
                let bytes = service.manager.bytes();
                tokens().iter().any(|token| contains(&bytes, token))
            };
            assert!(is_kept());
            assert!(service.place.run(&["forget", "ops-mfa"]).is_success());
            eventually("the session is gone", || (!is_kept()).then_some(()));
            aws.mfa_codes(SERIAL, &["222222"]);
            // Whoever asks for it has a person asked.
            service.place.run(&["get", "ops-mfa"]);
            if !is_restarted {
                service.place.answer("222222");
                service.sets();
            }
        }
        daemon.kill();
        let _daemon = service.start();
        service.place.asks();
    });
}

#[test]
fn without_a_service_manager_nothing_is_kept_and_nothing_breaks() {
    beside_aws(|aws| {
        let service = Service::new(aws);
        let mut daemon = service.place.serving(&mut service.command());
        service.place.answer("111111");
        service.sets();
        daemon.terminate();
        let _daemon = service.place.serving(&mut service.command());
        service.place.asks();
        assert!(!service.log().contains("kept through restarts"));
    });
}
