//! Marks: what stands for things that are to be the same after a restart, without telling anything
//! of them.

use std::hash::{Hash, Hasher};

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

use super::KEY;

/// Equal for equal things, and for nothing else: an HMAC-SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mark([u8; KEY]);

/// Makes marks, under one key. Whoever has the marks and not the key cannot try things out.
pub struct Marker(hmac::Key);

impl Marker {
    pub fn new(key: &[u8; KEY]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// All that takes part in the equality of `thing` takes part in its hash, which a derive sees
    /// to, and in its mark.
    pub fn mark(&self, thing: &impl Hash) -> Mark {
        let mut feed = Feed(hmac::Context::with_key(&self.0));
        thing.hash(&mut feed);
        let mut mark = [0; KEY];
        mark.copy_from_slice(feed.0.sign().as_ref());
        Mark(mark)
    }
}

impl std::fmt::Debug for Marker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Marker")
    }
}

/// Hashing as a way to spell a thing out: lengths and variants included, so that no two things are
/// spelled alike.
struct Feed(hmac::Context);

impl Hasher for Feed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Nobody asks: what comes out is the signature.
    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_things_have_different_marks_and_equal_ones_the_same() {
        let marker = Marker::new(&[1; KEY]);
        let things = [
            vec!["a", "b"],
            vec!["ab"],
            vec!["ab", ""],
            vec!["", "ab"],
            vec!["b", "a"],
            vec![],
        ];
        for (one, thing) in things.iter().enumerate() {
            for (other, against) in things.iter().enumerate() {
                let is_same = marker.mark(thing) == marker.mark(against);
                assert_eq!(is_same, one == other, "{thing:?} {against:?}");
            }
        }
        assert_ne!(
            marker.mark(&things[0]),
            Marker::new(&[2; KEY]).mark(&things[0])
        );
    }
}
