//! The whole daemon, its sockets and its commands.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::process::{self, Stdio};

use credd::config::{self, Config};
use credd::credentials::Warnings;
use serde_json::json;

use super::*;
use crate::serving::daemon::{InProcess, config};
use crate::serving::eventually;
use crate::serving::program::Said;
use crate::serving::wire::{Reply, exchange};
use crate::support::patience::run;

/// A daemon on a thread of its own, and what it needs.
struct Whole {
    clock: Arc<TestClock>,
    aws: FakeAws,
    daemon: InProcess,
    /// Its files, for as long as it runs.
    _host: Host,
}

impl Whole {
    async fn start() -> Self {
        let clock = TestClock::new();
        let aws = aws(&clock).await;
        let host = Host::asking(&aws.url());
        Self::on(clock, aws, host, config::Challenges::default()).await
    }

    async fn on(
        clock: Arc<TestClock>,
        aws: FakeAws,
        host: Host,
        challenges: config::Challenges,
    ) -> Self {
        let identities = [
            ("ops", host.keys(KEY, "secret")),
            ("ops-mfa", session("ops", CodeSource::Ask)),
            ("deploy", role("ops-mfa", DEPLOY)),
        ];
        let identities = identities.map(|(identity, link)| (name(identity), vec![link]));
        let config = Config {
            challenges,
            ..config(identities.into(), "127.0.0.1:0")
        };
        let (shared, environment) = (Arc::clone(&clock) as SharedClock, host.environment());
        let daemon = InProcess::with(shared, config, environment);
        let whole = Self {
            clock,
            aws,
            daemon,
            _host: host,
        };
        until(|| whole.daemon.status().challenges.len() == 1).await;
        whole
    }

    /// Asks for credentials, as a client does.
    async fn get(&self, identity: &str) -> Reply {
        let mut stream = self.daemon.unix();
        let request = format!("GET /v1/credentials/{identity} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let asking = tokio::task::spawn_blocking(move || exchange(&mut stream, request));
        asking.await.unwrap().unwrap()
    }

    /// The program against this daemon, with `input` in a pipe.
    async fn credd(&self, words: &[&str], input: &str) -> Said {
        let mut command = process::Command::new(env!("CARGO_BIN_EXE_credd"));
        command
            .args(words)
            .arg("--runtime-dir")
            .arg(self.daemon.directory())
            .env_clear();
        let (read, mut write) = std::io::pipe().unwrap();
        write.write_all(input.as_bytes()).unwrap();
        drop(write);
        command.stdin(Stdio::from(read));
        let said = tokio::task::spawn_blocking(move || Said::by(&mut command));
        said.await.unwrap()
    }

    async fn served(&self, identity: &str) {
        // A first attempt that nobody waits for may be put off by this much.
        self.clock.advance(MINUTE);
        until(|| {
            let identities = self.daemon.status().identities;
            identities
                .iter()
                .any(|it| it.name == identity && it.is_served)
        })
        .await;
    }
}

#[test]
fn after_a_lapse_hundreds_of_requests_are_told_what_to_run_and_aws_hears_of_none() {
    run(async || {
        let whole = Whole::start().await;
        whole.aws.mfa_codes(SERIAL, &["111111"]);
        let said = whole.credd(&["mfa"], "111111\n").await;
        assert_eq!(
            said.data(),
            "accepted: ops-mfa is good until 2026-11-22T21:30:00Z\n"
        );
        assert_eq!(whole.get("ops-mfa").await.status, 200);
        whole.clock.advance(12 * HOUR);
        until(|| !whole.daemon.status().challenges.is_empty()).await;
        until(|| whole.daemon.status().challenges[0].seconds_left == Some(0)).await;
        settle().await;
        let calls = whole.aws.calls();
        for _ in 0..300 {
            let reply = whole.get("ops-mfa").await;
            assert_eq!(
                (reply.status, reply.code()),
                (403, "MfaRequired".to_owned())
            );
            let body = reply.json();
            let message = body["message"].as_str().unwrap();
            assert!(message.contains("`credd mfa ops-mfa`"), "{message}");
        }
        assert_eq!(whole.aws.calls(), calls);
    });
}

#[test]
fn a_monitoring_system_sees_what_is_pending_and_when_sessions_end() {
    run(async || {
        let whole = Whole::start().await;
        let metrics = async || {
            let mut stream = whole.daemon.admin();
            let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
            let asking = tokio::task::spawn_blocking(move || exchange(&mut stream, request));
            let reply = asking.await.unwrap().unwrap();
            assert_eq!(reply.status, 200);
            String::from_utf8(reply.body).unwrap()
        };
        let lines = |text: String| -> Vec<String> {
            let samples = text
                .lines()
                .filter(|line| line.starts_with("credd_challenge_"));
            samples.map(str::to_owned).collect()
        };
        let pending = "credd_challenge_pending{identity=\"ops-mfa\"}";
        assert_eq!(lines(metrics().await), [format!("{pending} 1")]);
        whole.aws.mfa_codes(SERIAL, &["111111"]);
        whole.credd(&["mfa"], "111111\n").await.data();
        let ends = "credd_challenge_session_end_timestamp_seconds{identity=\"ops-mfa\"}";
        let expiry = whole.aws.sessions()[0].expiry.unix_millis() / 1000;
        let expected = [format!("{pending} 0"), format!("{ends} {expiry}")];
        assert_eq!(lines(metrics().await), expected);
    });
}

#[test]
fn the_command_shows_what_is_pending_and_sends_the_code() {
    run(async || {
        let whole = Whole::start().await;
        let pending = "ops-mfa: an MFA code is needed now: nothing is served without (run `credd \
                       mfa ops-mfa`)\n";
        assert_eq!(whole.credd(&["mfa", "--list"], "").await.data(), pending);
        let status = whole.credd(&["status"], "").await.data();
        assert!(status.ends_with(&format!("\n{pending}")), "{status}");

        for (words, input, word) in [
            (&["mfa"][..], "", "no MFA code was given"),
            (&["mfa"], "12345", "exactly six digits"),
            (
                &["mfa", "--code-stdin"],
                "12345x\n",
                "six digits and nothing else",
            ),
            (&["mfa", "opps"], "111111", "this does: ops-mfa ("),
            (
                &["mfa", "ops-mfa"],
                "111111\n",
                "AWS refused the code for ops-mfa",
            ),
            (&["mfa", "ops-mfa"], "111111\n", "has been sent before"),
        ] {
            let said = whole.credd(words, input).await;
            assert_eq!(
                (said.code(), said.stdout.as_str()),
                (Some(1), ""),
                "{said:?}"
            );
            assert!(said.stderr.contains(word), "{said:?}");
            assert!(!said.stderr.contains("111111"), "{said:?}");
        }
        assert_eq!(whole.aws.count(Call::GetSessionToken), 1);
        let listed = whole.credd(&["mfa", "--list"], "").await.data();
        assert!(
            listed.contains("last code, 2026-11-22T09:30:00Z: AWS refused"),
            "{listed}"
        );

        whole.aws.mfa_codes(SERIAL, &["222222"]);
        let answered = whole
            .credd(&["mfa", SERIAL, "--json"], "222 222")
            .await
            .json();
        assert_eq!(
            answered,
            json!({
                "outcome": "accepted",
                "message": "accepted: ops-mfa is good until 2026-11-22T21:30:00Z",
                "until": "2026-11-22T21:30:00Z",
            })
        );
        let again = whole.credd(&["mfa"], "333333").await;
        assert_eq!(again.code(), Some(1));
        assert!(again.stderr.contains("just been answered"), "{again:?}");
        whole.served("deploy").await;
        let listed = whole.credd(&["mfa", "--list", "--json"], "").await.json();
        let listed = &listed["challenges"][0];
        assert_eq!(listed["identity"], "ops-mfa");
        assert_eq!(listed["pending-since"], Value::Null);
        assert_eq!(listed["last"]["outcome"], "accepted");
        let status = whole.credd(&["status", "--json"], "").await.json();
        assert_eq!(status["challenges"], json!([]));
    });
}

#[test]
fn used_codes_are_left_to_the_next_run_where_nobody_can_read_them() {
    run(async || {
        let clock = TestClock::new();
        let aws = aws(&clock).await;
        let host = Host::asking(&aws.url());
        let whole = Whole::on(clock, aws, host, config::Challenges::default()).await;
        whole.credd(&["mfa"], "111111").await;
        let path = whole.daemon.directory().join("used-codes");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let kept = text(&path);
        assert!(!kept.is_empty() && !kept.contains("111111"));
    });
}

#[test]
fn the_service_manager_and_the_hook_hear_of_each_announcement_once() {
    run(async || {
        let clock = TestClock::new();
        let aws = aws(&clock).await;
        let host = Host::asking(&aws.url());
        let notify = host.path("notify");
        let manager = UnixDatagram::bind(&notify).unwrap();
        manager.set_nonblocking(true).unwrap();
        let told = host.path("told");
        let hook = host.script(&format!(
            "echo \"$CREDD_EVENT $CREDD_IDENTITY $CREDD_SERIAL ${{CREDD_ENDS-none}} \
             ${{NOTIFY_SOCKET-withheld}}\" >> {}",
            told.display()
        ));
        let host = host.set("NOTIFY_SOCKET", notify.to_str().unwrap());
        let challenges = config::Challenges {
            warnings: Warnings {
                first: 2 * HOUR,
                last: HOUR,
            },
            hook: Some(hook),
        };
        let whole = Whole::on(clock, aws, host, challenges).await;
        whole.aws.mfa_codes(SERIAL, &["111111"]);
        let mut stages = vec!["asked"];
        for stage in ["answered", "first-warning", "last-warning", "lapsed"] {
            heard(&told, &stages).await;
            match stage {
                "answered" => {
                    whole.credd(&["mfa"], "111111").await.data();
                    whole.served("deploy").await;
                }
                "first-warning" => whole.clock.advance(10 * HOUR),
                _ => whole.clock.advance(HOUR),
            }
            stages.push(stage);
        }
        heard(&told, &stages).await;
        let ends = "2026-11-22T21:30:00Z";
        let lines: Vec<String> = stages
            .iter()
            .map(|stage| {
                let ends = if *stage == "asked" { "none" } else { ends };
                format!("{stage} ops-mfa {SERIAL} {ends} withheld")
            })
            .collect();
        assert_eq!(text(&told).lines().collect::<Vec<_>>(), lines);

        let mut statuses = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = manager.recv(&mut buffer) {
            statuses.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        statuses.dedup();
        let is_said = |what: &str| statuses.iter().any(|status| status.contains(what));
        let by = format!("; an MFA code is needed by {ends}: run `credd mfa ops-mfa`");
        assert!(statuses.last().unwrap().contains(&by), "{statuses:?}");
        for said in [
            "STATUS=3 identities: 3 warming",
            "; an MFA code is needed: run `credd mfa ops-mfa`",
            // Whoever is asked has nothing to wait for.
            "READY=1",
        ] {
            assert!(is_said(said), "{said}: {statuses:?}");
        }
    });
}

/// Waits until the hook has been told so many things.
async fn heard(told: &Path, stages: &[&str]) {
    let (told, count) = (told.to_owned(), stages.len());
    let waiting = tokio::task::spawn_blocking(move || {
        eventually("the hook is told", || {
            (text(&told).lines().count() >= count).then_some(())
        });
    });
    waiting.await.unwrap();
}

#[test]
fn a_hook_that_hangs_holds_nothing_up() {
    run(async || {
        let clock = TestClock::new();
        let aws = aws(&clock).await;
        let host = Host::asking(&aws.url());
        let script = host.script("exec sleep 1000");
        let challenges = config::Challenges {
            hook: Some(script),
            ..config::Challenges::default()
        };
        let whole = Whole::on(clock, aws, host, challenges).await;
        whole.aws.mfa_codes(SERIAL, &["111111"]);
        whole.credd(&["mfa"], "111111").await.data();
        whole.served("deploy").await;
        assert_eq!(whole.get("deploy").await.status, 200);
    });
}
