//! Whatever an upstream says or breaks off, what was good stays, and nothing bad is handed out.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::json;

use super::*;
use crate::support::fake_aws::{CANARY, Reply};
use crate::support::patience::run;

const DAY: Duration = Duration::from_hours(24);

type Lie = (&'static str, fn(Reply) -> Reply);

/// Answers without a good set, from either source.
const LIES: &[Lie] = &[
    ("nothing at all", |_| Reply::text("")),
    ("a page", |_| {
        Reply::text("<html>sign in</html>").with("Content-Type", "text/html")
    }),
    ("a list", |honest| {
        Reply::text(format!("[{}]", text(&honest)))
    }),
    ("a string", |honest| Reply::json(&json!(text(&honest)))),
    ("null", |_| Reply::text("null")),
    ("an empty object", |_| Reply::text("{}")),
    ("bytes that are no text", |_| {
        Reply::text([0xff, 0xfe, 0x00])
    }),
    ("a byte order mark", |honest| {
        Reply::text(format!("\u{feff}{}", text(&honest)))
    }),
    ("two answers", |honest| {
        Reply::text(format!("{0}{0}", text(&honest)))
    }),
    ("a field twice", |honest| {
        Reply::text(text(&honest).replacen('{', "{\"Token\":\"other\",", 1))
    }),
    ("deep nesting", |_| Reply::text("[".repeat(60_000))),
    ("no key", |honest| honest.without_field("AccessKeyId")),
    ("no secret", |honest| {
        honest.without_field("SecretAccessKey")
    }),
    ("no token", |honest| honest.without_field("Token")),
    ("no expiry", |honest| honest.without_field("Expiration")),
    ("an empty key", |honest| {
        honest.with_field("AccessKeyId", "")
    }),
    ("an empty secret", |honest| {
        honest.with_field("SecretAccessKey", "")
    }),
    ("an empty token", |honest| honest.with_field("Token", "")),
    ("a number as the key", |honest| {
        honest.with_field("AccessKeyId", 7)
    }),
    ("null as the secret", |honest| {
        honest.with_field("SecretAccessKey", Value::Null)
    }),
    ("a list as the token", |honest| {
        honest.with_field("Token", json!(["a"]))
    }),
    ("seconds as the expiry", |honest| {
        honest.with_field("Expiration", 1_900_000_000)
    }),
    ("words as the expiry", |honest| {
        honest.with_field("Expiration", "tomorrow")
    }),
    ("an expiry without a zone", |honest| {
        honest.with_field("Expiration", "2030-01-01T00:00:00")
    }),
    ("an expiry that has passed", |honest| {
        honest.with_field("Expiration", "2026-11-22T09:29:59Z")
    }),
    ("an expiry before all clocks", |honest| {
        honest.with_field("Expiration", "0001-01-01T00:00:00Z")
    }),
    ("an impossible date", |honest| {
        honest.with_field("Expiration", "2030-02-30T00:00:00Z")
    }),
    ("a refusal", |honest| {
        honest.with_field("Code", "AssumeRoleUnauthorizedAccess")
    }),
    ("a code of the wrong type", |honest| {
        honest.with_field("Code", 200)
    }),
    ("400", |_| Reply::status(400)),
    ("403", |_| Reply::status(403)),
    ("429", |_| Reply::status(429)),
    ("500", |_| Reply::status(500)),
    ("503 with a good body", |honest| {
        Reply::status(503).saying(text(&honest))
    }),
    ("a redirect", |_| {
        Reply::status(302).with("Location", "http://127.0.0.1:1/")
    }),
    ("a success without a body", |_| Reply::status(204)),
    ("a hang-up", |_| Reply::hang_up()),
    ("a head that ends early", |honest| honest.cut_at(20)),
    ("a body that ends early", Reply::cut_at_the_end),
    ("chunks that end early", |honest| {
        honest.chunked().cut_at_the_end()
    }),
    ("a body larger than any", |honest| {
        honest.with_field("Padding", "x".repeat(70_000))
    }),
    ("a header larger than any", |honest| {
        honest.with("X", &"x".repeat(20_000))
    }),
    ("a head without end", Reply::endless_head),
    ("a body without end", Reply::endless_body),
];

/// Those of them that static stability has a use for.
const PASSED: [&str; 2] = ["an expiry that has passed", "an expiry before all clocks"];

fn text(reply: &Reply) -> String {
    String::from_utf8(reply.body().to_owned()).unwrap()
}

#[test]
fn no_lie_takes_a_good_set_away() {
    for call in [Call::Container, Call::Role] {
        run(async move || {
            let bench = Bench::warm(call, 1).await;
            for (name, lie) in LIES {
                let good = bench.body();
                // Each lie is told about a new set, so that believing it would show.
                let new = bench.aws.rotate(90 * DAY);
                bench.aws.always(call, lie);
                bench.next_attempt().await;
                assert_eq!(bench.failures(), 1, "{name}");
                assert_eq!(bench.body(), good, "{name}");
                bench.aws.be_honest();
                bench.next_attempt().await;
                assert_eq!(bench.failures(), 0, "{name}");
                assert_eq!(bench.key(), Some(new.key()), "{name}");
            }
            assert!(!bench.journal.text().contains(CANARY));
        });
    }
}

#[test]
fn no_lie_is_served_to_those_who_have_nothing() {
    for call in [Call::Container, Call::Role] {
        run(async move || {
            for (name, lie) in LIES {
                if call == Call::Role && PASSED.contains(name) {
                    // Static stability serves an expired set to those who have nothing better.
                    continue;
                }
                let bench = Bench::cold(call, 1).await;
                bench.aws.always(call, lie);
                bench.attempts(1).await;
                assert_eq!(bench.state(), State::Failed, "{name}");
                assert_eq!(bench.body(), None, "{name}");
                bench.aws.be_honest();
                bench.next_attempt().await;
                assert_eq!(bench.state(), State::Fresh, "{name}");
            }
        });
    }
}

#[test]
fn a_cut_at_any_byte_of_head_or_body_serves_no_bad_set() {
    let framings: [fn(Reply) -> Reply; 3] = [|honest| honest, Reply::chunked, Reply::until_close];
    let cuts = Arc::new(AtomicUsize::new(0));
    for call in [Call::Container, Call::Role] {
        for framing in framings {
            let cuts = Arc::clone(&cuts);
            run(async move || every_cut(call, framing, &cuts).await);
        }
    }
    tell(&format!("{} cuts, 0 bad sets served", cuts.load(Relaxed)));
}

async fn every_cut(call: Call, framing: fn(Reply) -> Reply, cuts: &AtomicUsize) {
    let bench = Bench::cold(call, 1).await;
    let length = Arc::new(AtomicUsize::new(0));
    let measured = Arc::clone(&length);
    bench.aws.next(call, move |honest| {
        measured.store(framing(honest).length(), Relaxed);
        Reply::hang_up()
    });
    // Long enough for all the attempts.
    let mut new = bench.aws.rotate(90 * DAY);
    bench.attempts(1).await;
    for is_holding in [false, true] {
        let good = bench.body();
        assert_eq!(good.is_some(), is_holding);
        for offset in 0..length.load(Relaxed) {
            bench
                .aws
                .always(call, move |honest| framing(honest).cut_at(offset));
            bench.next_attempt().await;
            assert!(bench.failures() > 0, "cut at {offset}");
            assert_eq!(bench.body(), good, "cut at {offset}");
            cuts.fetch_add(1, Relaxed);
        }
        bench.aws.be_honest();
        bench.next_attempt().await;
        assert_eq!(bench.key(), Some(new.key()));
        new = bench.aws.rotate(90 * DAY);
    }
}

#[test]
fn a_stalled_answer_ends_by_its_deadline_and_changes_nothing() {
    let pauses: [fn(Reply) -> Reply; 3] = [
        Reply::pausing_at_once,
        |honest| honest.pausing_at(20),
        Reply::pausing_in_the_body,
    ];
    for (call, stalled, longest) in [
        (Call::Container, Call::Container, 15 * SECOND),
        (Call::Role, Call::Role, 5 * SECOND),
        (Call::Role, Call::Token, 5 * SECOND),
    ] {
        for pause in pauses {
            run(async move || {
                let bench = Bench::warm(call, 1).await;
                let good = bench.body();
                bench.aws.rotate(6 * HOUR);
                bench.aws.expire_tokens();
                bench.aws.always(stalled, pause);
                bench.clock.advance_to(bench.due());
                until(|| bench.aws.pauses() == 1).await;
                assert_eq!(bench.body(), good);
                assert!(bench.wait_out(2).await <= longest);
                assert_eq!(bench.failures(), 1);
                assert_eq!(bench.body(), good);
            });
        }
    }
}

#[test]
fn an_expiry_beyond_all_sense_is_served_and_does_not_end_the_reading() {
    run(async || {
        for call in [Call::Container, Call::Role] {
            let bench = Bench::cold(call, 1).await;
            bench.aws.always(call, |honest| {
                honest.with_field("Expiration", "9999-12-31T23:59:59Z")
            });
            bench.attempts(1).await;
            assert_eq!(bench.state(), State::Fresh);
            assert!(bench.wait() <= HOUR);
        }
    });
}

#[test]
fn what_is_printed_of_a_snapshot_holds_no_secret() {
    run(async || {
        let bench = Bench::imds().await;
        for printed in [
            format!("{:?}", bench.snapshot()),
            format!("{:?}", bench.reader),
        ] {
            assert!(!printed.contains(CANARY), "{printed}");
            assert!(!printed.contains(&bench.aws.set().key()), "{printed}");
        }
    });
}

#[test]
fn an_expired_set_never_replaces_one_that_lives() {
    run(async || {
        let bench = Bench::imds().await;
        let good = bench.body();
        // A metadata service whose clock is a day behind issues sets that have ended by ours.
        bench.aws.skew(-86_400_000);
        bench.aws.rotate(6 * HOUR);
        bench.next_attempt().await;
        assert_eq!(bench.failures(), 1);
        assert_eq!(bench.body(), good);
    });
}

#[test]
fn a_valid_set_that_ends_earlier_or_is_for_another_account_replaces() {
    run(async || {
        let bench = Bench::imds().await;
        bench.aws.rotate(HOUR);
        bench.aws.always(Call::Role, |honest| {
            honest.with_field("AccountId", "210987654321")
        });
        bench.next_attempt().await;
        let body = bench.body().unwrap();
        assert_eq!(body["AccountId"], "210987654321");
        assert_eq!(
            body["Expiration"],
            bench.aws.set().expiry.to_string().as_str()
        );
    });
}
