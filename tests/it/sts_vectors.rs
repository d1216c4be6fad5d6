//! The answers of STS that botocore checks itself by, where `CREDD_VECTORS` names the folder that
//! holds them.

use std::path::PathBuf;

use credd::aws::sts::{Refusal, minted};
use credd::clock::Timestamp;
use credd::environment::Environment;
use credd::os::files;
use hyper::StatusCode;
use serde_json::Value;

use crate::support::news::tell;

#[test]
fn the_shared_session_is_read() {
    let Some((body, expected)) = case("responses") else {
        return;
    };
    let set = minted(body.as_bytes(), None).unwrap();
    let expected = &expected["Credentials"];
    assert_eq!(expected["AccessKeyId"], set.access_key_id.expose());
    assert_eq!(expected["SecretAccessKey"], set.secret_access_key.expose());
    assert_eq!(
        expected["SessionToken"],
        set.session_token.unwrap().expose()
    );
    let expiry = Timestamp::parse(expected["Expiration"].as_str().unwrap());
    assert!(expiry.is_some() && set.expiry == expiry);
    assert_eq!(set.account_id, None);
    tell("1 shared answer of sts passed");
}

#[test]
fn the_shared_refusal_is_read() {
    let Some((body, expected)) = case("errors") else {
        return;
    };
    let found = Refusal::read(StatusCode::FORBIDDEN, body.as_bytes());
    assert_eq!(expected["Error"]["Code"], found.code);
    assert_eq!(expected["Error"]["Message"], found.message);
    let request_id = &expected["ResponseMetadata"]["RequestId"];
    assert_eq!(*request_id, found.request_id.clone().unwrap());
    assert!(found.is_wrong_mfa_code());
    tell("1 shared refusal of sts passed");
}

/// The body of `GetSessionToken` and what it means.
fn case(folder: &str) -> Option<(String, Value)> {
    const LARGEST: usize = 64 * 1024;
    let environment = Environment::of_process();
    let Some(vectors) = environment.variable("CREDD_VECTORS").map(PathBuf::from) else {
        tell("skipped: CREDD_VECTORS does not name a folder of test vectors");
        return None;
    };
    let folder = vectors.join("botocore-sts-xml").join(folder);
    let read = |file: &str| {
        let text = files::read_text_now(&folder.join(file), LARGEST);
        text.unwrap().to_string()
    };
    let expected = serde_json::from_str(&read("sts-get-session-token.json")).unwrap();
    Some((read("sts-get-session-token.xml"), expected))
}
