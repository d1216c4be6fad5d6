//! Which source is used, and when the next one is tried.

use std::path::PathBuf;

use credd::credentials::FailureClass;
use credd::os::files;

use super::*;
use crate::support::fake_aws::{CANARY, Call, FakeAws, Reply};
use crate::support::patience::run;

/// All four sources at once, weakest first.
struct Host {
    aws: FakeAws,
    sources: Sources,
    folder: tempfile::TempDir,
}

impl Host {
    async fn new() -> Self {
        let clock = TestClock::new();
        let aws = FakeAws::start(&clock).await;
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().display().to_string();
        let sources = Sources::new(&clock)
            .set("HOME", home)
            .set(IMDS_ENDPOINT, aws.url());
        Self {
            aws,
            sources,
            folder,
        }
    }

    fn with_container(mut self) -> Self {
        let url = self.aws.container_url();
        self.sources = self.sources.set(FULL_URI, url);
        self
    }

    fn credentials_file(&self) -> PathBuf {
        self.folder.path().join(".aws/credentials")
    }

    fn with_profile(self, text: &str) -> Self {
        let path = self.credentials_file();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        files::write_private(&path, text.as_bytes()).unwrap();
        self
    }

    fn with_environment(mut self) -> Self {
        self.sources = self
            .sources
            .set("AWS_ACCESS_KEY_ID", "ASIAENVIRONMENT")
            .set("AWS_SECRET_ACCESS_KEY", CANARY)
            .set("AWS_SESSION_TOKEN", CANARY);
        self
    }
}

const PROFILE: &str = "[default]\naws_access_key_id=ASIAPROFILE\naws_secret_access_key=CANARY\n\
                       aws_session_token=CANARY\n";

#[test]
fn the_first_source_that_is_configured_is_used_and_the_others_are_not_asked() {
    run(async || {
        let host = Host::new().await;
        assert_eq!(host.sources.provided().await.source, "instance metadata");
        let host = host.with_container();
        let calls = host.aws.calls();
        assert_eq!(host.sources.provided().await.source, "container endpoint");
        assert_eq!(host.aws.calls(), calls + 1);
        assert_eq!(host.aws.count(Call::Container), 1);

        let host = host.with_profile(PROFILE);
        assert_eq!(key(&host.sources.provided().await), "ASIAPROFILE");
        let host = host.with_environment();
        assert_eq!(key(&host.sources.provided().await), "ASIAENVIRONMENT");
        assert_eq!(host.aws.calls(), calls + 1);
    });
}

#[test]
fn a_source_that_is_configured_and_fails_ends_the_chain() {
    run(async || {
        // Half an environment.
        let mut host = Host::new().await.with_container().with_profile(PROFILE);
        host.sources = host.sources.set("AWS_ACCESS_KEY_ID", "ASIA");
        let failure = host.sources.failure().await;
        assert_eq!(failure.class, FailureClass::Misconfigured);
        assert!(
            failure.message.contains("AWS_SECRET_ACCESS_KEY is not"),
            "{failure}"
        );

        // Half a profile, and one that nothing here can use.
        for text in [
            "[default]\naws_access_key_id=ASIA\n",
            "[default]\nrole_arn=arn:aws:iam::123456789012:role/x\nsource_profile=y\n",
            "[default]\naws_access_key_id",
        ] {
            let host = Host::new().await.with_container().with_profile(text);
            let failure = host.sources.failure().await;
            assert_eq!(failure.class, FailureClass::Misconfigured, "{text}");
            assert_eq!(host.aws.calls(), 0);
        }

        // A profile that somebody named and nobody wrote.
        let mut host = Host::new().await.with_container().with_profile(PROFILE);
        host.sources = host.sources.set("AWS_PROFILE", "other");
        let failure = host.sources.failure().await;
        assert!(failure.message.contains("no profile `other`"), "{failure}");

        // A container endpoint in trouble.
        let host = Host::new().await.with_container();
        host.aws.always(Call::Container, |_| Reply::status(500));
        let failure = host.sources.failure().await;
        assert_eq!(failure.class, FailureClass::Transient);
        assert_eq!(host.aws.calls(), 1);
    });
}

#[test]
fn a_failure_names_what_was_skipped_before_it() {
    run(async || {
        let host = Host::new().await;
        host.aws.always(Call::Token, |_| Reply::status(403));
        let failure = host.sources.failure().await;
        for part in [
            "IMDS is disabled",
            "environment: AWS_ACCESS_KEY_ID is not set",
            "profile: there is no profile `default`",
            "container endpoint: neither",
        ] {
            assert!(failure.message.contains(part), "{failure}");
        }
    });
}

#[test]
fn without_any_source_the_failure_says_what_would_configure_each() {
    run(async || {
        let mut host = Host::new().await;
        host.sources = host.sources.set(IMDS_DISABLED, "TRUE");
        let failure = host.sources.failure().await;
        assert_eq!(failure.class, FailureClass::Misconfigured);
        for part in [
            "no source of credentials is configured",
            "AWS_ACCESS_KEY_ID",
            "FULL_URI",
            "AWS_EC2_METADATA_DISABLED is true",
        ] {
            assert!(failure.message.contains(part), "{failure}");
        }
        assert_eq!(host.aws.calls(), 0);
    });
}

#[test]
fn a_profile_that_is_edited_is_read_anew() {
    run(async || {
        let host = Host::new().await.with_profile(PROFILE);
        let mut chain = host.sources.chain();
        assert_eq!(key(&provided(&mut chain).await), "ASIAPROFILE");
        let host = host.with_profile(&PROFILE.replace("ASIAPROFILE", "ASIAEDITED"));
        assert_eq!(key(&provided(&mut chain).await), "ASIAEDITED");
        drop(host);
    });
}

#[test]
fn a_session_in_the_environment_keeps_its_expiry() {
    run(async || {
        let mut host = Host::new().await.with_environment();
        host.sources = host
            .sources
            .set("AWS_CREDENTIAL_EXPIRATION", "2026-11-22T11:30:00+01:00");
        let provided = host.sources.provided().await;
        let expiry = provided.credentials.expiry.unwrap();
        assert_eq!(expiry.to_string(), "2026-11-22T10:30:00Z");
    });
}
