//! A secret text: wiped when dropped, redacted when printed, and neither copied nor compared by
//! accident.

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::os::secret_memory::{self, KeptText};

/// A secret access key, a session token or an endpoint token.
///
/// A short one is kept in memory that is never swapped or dumped, and where the kernel can do so,
/// read by this process alone. It has no `Clone`, `Display`, `Serialize` or `PartialEq`: each way
/// out is a call that one can search for.
pub struct Secret(Place);

enum Place {
    Apart(KeptText),
    Heap(SecretString),
}

impl Secret {
    /// The text itself. Every caller of this is a place where a secret leaves its type.
    pub fn expose(&self) -> &str {
        match &self.0 {
            Place::Apart(text) => text.as_str(),
            Place::Heap(text) => text.expose_secret(),
        }
    }

    /// Compares with what a stranger presented, in a time that depends on the length of
    /// `presented` alone.
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.expose().as_bytes().ct_eq(presented).into()
    }
}

/// What `text` was in is wiped.
impl From<String> for Secret {
    fn from(mut text: String) -> Self {
        match secret_memory::keep(&text) {
            Some(kept) => {
                text.zeroize();
                Self(Place::Apart(kept))
            }
            None => Self(Place::Heap(SecretString::from(text))),
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret")
    }
}

/// A secret that stands in a URL, with `%XX` as the byte that it stands for (RFC 3986 section 2.1).
pub fn percent_decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut pieces = text.split('%');
    decoded.extend_from_slice(pieces.next()?.as_bytes());
    for piece in pieces {
        let digits = piece.get(..2).filter(|it| !it.starts_with('+'))?;
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        decoded.extend_from_slice(piece.get(2..)?.as_bytes());
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_secret_says_nothing() {
        assert_eq!(
            format!("{:?}", Secret::from("hunter2".to_owned())),
            "Secret"
        );
    }

    #[test]
    fn only_the_exact_text_matches() {
        let secret = Secret::from("token".to_owned());
        assert!(secret.matches(b"token"));
        for presented in [&b""[..], b"toke", b"tokens", b"Token"] {
            assert!(!secret.matches(presented));
        }
    }
}
