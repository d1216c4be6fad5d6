//! Questions that only a person, or a device of theirs, can answer: MFA codes, and the desk where
//! those who need one and those who have one meet.

mod code;
mod totp;

pub use code::{InvalidCode, MfaCode};
pub use totp::{Algorithm, InvalidTotp, Totp};
