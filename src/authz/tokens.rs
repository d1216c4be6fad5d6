//! The tokens that callers on TCP present, and what each stands for.

use std::fmt::{self, Write};
use std::sync::{Arc, LazyLock, Weak};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{self, SHA256};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::caller::Caller;
use super::policy::Grant;
use super::rule::TokenName;
use crate::random;
use crate::secret::Secret;

/// What a valid token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bearer {
    /// Whoever can read the token's file; rules say what that opens.
    Token(TokenName),
    /// Whoever was granted this on a Unix socket, and the programs that it runs, for as long as
    /// the rules would grant it that caller again.
    Lease(Arc<Caller>, Grant),
}

/// The token of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    Nothing,
    Unknown,
    Bearer(Bearer),
}

impl Presented {
    /// What callers on Unix sockets present, without taking memory for each of their requests.
    pub fn nothing() -> Arc<Self> {
        static SHARED: LazyLock<Arc<Presented>> = LazyLock::new(|| Arc::new(Presented::Nothing));
        Arc::clone(&SHARED)
    }
}

/// Bytes of entropy in a token: 256 bits.
const ENTROPY: usize = 32;

/// A new token: 64 hexadecimal digits, which any header, file and shell can hold.
pub fn new_token() -> Secret {
    let mut text = String::with_capacity(2 * ENTROPY);
    for byte in random::bytes::<ENTROPY>() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Secret::from(text)
}

/// All tokens that are valid now: not their texts, but what a key that ends with this process makes
/// of them.
pub struct Tokens {
    key: Zeroizing<[u8; KEY]>,
    /// Looked up by place. The first is what an absent token means, the second an unknown one.
    valid: ArcSwap<Vec<Token>>,
    /// Told whenever one more is valid.
    leased: watch::Sender<()>,
}

#[derive(Clone)]
struct Token {
    tag: Tag,
    meaning: Arc<Presented>,
}

/// The SHA-256 of the key and a token, in words, which are compared faster than bytes.
type Tag = [u64; 4];

impl Default for Tokens {
    fn default() -> Self {
        // Nothing is known that has these tags.
        let nobodys = |meaning| Token {
            tag: words(&random::bytes::<32>()),
            meaning: Arc::new(meaning),
        };
        let valid = vec![nobodys(Presented::Nothing), nobodys(Presented::Unknown)];
        Self {
            key: Zeroizing::new(random::bytes()),
            valid: ArcSwap::from_pointee(valid),
            leased: watch::Sender::default(),
        }
    }
}

/// Not the tags: with the key, which a core dump may hold, they would tell a guess from the truth.
impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tokens")
    }
}

impl Tokens {
    /// Makes `secret` valid for as long as the lease lives.
    pub fn lease(self: &Arc<Self>, secret: &Secret, bearer: Bearer) -> Lease {
        let meaning = Arc::new(Presented::Bearer(bearer));
        let token = Token {
            tag: self.tag(Some(secret.expose().as_bytes())),
            meaning: Arc::clone(&meaning),
        };
        self.valid.rcu(|valid| {
            let mut valid = Vec::clone(valid);
            valid.push(token.clone());
            valid
        });
        self.leased.send_replace(());
        Lease {
            meaning,
            tokens: Arc::downgrade(self),
        }
    }

    /// What a caller has presented, if anything. Whatever it is, and whether it is valid or not,
    /// the same is done: no time that this takes depends on it, not even on its length.
    pub fn presented(&self, token: Option<&[u8]>) -> Arc<Presented> {
        let tag = self.tag(token);
        let valid = self.valid.load();
        let mut found = u64::from(token.is_some());
        for (place, token) in (0..).zip(valid.iter()) {
            found.conditional_assign(&place, token.tag.ct_eq(&tag));
        }
        let found = usize::try_from(found).ok().and_then(|it| valid.get(it));
        found.map_or_else(
            || Arc::new(Presented::Unknown),
            |token| Arc::clone(&token.meaning),
        )
    }

    /// A subscription to the tokens that become valid from now on.
    pub fn leased(&self) -> watch::Receiver<()> {
        self.leased.subscribe()
    }

    /// Whether `secret` has the form of [`new_token`]'s.
    pub fn is_well_formed(secret: &str) -> bool {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        secret.len() == LENGTH && secret.bytes().all(is_digit)
    }

    fn tag(&self, token: Option<&[u8]>) -> Tag {
        words(digest::digest(&SHA256, &*keyed(&self.key, token)).as_ref())
    }
}

/// Bytes of the key.
const KEY: usize = 32;

/// Digits in a token.
const LENGTH: usize = 2 * ENTROPY;

/// What is hashed: `key`, the beginning of `token`, as long as a token is, and its length, which
/// none has that is absent. A shorter one is filled up with its last byte, so that short, long and
/// absent ones take as long as others.
///
/// All are of one length, so that none is the beginning of another: a plain hash will do, for less
/// than half of what HMAC costs.
fn keyed(key: &[u8; KEY], token: Option<&[u8]>) -> Zeroizing<[u8; KEY + LENGTH + WORD]> {
    let is_there = usize::from(token.is_some());
    let token = token.unwrap_or_default();
    let source = if token.is_empty() { &NOTHING } else { token };
    let last = source.len() - 1;
    let mut keyed = Zeroizing::new([0; KEY + LENGTH + WORD]);
    let (start, rest) = keyed.split_at_mut(KEY);
    let (digits, length) = rest.split_at_mut(LENGTH);
    start.copy_from_slice(key);
    for (place, digit) in digits.iter_mut().enumerate() {
        *digit = source.get(place.min(last)).copied().unwrap_or_default();
    }
    let is_absent = is_there.wrapping_sub(1);
    length.copy_from_slice(&((token.len() | is_absent) as u64).to_le_bytes());
    keyed
}

/// What is read of a token that is not there.
static NOTHING: [u8; 1] = [0];

/// Bytes of the length.
const WORD: usize = 8;

fn words(tag: &[u8]) -> Tag {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(tag.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// Keeps a token valid until it is dropped.
pub struct Lease {
    meaning: Arc<Presented>,
    tokens: Weak<Tokens>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Lease").field(&self.meaning).finish()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(tokens) = self.tokens.upgrade() else {
            return;
        };
        tokens.valid.rcu(|valid| {
            let rest = valid
                .iter()
                .filter(|token| !Arc::ptr_eq(&token.meaning, &self.meaning));
            rest.cloned().collect::<Vec<_>>()
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(count: usize) -> (Arc<Tokens>, Vec<(Secret, Lease)>) {
        let tokens = Arc::new(Tokens::default());
        let leases = (0..count).map(|index| {
            let name = TokenName::parse(&format!("token-{index}")).unwrap();
            let secret = new_token();
            let lease = tokens.lease(&secret, Bearer::Token(name));
            (secret, lease)
        });
        let leases = leases.collect();
        (tokens, leases)
    }

    fn name(presented: &Presented) -> Option<&str> {
        match presented {
            Presented::Bearer(Bearer::Token(name)) => Some(name.as_str()),
            _ => None,
        }
    }

    #[test]
    fn a_token_is_valid_as_long_as_its_lease() {
        let (tokens, mut leases) = tokens(3);
        let (secret, lease) = leases.remove(1);
        let presented = secret.expose().as_bytes();
        assert!(Tokens::is_well_formed(secret.expose()));
        assert_eq!(name(&tokens.presented(Some(presented))), Some("token-1"));
        assert_eq!(*tokens.presented(Some(b"")), Presented::Unknown);
        assert_eq!(*tokens.presented(None), Presented::Nothing);
        drop(lease);
        assert_eq!(*tokens.presented(Some(presented)), Presented::Unknown);
        for (secret, _) in &leases {
            let presented = tokens.presented(Some(secret.expose().as_bytes()));
            assert!(name(&presented).is_some());
        }
    }

    #[test]
    fn no_two_tokens_are_alike() {
        assert_ne!(new_token().expose(), new_token().expose());
    }

    #[test]
    fn what_holds_tokens_prints_none_of_them() {
        let (tokens, leases) = tokens(1);
        let printed = format!("{tokens:?} {leases:?}");
        assert!(printed.contains("token-0"), "{printed}");
        assert!(!printed.contains(leases[0].0.expose()), "{printed}");
    }

    #[test]
    fn a_token_ends_where_it_ends() {
        // As long as the buffer that is compared, padded with what the buffer is padded with, and
        // longer than it.
        let tokens = Arc::new(Tokens::default());
        let texts = ["", "a", "a\0", "a\0\0"].map(str::to_owned);
        let long = [63, 64, 65, 66, 1000].map(|length| "x".repeat(length));
        let all: Vec<String> = texts.into_iter().chain(long).collect();
        for valid in &all {
            let secret = Secret::from(valid.clone());
            let _lease = tokens.lease(&secret, Bearer::Token(TokenName::default()));
            for text in &all {
                let is_valid = name(&tokens.presented(Some(text.as_bytes()))).is_some();
                assert_eq!(is_valid, text == valid, "{text:?} for {valid:?}");
            }
            assert_eq!(*tokens.presented(None), Presented::Nothing);
        }
    }

    proptest! {
        /// T5: no prefix, suffix, variant of case or of any digit will do, nor anything else.
        #[test]
        fn nothing_but_the_whole_token_is_one(
            count in 1_usize..5,
            cut in 0_usize..64,
            digit in prop::char::range(' ', '~'),
            other in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let (tokens, leases) = tokens(count);
            for (secret, _) in &leases {
                let text = secret.expose();
                let (start, end) = text.split_at(cut);
                let mut changed: Vec<char> = text.chars().collect();
                changed[cut] = digit;
                let changed: String = changed.into_iter().collect();
                for guess in [
                    start.to_owned(),
                    text[1..].to_owned(),
                    end.get(1..).unwrap_or_default().to_owned(),
                    format!("{text}{digit}"),
                    format!("{digit}{text}"),
                    format!("{start}{digit}{end}"),
                    format!("{end}{start}"),
                    text.to_uppercase(),
                    changed,
                ] {
                    let is_it = guess == text;
                    let presented = tokens.presented(Some(guess.as_bytes()));
                    prop_assert_eq!(name(&presented).is_some(), is_it, "{}", guess);
                }
                prop_assert_eq!(&*tokens.presented(Some(&other)), &Presented::Unknown);
            }
        }
    }
}
