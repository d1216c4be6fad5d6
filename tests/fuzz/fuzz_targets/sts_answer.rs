//! What STS answers or refuses with, as bytes from anywhere.
#![no_main]

use credd::aws::sts::{Refusal, caller_identity, decoded_message, minted};
use hyper::StatusCode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(set) = minted(body, None) {
        assert!(!set.is_long_lived());
        assert!(set.expiry.is_some());
    }
    let _ = caller_identity(body);
    let _ = decoded_message(body);
    let failure = Refusal::read(StatusCode::BAD_REQUEST, body).failure("fuzz", None);
    assert!(!failure.message.chars().any(char::is_control));
});
