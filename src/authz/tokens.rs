//! The tokens that callers on TCP present, and what each stands for.

use std::fmt::Write;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::policy::Grant;
use super::rule::TokenName;
use crate::random;
use crate::secret::Secret;

/// What a valid token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bearer {
    /// Whoever can read the token's file; rules say what that opens.
    Token(TokenName),
    /// Whoever was granted this on a Unix socket, and the programs that it runs.
    Lease(Grant),
}

/// The token of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    Nothing,
    Unknown,
    Bearer(Bearer),
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

/// All tokens that are valid now.
#[derive(Debug, Default)]
pub struct Tokens {
    valid: ArcSwap<Vec<Arc<Token>>>,
    /// Told whenever one more is valid.
    leased: watch::Sender<()>,
}

#[derive(Debug)]
struct Token {
    secret: Secret,
    bearer: Bearer,
}

impl Tokens {
    /// Makes `secret` valid for as long as the lease lives.
    pub fn lease(self: &Arc<Self>, secret: Secret, bearer: Bearer) -> Lease {
        let token = Arc::new(Token { secret, bearer });
        self.valid.rcu(|valid| {
            let mut valid = Vec::clone(valid);
            valid.push(Arc::clone(&token));
            valid
        });
        self.leased.send_replace(());
        Lease {
            token,
            tokens: Arc::downgrade(self),
        }
    }

    /// What the token stands for that a caller presented. Every valid token is compared, each in
    /// constant time, so that nothing is learnt from how long it takes.
    pub fn bearer_of(&self, presented: &[u8]) -> Option<Bearer> {
        let mut bearer = None;
        for token in self.valid.load().iter() {
            if token.secret.matches(presented) {
                bearer = Some(token.bearer.clone());
            }
        }
        bearer
    }

    /// A subscription to the tokens that become valid from now on.
    pub fn leased(&self) -> watch::Receiver<()> {
        self.leased.subscribe()
    }

    /// Whether `secret` has the form of [`new_token`]'s.
    pub fn is_well_formed(secret: &str) -> bool {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        secret.len() == 2 * ENTROPY && secret.bytes().all(is_digit)
    }
}

/// Keeps a token valid until it is dropped.
#[derive(Debug)]
pub struct Lease {
    token: Arc<Token>,
    tokens: Weak<Tokens>,
}

impl Lease {
    pub fn secret(&self) -> &Secret {
        &self.token.secret
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
                .filter(|token| !Arc::ptr_eq(token, &self.token));
            rest.cloned().collect::<Vec<_>>()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_valid_as_long_as_its_lease() {
        let bearer = Bearer::Token(TokenName::default());
        let tokens = Arc::new(Tokens::default());
        let lease = tokens.lease(new_token(), bearer.clone());
        let presented = lease.secret().expose().to_owned();
        assert!(Tokens::is_well_formed(&presented));
        assert_eq!(tokens.bearer_of(presented.as_bytes()), Some(bearer));
        assert_eq!(tokens.bearer_of(b""), None);
        assert_eq!(tokens.bearer_of(&presented.as_bytes()[1..]), None);
        drop(lease);
        assert_eq!(tokens.bearer_of(presented.as_bytes()), None);
    }

    #[test]
    fn no_two_tokens_are_alike() {
        assert_ne!(new_token().expose(), new_token().expose());
    }
}
