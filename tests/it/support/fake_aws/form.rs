//! Forms as the query protocol sends them, read without any of credd's own code.

/// By a `Content-Type`.
pub(super) fn is_form(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim() == "application/x-www-form-urlencoded"
}

/// Names and values in their order, or nothing if it is not a form of UTF-8, names each of its
/// parameters once and spells all of them out.
pub(super) fn decode(body: &[u8]) -> Option<Vec<(String, String)>> {
    let mut parameters: Vec<(String, String)> = Vec::new();
    for pair in body.split(|byte| *byte == b'&') {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (unescaped(&pair[..equals])?, unescaped(&pair[equals + 1..])?);
        if parameters.iter().any(|(it, _)| *it == name) {
            return None;
        }
        parameters.push((name, value));
    }
    Some(parameters)
}

fn unescaped(text: &[u8]) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.iter());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [*rest.next()?, *rest.next()?];
                u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => *byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[test]
fn a_form_is_read_as_browsers_write_it() {
    let expected = [("Name", "a b&c"), ("Ärger", ""), ("x", "+=")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let form = b"Name=a+b%26c&%C3%84rger=&x=%2B=";
    assert_eq!(decode(form), Some(expected.to_vec()));
    for broken in [&b"a"[..], b"a=%2", b"a=%zz", b"a=1&a=2", b"a=%FF", b"a=1&"] {
        assert_eq!(decode(broken), None);
    }
}
