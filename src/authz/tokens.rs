//! The tokens that callers on TCP present, and what each stands for.

use std::fmt::Write;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::identity::IdentityName;
use crate::random;
use crate::secret::Secret;

/// What a token gives access to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    All,
    Only(IdentityName),
}

impl Scope {
    pub fn covers(&self, identity: &IdentityName) -> bool {
        match self {
            Self::All => true,
            Self::Only(only) => only == identity,
        }
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
    scope: Scope,
}

impl Tokens {
    /// Makes `secret` valid for as long as the lease lives.
    pub fn lease(self: &Arc<Self>, secret: Secret, scope: Scope) -> Lease {
        let token = Arc::new(Token { secret, scope });
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
    pub fn scope_of(&self, presented: &[u8]) -> Option<Scope> {
        let mut scope = None;
        for token in self.valid.load().iter() {
            if token.secret.matches(presented) {
                scope = Some(token.scope.clone());
            }
        }
        scope
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
        let tokens = Arc::new(Tokens::default());
        let lease = tokens.lease(new_token(), Scope::All);
        let presented = lease.secret().expose().to_owned();
        assert!(Tokens::is_well_formed(&presented));
        assert_eq!(tokens.scope_of(presented.as_bytes()), Some(Scope::All));
        assert_eq!(tokens.scope_of(b""), None);
        assert_eq!(tokens.scope_of(&presented.as_bytes()[1..]), None);
        drop(lease);
        assert_eq!(tokens.scope_of(presented.as_bytes()), None);
    }

    #[test]
    fn no_two_tokens_are_alike() {
        assert_ne!(new_token().expose(), new_token().expose());
    }
}
