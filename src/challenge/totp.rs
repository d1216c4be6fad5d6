//! Codes by the clock: RFC 6238 over RFC 4226, from the secret behind an authenticator's QR code.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::MfaCode;
use crate::clock::Timestamp;
use crate::secret::percent_decoded;

/// A device that computes its codes from a secret and the time.
pub struct Totp {
    secret: Zeroizing<Vec<u8>>,
    algorithm: Algorithm,
    /// 6 to 8. AWS takes 6 only.
    digits: u8,
    /// Seconds for which one code is shown.
    period: u32,
}

/// The hash below the HMAC. Authenticators and AWS use SHA-1 unless a URI says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Sha1,
    Sha256,
    Sha512,
}

/// Why a text is no TOTP secret. Never holds any of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidTotp {
    /// The place, from 1 and blanks included, of a sign that base32 does not know.
    NotBase32 {
        position: usize,
    },
    /// Base32 of this many signs, which is empty, cut off, or longer than any secret.
    Length {
        signs: usize,
    },
    /// A URI of another kind, e.g. of a counter (`otpauth://hotp/`).
    NotTotp,
    NoSecret,
    Repeated(&'static str),
    Parameter {
        name: &'static str,
        expected: &'static str,
    },
}

impl fmt::Display for InvalidTotp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBase32 { position } => write!(
                formatter,
                "the TOTP secret is not base32 (RFC 4648: letters and the digits 2 to 7) at \
                 character {position}"
            ),
            Self::Length { signs } => write!(
                formatter,
                "the TOTP secret has {signs} base32 characters, which is no whole secret of \
                 {SHORTEST} to {LONGEST} bytes; copy all of it, as the AWS console shows it for a \
                 new virtual MFA device"
            ),
            Self::NotTotp => formatter.write_str(
                "the URI is not one of a time-based code (otpauth://totp/…), which is the only \
                 kind that AWS knows",
            ),
            Self::NoSecret => {
                formatter.write_str("the otpauth URI has no `secret` parameter; copy all of it")
            }
            Self::Repeated(name) => {
                write!(
                    formatter,
                    "the otpauth URI says `{name}` twice; leave one of them"
                )
            }
            Self::Parameter { name, expected } => {
                write!(
                    formatter,
                    "the otpauth URI's `{name}` is not {expected}; correct it"
                )
            }
        }
    }
}

impl std::error::Error for InvalidTotp {}

/// Seconds (RFC 6238, 4.1: the default time step X).
const PERIOD: u32 = 30;

/// A period beyond this is a slip of the pen, in seconds.
const LONGEST_PERIOD: u32 = 3600;

/// Bytes of the shortest secret that authenticators are given (80 bits); a shorter one has been
/// cut off.
const SHORTEST: usize = 10;

/// Bytes of the longest: the block of SHA-512, beyond which HMAC hashes its key first.
const LONGEST: usize = 128;

impl Totp {
    /// Reads base32 as people paste it (any case, blanks and hyphens between groups, with or
    /// without padding) or an `otpauth://totp/` URI ("Key Uri Format", Google Authenticator).
    pub fn parse(text: &str) -> Result<Self, InvalidTotp> {
        let text = text.trim();
        match strip_prefix_ignoring_case(text, "otpauth://") {
            Some(rest) => Self::from_uri(rest),
            None => Ok(Self::new(base32(text)?)),
        }
    }

    fn new(secret: Zeroizing<Vec<u8>>) -> Self {
        Self {
            secret,
            algorithm: Algorithm::Sha1,
            digits: 6,
            period: PERIOD,
        }
    }

    fn from_uri(rest: &str) -> Result<Self, InvalidTotp> {
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let kind = path.split('/').next().unwrap_or("");
        if !kind.eq_ignore_ascii_case("totp") {
            return Err(InvalidTotp::NotTotp);
        }
        let query = query.split('#').next().unwrap_or("");
        let secret = parameter(query, "secret")?.ok_or(InvalidTotp::NoSecret)?;
        let mut totp = Self::new(base32(&secret)?);
        if let Some(name) = parameter(query, "algorithm")? {
            totp.algorithm = Algorithm::named(&name).ok_or(InvalidTotp::Parameter {
                name: "algorithm",
                expected: "SHA1, SHA256 or SHA512",
            })?;
        }
        if let Some(digits) = parameter(query, "digits")? {
            let digits = digits
                .parse()
                .ok()
                .filter(|digits| (6..=8).contains(digits));
            totp.digits = digits.ok_or(InvalidTotp::Parameter {
                name: "digits",
                expected: "6, 7 or 8 (AWS takes 6)",
            })?;
        }
        if let Some(period) = parameter(query, "period")? {
            let period = period.parse().ok();
            let period = period.filter(|period| (1..=LONGEST_PERIOD).contains(period));
            totp.period = period.ok_or(InvalidTotp::Parameter {
                name: "period",
                expected: "a number of seconds from 1 to 3600",
            })?;
        }
        Ok(totp)
    }

    /// The code that the device shows at `at`.
    pub fn code(&self, at: Timestamp) -> MfaCode {
        let algorithm = match self.algorithm {
            Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::Sha256 => hmac::HMAC_SHA256,
            Algorithm::Sha512 => hmac::HMAC_SHA512,
        };
        let key = hmac::Key::new(algorithm, &self.secret);
        let tag = hmac::sign(&key, &self.step(at).to_be_bytes());
        let width = usize::from(self.digits);
        let number = truncate(tag.as_ref()) % 10_u32.pow(self.digits.into());
        MfaCode::of(format!("{number:0width$}"))
    }

    /// The number of the step that `at` lies in (RFC 6238, 4.2: T, with T0 = 0).
    pub fn step(&self, at: Timestamp) -> u64 {
        let seconds = u64::try_from(at.unix_millis().div_euclid(1000)).unwrap_or(0);
        seconds / u64::from(self.period)
    }

    /// When the device shows its next code.
    pub fn next_step(&self, at: Timestamp) -> Timestamp {
        let seconds = (self.step(at) + 1).saturating_mul(self.period.into());
        Timestamp::from_unix_millis(0).plus(Duration::from_secs(seconds))
    }

    /// Whether AWS can take the codes.
    pub fn has_six_digits(&self) -> bool {
        self.digits == 6
    }
}

impl Algorithm {
    fn named(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "SHA1" => Some(Self::Sha1),
            "SHA256" => Some(Self::Sha256),
            "SHA512" => Some(Self::Sha512),
            _ => None,
        }
    }
}

impl fmt::Debug for Totp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            secret: _,
            algorithm,
            digits,
            period,
        } = self;
        formatter
            .debug_struct("Totp")
            .field("algorithm", algorithm)
            .field("digits", digits)
            .field("period", period)
            .finish_non_exhaustive()
    }
}

/// 31 bits of `tag`, from where its last four bits say (RFC 4226, 5.3).
fn truncate(tag: &[u8]) -> u32 {
    let offset = tag.last().map_or(0, |last| usize::from(last & 0xf));
    // Every hash is 20 bytes or more, so that the four are there.
    let bytes = tag.get(offset..).and_then(<[u8]>::first_chunk);
    u32::from_be_bytes(bytes.copied().unwrap_or_default()) & 0x7fff_ffff
}

/// RFC 4648, section 6. Blanks and hyphens are left out; padding is neither asked for nor counted.
fn base32(text: &str) -> Result<Zeroizing<Vec<u8>>, InvalidTotp> {
    // Room for all that is kept: a buffer that grows leaves unwiped copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST));
    let (mut bits, mut width, mut signs) = (0_u32, 0_u32, 0_usize);
    let mut is_padded = false;
    for (index, character) in text.chars().enumerate() {
        if character.is_whitespace() || character == '-' {
            continue;
        }
        is_padded |= character == '=';
        if character == '=' {
            continue;
        }
        let value = sign(character).filter(|_| !is_padded);
        bits = bits << 5
            | value.ok_or(InvalidTotp::NotBase32 {
                position: index + 1,
            })?;
        width += 5;
        signs += 1;
        if width >= 8 {
            width -= 8;
            if bytes.len() < LONGEST {
                bytes.extend(u8::try_from(bits >> width & 0xff));
            }
            bits &= (1 << width) - 1;
        }
    }
    // Lengths that no encoder writes: a group of eight has been cut.
    let is_cut = matches!(signs % 8, 1 | 3 | 6);
    if is_cut || bytes.len() < SHORTEST || signs * 5 / 8 > LONGEST {
        return Err(InvalidTotp::Length { signs });
    }
    Ok(bytes)
}

fn sign(character: char) -> Option<u32> {
    match character {
        '2'..='7' => Some(u32::from(character) - u32::from('2') + 26),
        _ if character.is_ascii_alphabetic() => {
            Some(u32::from(character.to_ascii_lowercase()) - u32::from('a'))
        }
        _ => None,
    }
}

fn strip_prefix_ignoring_case<'text>(text: &'text str, prefix: &str) -> Option<&'text str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// The decoded value of `name` in a query.
fn parameter(query: &str, name: &'static str) -> Result<Option<Zeroizing<String>>, InvalidTotp> {
    let mut values = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(key, _)| key.eq_ignore_ascii_case(name));
    let value = values.next().map(|(_, value)| decoded(value));
    match values.next() {
        Some(_) => Err(InvalidTotp::Repeated(name)),
        None => Ok(value),
    }
}

/// What cannot be decoded is left as it is, to be refused as what it is not.
fn decoded(text: &str) -> Zeroizing<String> {
    let bytes = percent_decoded(text);
    let decoded = bytes.and_then(|bytes| Some(std::str::from_utf8(&bytes).ok()?.to_owned()));
    Zeroizing::new(decoded.unwrap_or_else(|| text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn device(secret: &[u8], algorithm: Algorithm, digits: u8) -> Totp {
        Totp {
            algorithm,
            digits,
            ..Totp::new(Zeroizing::new(secret.to_vec()))
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(seconds * 1000)
    }

    /// The seed of both RFCs, as long as the hash, which is what RFC 6238's own code uses.
    const SEED: &[u8] = b"1234567890123456789012345678901234567890123456789012345678901234";

    #[test]
    fn every_vector_of_rfc_6238_appendix_b_comes_out() {
        let devices = [
            device(&SEED[..20], Algorithm::Sha1, 8),
            device(&SEED[..32], Algorithm::Sha256, 8),
            device(SEED, Algorithm::Sha512, 8),
        ];
        for (seconds, codes) in [
            (59, ["94287082", "46119246", "90693936"]),
            (1_111_111_109, ["07081804", "68084774", "25091201"]),
            (1_111_111_111, ["14050471", "67062674", "99943326"]),
            (1_234_567_890, ["89005924", "91819424", "93441116"]),
            (2_000_000_000, ["69279037", "90698825", "38618901"]),
            (20_000_000_000, ["65353130", "77737706", "47863826"]),
        ] {
            for (device, code) in devices.iter().zip(codes) {
                assert_eq!(
                    device.code(at(seconds)).expose(),
                    code,
                    "{device:?} {seconds}"
                );
            }
        }
    }

    #[test]
    fn every_vector_of_rfc_4226_appendix_d_comes_out() {
        let device = device(&SEED[..20], Algorithm::Sha1, 6);
        for (count, code) in [
            "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583",
            "399871", "520489",
        ]
        .into_iter()
        .enumerate()
        {
            let instant = at(i64::try_from(count).unwrap() * 30);
            assert_eq!(device.step(instant), count as u64);
            assert_eq!(device.code(instant).expose(), code);
        }
    }

    #[test]
    fn a_code_changes_exactly_at_the_step() {
        let device = device(&SEED[..20], Algorithm::Sha1, 6);
        let last = Timestamp::from_unix_millis(1_111_111_109_999);
        assert_eq!(device.next_step(last), at(1_111_111_110));
        assert_eq!(device.next_step(at(1_111_111_110)), at(1_111_111_140));
        assert_eq!(device.code(last).expose(), "081804");
        assert_eq!(device.code(at(1_111_111_110)).expose(), "050471");
    }

    #[test]
    fn base32_is_read_as_people_paste_it() {
        // RFC 4648, section 10, made long enough, and the seed of the RFCs.
        for text in [
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
            "gezd gnbv gy3t qojq gezd gnbv gy3t qojq",
            " gezdgnbv-gy3tqojq\tgezdgnbv-gy3tqojq\r\n",
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ========",
            "otpauth://totp/AWS:ops@123456789012?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=AWS",
            "OTPAUTH://TOTP/x?Secret=gezd%20gnbvgy3tqojqgezdgnbvgy3tqojq%3d%3D&digits=6&period=30&algorithm=sha1",
        ] {
            let device = Totp::parse(text).unwrap();
            assert_eq!(*device.secret, SEED[..20], "{text}");
            assert_eq!(device.code(at(59)).expose(), "287082");
        }
        assert_eq!(
            *Totp::parse("GEZDGNBVGY3TQOJQGE").unwrap().secret,
            SEED[..11]
        );
    }

    #[test]
    fn a_uri_chooses_hash_digits_and_period() {
        let text = "otpauth://totp/x?algorithm=SHA512&digits=8&period=60&secret=GEZDGNBVGY3TQOJQ";
        let device = Totp::parse(text).unwrap();
        assert_eq!(
            (device.algorithm, device.digits, device.period),
            (Algorithm::Sha512, 8, 60)
        );
        assert!(!device.has_six_digits());
        assert_eq!(device.next_step(at(60)), at(120));
    }

    #[test]
    fn what_is_no_secret_is_refused_without_being_shown() {
        let refused = |text: &str| Totp::parse(text).unwrap_err();
        assert_eq!(refused(""), InvalidTotp::Length { signs: 0 });
        assert_eq!(refused("123456"), InvalidTotp::NotBase32 { position: 1 });
        assert_eq!(
            refused("GEZD GNBV!Y3TQOJQ"),
            InvalidTotp::NotBase32 { position: 10 }
        );
        assert_eq!(
            refused("GEZDGNBV=GY3TQOJQ"),
            InvalidTotp::NotBase32 { position: 10 }
        );
        for signs in [8, 15, 17, 19, 22, 206, 8000] {
            assert_eq!(refused(&"A".repeat(signs)), InvalidTotp::Length { signs });
        }
        for (text, why) in [
            (
                "otpauth://hotp/x?secret=GEZDGNBVGY3TQOJQ",
                InvalidTotp::NotTotp,
            ),
            ("otpauth://", InvalidTotp::NotTotp),
            ("otpauth://totp/x", InvalidTotp::NoSecret),
            ("otpauth://totp/x?issuer=AWS", InvalidTotp::NoSecret),
            (
                "otpauth://totp/x?secret=GEZDGNBVGY3TQOJQ&SECRET=GEZDGNBVGY3TQOJQ",
                InvalidTotp::Repeated("secret"),
            ),
        ] {
            assert_eq!(refused(text), why, "{text}");
        }
        for parameter in [
            "algorithm=md5",
            "digits=9",
            "digits=",
            "period=0",
            "period=x",
        ] {
            let text = format!("otpauth://totp/x?secret=GEZDGNBVGY3TQOJQ&{parameter}");
            let error = refused(&text);
            assert!(
                matches!(error, InvalidTotp::Parameter { .. }),
                "{parameter}"
            );
            assert!(!error.to_string().contains("GEZD"));
        }
        let device = Totp::parse("GEZDGNBVGY3TQOJQ").unwrap();
        assert_eq!(
            format!("{device:?}"),
            "Totp { algorithm: Sha1, digits: 6, period: 30, .. }"
        );
    }

    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

    /// Base32 by the book: the bits, five at a time.
    fn encoded(bytes: &[u8]) -> String {
        let mut bits: Vec<u8> = bytes
            .iter()
            .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
            .collect();
        bits.resize(bits.len().div_ceil(5) * 5, 0);
        bits.chunks(5)
            .map(|five| five.iter().fold(0, |sum, bit| sum * 2 + bit))
            .map(|value| char::from(ALPHABET[usize::from(value)]))
            .collect()
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(
            bytes in proptest::collection::vec(any::<u8>(), SHORTEST..=LONGEST),
        ) {
            let device = Totp::parse(&encoded(&bytes)).unwrap();
            prop_assert_eq!(&*device.secret, &bytes);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "(otpauth://totp/)?\\PC{0,40}", tail in "[?&a-z=%0-9é]{0,40}") {
            let _ = Totp::parse(&text);
            let _ = Totp::parse(&format!("otpauth://totp/x?secret={tail}"));
        }

        #[test]
        fn every_instant_has_a_code_and_a_step_that_ends_after_it(
            millis in any::<i64>(), period in 1..=LONGEST_PERIOD, digits in 6_u8..=8,
        ) {
            let instant = Timestamp::from_unix_millis(millis);
            let device = Totp { digits, period, ..Totp::new(Zeroizing::new(vec![7; 20])) };
            prop_assert_eq!(device.code(instant).expose().len(), usize::from(digits));
            let next = device.next_step(instant);
            let is_last = next == Timestamp::from_unix_millis(i64::MAX);
            prop_assert!(next > instant || is_last);
            prop_assert!(is_last || device.step(next) == device.step(instant) + 1);
        }
    }
}
