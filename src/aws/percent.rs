//! Percent-encoding as AWS demands it: all but the unreserved characters of RFC 3986, in upper case.

/// Appends `text` to `encoded`, with whatever is neither unreserved nor in `also_kept` encoded: at
/// most three bytes for one.
pub(super) fn encode(text: &[u8], also_kept: &[u8], encoded: &mut Vec<u8>) {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    for &byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also_kept.contains(&byte) {
            encoded.push(byte);
        } else {
            let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or_default();
            encoded.extend([b'%', digit(byte >> 4), digit(byte & 0xF)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_unreserved_and_the_kept_is_encoded() {
        let encoded = |text: &str, kept: &[u8]| {
            let mut encoded = Vec::new();
            encode(text.as_bytes(), kept, &mut encoded);
            String::from_utf8(encoded).unwrap()
        };
        assert_eq!(encoded("aZ09-._~", b""), "aZ09-._~");
        assert_eq!(encoded("a b+c/d:é\n", b""), "a%20b%2Bc%2Fd%3A%C3%A9%0A");
        assert_eq!(encoded("/a b%20", b"/%"), "/a%20b%20");
    }
}
