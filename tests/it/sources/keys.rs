//! Keys whose secrets are kept elsewhere.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use credd::credentials::{FailureClass, Renewal};
use credd::os::files;
use credd::providers::keys::{Config, KeysProvider};
use credd::secret_place::SecretPlace;

use super::*;
use crate::support::fake_aws::CANARY;
use crate::support::patience::run;

const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

fn source(sources: &Sources, secret: &str, token: Option<&str>) -> KeysProvider {
    let place = |text| SecretPlace::parse(text).unwrap();
    let config = Config {
        access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned().into(),
        secret_access_key: place(secret),
        session_token: token.map(place),
    };
    assert!(!format!("{config:?}").contains("AKIA"));
    KeysProvider::new(config, sources.context())
}

fn in_file(path: &Path) -> String {
    format!("file:{}", path.display())
}

#[test]
fn a_secret_that_systemd_loads_is_read_by_its_name() {
    run(async || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops-key");
        files::write_private(&path, b"CANARY\n").unwrap();
        // As systemd leaves it where it lets the service in by an access list.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o440)).unwrap();
        let sources = Sources::new(&TestClock::new());
        let mut before = source(&sources, "credential:ops-key", None);
        let failure = failure(&mut before).await;
        assert_eq!(failure.class, FailureClass::Misconfigured);
        assert!(failure.message.contains("LoadCredential="), "{failure}");

        let sources = sources.set(DIRECTORY, folder.path().display().to_string());
        let provided = provided(&mut source(&sources, "credential:ops-key", None)).await;
        assert_eq!(key(&provided), "AKIAIOSFODNN7EXAMPLE");
        assert_eq!(provided.renewal, Renewal::Reread);
        let credentials = provided.credentials;
        assert_eq!(credentials.secret_access_key.expose(), CANARY);
        assert!(credentials.is_long_lived() && credentials.expiry.is_none());
    });
}

#[test]
fn secrets_in_files_are_read_at_each_attempt_without_their_last_newline() {
    run(async || {
        let folder = tempfile::tempdir().unwrap();
        let [secret, token] = ["secret", "token"].map(|name| folder.path().join(name));
        let sources = Sources::new(&TestClock::new());
        let mut source = source(&sources, &in_file(&secret), Some(&in_file(&token)));
        for (text, read) in [
            ("one", "one"),
            ("two\n", "two"),
            ("three\r\n", "three"),
            ("four\n\n", "four\n"),
            (" five ", " five "),
        ] {
            files::write_private(&secret, text.as_bytes()).unwrap();
            files::write_private(&token, text.as_bytes()).unwrap();
            let credentials = provided(&mut source).await.credentials;
            assert_eq!(credentials.secret_access_key.expose(), read);
            assert_eq!(credentials.session_token.unwrap().expose(), read);
        }
    });
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    run(async || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        files::write_private(&path, CANARY.as_bytes()).unwrap();
        let sources = Sources::new(&TestClock::new());
        let mut source = source(&sources, &in_file(&path), None);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let refused = failure(&mut source).await;
        assert_eq!(refused.class, FailureClass::Misconfigured);
        assert!(refused.message.contains("chmod 600"), "{refused}");
        assert!(refused.message.contains(&in_file(&path)), "{refused}");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        provided(&mut source).await;
    });
}

#[test]
fn a_secret_that_is_not_there_whole_is_told_of_and_never_shown() {
    run(async || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let sources = Sources::new(&TestClock::new());
        let mut source = source(&sources, &in_file(&path), None);
        // Missing and empty are moments of a replacement.
        assert_eq!(failure(&mut source).await.class, FailureClass::Transient);
        let long = CANARY.repeat(20_000);
        for (bytes, class) in [
            (&b""[..], FailureClass::Transient),
            (b"\n", FailureClass::Transient),
            (b"\r\n", FailureClass::Transient),
            (b"CANARY\xff", FailureClass::Misconfigured),
            (long.as_bytes(), FailureClass::Misconfigured),
        ] {
            files::write_private(&path, bytes).unwrap();
            let failure = failure(&mut source).await;
            assert_eq!(failure.class, class, "{failure}");
            assert!(!format!("{failure:?}").contains(CANARY), "{failure}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(
            failure(&mut source).await.class,
            FailureClass::Misconfigured
        );
    });
}
