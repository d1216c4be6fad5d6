//! What a metadata service, a container endpoint or a program answers, as bytes from anywhere.
#![no_main]

use credd::aws::formats::{Answer, error_text, parse_process, process};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(Answer::Credentials { credentials, .. }) = Answer::parse(body) {
        assert!(!credentials.is_long_lived());
        assert!(credentials.expiry.is_some());
    }
    let _ = error_text(body);
    if let Some(output) = process(body) {
        assert!(parse_process(&output).is_ok());
    }
    let _ = parse_process(body);
});
