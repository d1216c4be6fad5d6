//! The MFA devices that the fake STS knows.

use std::collections::BTreeSet;

use aws_lc_rs::hmac;
use credd::clock::Timestamp;

use crate::support::sinks;

pub(super) struct Device {
    pub(super) user: String,
    pub(super) serial: String,
    codes: Codes,
}

enum Codes {
    Good(BTreeSet<String>),
    Timed {
        secret: Vec<u8>,
        spent: BTreeSet<i64>,
    },
}

impl Device {
    pub(super) fn of_codes(user: &str, serial: &str) -> Self {
        Self {
            user: user.to_owned(),
            serial: serial.to_owned(),
            codes: Codes::Good(BTreeSet::new()),
        }
    }

    pub(super) fn of_secret(user: &str, serial: &str, secret: &[u8]) -> Self {
        let (secret, spent) = (secret.to_vec(), BTreeSet::new());
        Self {
            codes: Codes::Timed { secret, spent },
            ..Self::of_codes(user, serial)
        }
    }

    pub(super) fn accept(&mut self, codes: &[&str]) {
        for code in codes {
            sinks::secret(code);
        }
        let codes = codes.iter().map(|code| (*code).to_owned());
        self.codes = Codes::Good(codes.collect());
    }

    /// Whether the code is good, which it is no more after that.
    pub(super) fn takes(&mut self, code: &str, now: Timestamp) -> bool {
        match &mut self.codes {
            Codes::Good(codes) => codes.remove(code),
            Codes::Timed { secret, spent } => {
                let step = now.unix_millis().div_euclid(30_000);
                (step - 1..=step + 1)
                    .find(|step| totp(secret, *step) == code)
                    .is_some_and(|step| spent.insert(step))
            }
        }
    }
}

/// RFC 4226 section 5.3, with SHA-1 and 6 digits as AWS's virtual devices have them.
fn totp(secret: &[u8], step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let code = hmac::sign(&key, &step.to_be_bytes());
    let code = code.as_ref();
    let offset = usize::from(code[19] & 0xf);
    let number = u32::from_be_bytes(code[offset..offset + 4].try_into().unwrap());
    let code = format!("{:06}", (number & 0x7fff_ffff) % 1_000_000);
    sinks::secret(&code);
    code
}

#[test]
fn codes_are_those_of_the_rfc() {
    // RFC 6238 appendix B, the last six of its eight digits.
    for (seconds, code) in [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (20_000_000_000, "353130"),
    ] {
        assert_eq!(totp(b"12345678901234567890", seconds / 30), code);
    }
}
