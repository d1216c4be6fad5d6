//! The container endpoint as a source.

use credd::credentials::{FailureClass, Renewal};
use credd::os::files;
use tokio::net::TcpListener;

use super::*;
use crate::support::fake_aws::{CANARY, Call, FakeAws, Reply};
use crate::support::patience::run;

#[test]
fn an_answer_becomes_credentials_with_all_that_it_says() {
    run(async || {
        let clock = TestClock::new();
        let aws = FakeAws::start(&clock).await;
        aws.next(Call::Container, |honest| {
            honest.with_field("RoleArn", "arn:aws:iam::123456789012:role/task")
        });
        let sources = Sources::new(&clock).set(FULL_URI, aws.container_url());
        let provided = sources.provided().await;
        let (set, credentials) = (aws.set(), provided.credentials);
        assert_eq!(credentials.access_key_id.expose(), set.key());
        assert_eq!(credentials.expiry, Some(set.expiry));
        assert_eq!(credentials.account_id.as_deref(), Some("123456789012"));
        assert_eq!(
            credentials.role_arn.as_deref(),
            Some("arn:aws:iam::123456789012:role/task")
        );
        assert_eq!(provided.renewal, Renewal::Watch);
        let seen = &aws.seen()[0];
        assert_eq!(seen.header("Accept"), Some("application/json"));
        assert_eq!(seen.header("Authorization"), None);
        assert_eq!(
            seen.header("Host").unwrap(),
            format!("127.0.0.1:{}", aws.port())
        );
    });
}

#[test]
fn the_token_of_the_environment_is_sent_as_it_is() {
    run(async || {
        let clock = TestClock::new();
        let aws = FakeAws::start(&clock).await;
        aws.demand_authorization("Basic dXNlcjpwYXNz=");
        let sources = Sources::new(&clock)
            .set(FULL_URI, format!("{}?a=b&c", aws.container_url()))
            .set(TOKEN, "Basic dXNlcjpwYXNz=");
        sources.provided().await;
        assert!(aws.seen()[0].path.ends_with("?a=b&c"));
    });
}

#[test]
fn the_token_file_outranks_the_variable_and_is_read_at_each_request() {
    run(async || {
        let clock = TestClock::new();
        let aws = FakeAws::start(&clock).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let sources = Sources::new(&clock)
            .set(FULL_URI, aws.container_url())
            .set(TOKEN_FILE, path.display().to_string())
            .set(TOKEN, "from-the-variable");
        let mut chain = sources.chain();
        for text in ["first", "second", "with-a-newline\n", "from-windows\r\n"] {
            files::write_private(&path, text.as_bytes()).unwrap();
            aws.demand_authorization(text.trim_end());
            provided(&mut chain).await;
        }
        assert_eq!(aws.calls(), 4);
    });
}

#[test]
fn a_token_file_that_cannot_be_used_sends_nothing() {
    run(async || {
        let clock = TestClock::new();
        let aws = FakeAws::start(&clock).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let sources = Sources::new(&clock)
            .set(FULL_URI, aws.container_url())
            .set(TOKEN_FILE, path.display().to_string());
        let mut chain = sources.chain();
        // Missing, empty and cut short are moments of a rotation; two lines are not.
        assert_eq!(failure(&mut chain).await.class, FailureClass::Transient);
        for (text, class) in [
            ("", FailureClass::Transient),
            ("\n", FailureClass::Transient),
            ("CANARY\nX-Injected: yes", FailureClass::Misconfigured),
        ] {
            files::write_private(&path, text.as_bytes()).unwrap();
            let failure = failure(&mut chain).await;
            assert_eq!(failure.class, class, "{text:?}");
            assert!(!failure.message.contains(CANARY), "{failure}");
        }
        assert_eq!(aws.calls(), 0);
        files::write_private(&path, b"whole").unwrap();
        provided(&mut chain).await;
    });
}

#[test]
fn hosts_beyond_the_list_of_the_sdks_are_not_asked_without_tls() {
    run(async || {
        for url in [
            "http://10.0.0.1/",
            "http://169.254.169.254/latest/meta-data/",
            "http://0.0.0.0/",
            "http://[::]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[fe80::1]/",
            // Names, to whoever looks for dots: the resolver turns them into 10.0.0.1.
            "http://167772161/",
            "http://012.0.0.1/",
        ] {
            let sources = Sources::new(&TestClock::new()).set(FULL_URI, url);
            let failure = sources.failure().await;
            assert_eq!(failure.class, FailureClass::Misconfigured, "{url}");
            assert!(failure.message.contains("without TLS"), "{failure}");
        }
    });
}

#[test]
fn a_name_that_resolves_to_this_host_is_asked() {
    run(async || {
        let clock = TestClock::new();
        let aws = FakeAws::start(&clock).await;
        for host in ["localhost", "2130706433", "127.1"] {
            let url = aws.container_url().replace("127.0.0.1", host);
            Sources::new(&clock).set(FULL_URI, url).provided().await;
        }
    });
}

#[test]
fn urls_of_other_kinds_are_refused() {
    run(async || {
        for url in [
            "ftp://127.0.0.1/",
            "127.0.0.1/x",
            "file:///etc/passwd",
            "http:///x",
            "x",
        ] {
            let sources = Sources::new(&TestClock::new()).set(FULL_URI, url);
            let failure = sources.failure().await;
            assert_eq!(failure.class, FailureClass::Misconfigured, "{url}");
        }
    });
}

#[test]
fn a_redirect_is_not_followed() {
    run(async || {
        let clock = TestClock::new();
        let aws = FakeAws::start(&clock).await;
        let elsewhere = FakeAws::start(&clock).await;
        for status in [301, 302, 303, 307, 308] {
            let location = elsewhere.container_url();
            aws.always(Call::Container, move |_| {
                Reply::status(status).with("Location", &location)
            });
            let sources = Sources::new(&clock)
                .set(FULL_URI, aws.container_url())
                .set(TOKEN, CANARY);
            let failure = sources.failure().await;
            assert!(failure.message.contains("redirects"), "{failure}");
        }
        assert_eq!(elsewhere.calls(), 0);
    });
}

#[test]
fn credd_does_not_ask_itself_by_any_of_its_names() {
    run(async || {
        let clock = TestClock::new();
        let own = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = own.local_addr().unwrap();
        let port = address.port();
        for host in [
            "127.0.0.1",
            "localhost",
            "2130706433",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
        ] {
            let mut sources =
                Sources::new(&clock).set(FULL_URI, format!("http://{host}:{port}/v1/credentials"));
            sources.own = vec![address];
            let failure = sources.failure().await;
            assert!(failure.message.contains("its own source"), "{failure}");
            assert_eq!(failure.class, FailureClass::Misconfigured);
        }
        // Not an address that containers are asked at, but one that leads back here.
        let anywhere = format!("http://0.0.0.0:{port}");
        let mut sources = Sources::new(&clock).set("AWS_EC2_METADATA_SERVICE_ENDPOINT", anywhere);
        sources.own = vec![address];
        let failure = sources.failure().await;
        assert!(failure.message.contains("its own source"), "{failure}");
    });
}

#[test]
fn a_refusal_is_classed_by_what_it_calls_for() {
    run(async || {
        let clock = TestClock::new();
        let aws = FakeAws::start(&clock).await;
        let sources = Sources::new(&clock).set(FULL_URI, aws.container_url());
        for (status, class) in [
            (400, FailureClass::Misconfigured),
            (401, FailureClass::Denied),
            (403, FailureClass::Denied),
            (404, FailureClass::Misconfigured),
            (408, FailureClass::Transient),
            (429, FailureClass::Throttled),
            (500, FailureClass::Transient),
            (503, FailureClass::Transient),
        ] {
            // The body of the ECS agent.
            aws.always(Call::Container, move |_| {
                Reply::status(status)
                    .saying(r#"{"code":"InvalidIdInRequest","message":"no such\n task"}"#)
            });
            let failure = sources.failure().await;
            assert_eq!(failure.class, class, "{status}");
            let said = "InvalidIdInRequest: no such  task";
            assert!(failure.message.contains(said), "{failure}");
        }
    });
}

#[test]
fn a_failure_shows_neither_the_path_nor_the_answer() {
    run(async || {
        let clock = TestClock::new();
        let aws = FakeAws::start(&clock).await;
        // The path of an ECS task is a bearer secret.
        let url = format!("{}/{CANARY}", aws.container_url());
        let sources = Sources::new(&clock).set(FULL_URI, url).set(TOKEN, CANARY);
        let lies: [fn(Reply) -> Reply; 5] = [
            |_| Reply::hang_up(),
            |honest| honest.cut_at_the_end(),
            |honest| honest.with_field("SecretAccessKey", serde_json::json!([CANARY])),
            |_| Reply::text(CANARY),
            |_| Reply::status(500).saying(CANARY),
        ];
        for lie in lies {
            aws.always(Call::Container, lie);
            let failure = sources.failure().await;
            assert!(!format!("{failure:?}").contains(CANARY), "{failure:?}");
        }
    });
}
