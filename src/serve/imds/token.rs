//! The session tokens of the IMDS endpoint: sealed, so that nothing is kept for them and no table
//! of them can fill.
//!
//! A token is 48 bytes, as EC2's are: when it ends, a nonce, and a seal over both and over whom it
//! was given to. Its holder is not in it: the caller who shows it has to be the one.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;

use crate::clock::BootInstant;

const ENDS: usize = 8;
pub(super) const NONCE: usize = 8;
const CONTENT: usize = ENDS + NONCE;
/// HMAC-SHA-256.
const SEAL: usize = 32;

/// Bytes of the key.
pub(super) const KEY: usize = 32;

/// What seals tokens. They are good for as long as somebody has the key.
pub(super) struct Sealer {
    key: hmac::Key,
}

impl Sealer {
    pub(super) fn new(key: &[u8; KEY]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        }
    }

    /// A token for `holder`, the caller's uid where the kernel tells it.
    pub(super) fn seal(
        &self,
        holder: Option<u32>,
        ends: BootInstant,
        nonce: [u8; NONCE],
    ) -> String {
        let mut token = Vec::with_capacity(CONTENT + SEAL);
        token.extend(millis(ends).to_be_bytes());
        token.extend(nonce);
        let seal = hmac::sign(&self.key, &sealed(&token, holder));
        token.extend_from_slice(seal.as_ref());
        BASE64.encode(token)
    }

    /// Whether this is a token of ours, given to `holder`, that has not ended at `now`. The seal is
    /// compared in constant time, and before anything else is looked at.
    pub(super) fn is_valid(&self, token: &[u8], holder: Option<u32>, now: BootInstant) -> bool {
        let mut decoded = [0; CONTENT + SEAL];
        if BASE64.decode_slice(token, &mut decoded) != Ok(decoded.len()) {
            return false;
        }
        let (content, seal) = decoded.split_at(CONTENT);
        if hmac::verify(&self.key, &sealed(content, holder), seal).is_err() {
            return false;
        }
        let ends = content.first_chunk().copied().map(u64::from_be_bytes);
        ends.is_some_and(|ends| millis(now) < ends)
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Sealer")
    }
}

/// What is under the seal. `content` has one length, so that nothing in it passes for a holder.
fn sealed(content: &[u8], holder: Option<u32>) -> Vec<u8> {
    let mut sealed = content.to_vec();
    if let Some(uid) = holder {
        sealed.extend(uid.to_be_bytes());
    }
    sealed
}

fn millis(instant: BootInstant) -> u64 {
    let since_boot = BootInstant::since_boot(std::time::Duration::ZERO).until(instant);
    u64::try_from(since_boot.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const ALICE: Option<u32> = Some(1000);
    const BOB: Option<u32> = Some(1001);

    fn at(seconds: u64) -> BootInstant {
        BootInstant::since_boot(Duration::from_secs(seconds))
    }

    fn sealer() -> Sealer {
        Sealer::new(&[7; KEY])
    }

    #[test]
    fn a_token_is_valid_until_it_ends() {
        let token = sealer().seal(ALICE, at(60), [1; NONCE]);
        assert_eq!(token.len(), 64);
        assert!(sealer().is_valid(token.as_bytes(), ALICE, at(0)));
        let last = BootInstant::since_boot(Duration::from_millis(59_999));
        assert!(sealer().is_valid(token.as_bytes(), ALICE, last));
        assert!(!sealer().is_valid(token.as_bytes(), ALICE, at(60)));
        assert!(!sealer().is_valid(token.as_bytes(), ALICE, BootInstant::NEVER));
    }

    #[test]
    fn a_token_is_of_no_use_to_another_user_or_to_nobody() {
        for holder in [ALICE, BOB, Some(0), Some(u32::MAX), None] {
            let token = sealer().seal(holder, at(60), [1; NONCE]);
            for other in [ALICE, BOB, Some(0), Some(u32::MAX), None] {
                let is_valid = sealer().is_valid(token.as_bytes(), other, at(0));
                assert_eq!(is_valid, other == holder, "{holder:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_token_of_another_process_is_not_valid() {
        let token = Sealer::new(&[8; KEY]).seal(ALICE, at(60), [1; NONCE]);
        assert!(!sealer().is_valid(token.as_bytes(), ALICE, at(0)));
    }

    #[test]
    fn two_tokens_for_the_same_caller_and_time_differ() {
        let [one, other] = [1, 2].map(|nonce| sealer().seal(ALICE, at(60), [nonce; NONCE]));
        assert_ne!(one, other);
    }

    #[test]
    fn no_other_spelling_of_a_token_is_valid() {
        let token = sealer().seal(ALICE, at(60), [1; NONCE]);
        for other in [
            format!("{token}="),
            format!("{token}=="),
            format!(" {token}"),
            format!("{token}\n"),
            format!("{token}{token}"),
            token.to_lowercase(),
            token[1..].to_owned(),
            token[..63].to_owned(),
            token.replace('_', "/").replace('-', "+") + "\0",
            String::new(),
        ] {
            assert!(
                !sealer().is_valid(other.as_bytes(), ALICE, at(0)),
                "{other}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_valid_token(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(!sealer().is_valid(&bytes, ALICE, at(0)));
            prop_assert!(!sealer().is_valid(&bytes, None, at(0)));
        }

        #[test]
        fn no_sealed_looking_text_is_a_valid_token(bytes in any::<[u8; CONTENT + SEAL]>()) {
            let text = BASE64.encode(bytes);
            prop_assert!(!sealer().is_valid(text.as_bytes(), ALICE, at(0)));
        }

        #[test]
        fn a_token_with_one_bit_changed_is_not_valid(
            holder in any::<Option<u32>>(),
            nonce in any::<[u8; NONCE]>(),
            byte in 0..CONTENT + SEAL,
            bit in 0..8_u32,
        ) {
            let token = sealer().seal(holder, at(60), nonce);
            prop_assert!(sealer().is_valid(token.as_bytes(), holder, at(59)));
            let mut changed = BASE64.decode(&token).unwrap();
            changed[byte] ^= 1_u8 << bit;
            let changed = BASE64.encode(changed);
            prop_assert!(!sealer().is_valid(changed.as_bytes(), holder, at(0)));
        }
    }
}
