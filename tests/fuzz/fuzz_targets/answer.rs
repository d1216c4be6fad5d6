//! What a metadata service or container endpoint answers, as bytes from anywhere.
#![no_main]

use credd::aws::formats::{Answer, error_text, process};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(Answer::Credentials { credentials, .. }) = Answer::parse(body) {
        assert!(!credentials.is_long_lived());
        assert!(credentials.expiry.is_some());
    }
    let _ = error_text(body);
    let _ = process(body);
});
