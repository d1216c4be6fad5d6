//! Questions that only a person, or a device of theirs, can answer: MFA codes, and the desk where
//! those who need one and those who have one meet.

mod automatic;
mod code;
mod totp;
mod used;

pub use automatic::automatic;
pub use code::{InvalidCode, MfaCode};
pub use totp::{Algorithm, InvalidTotp, Totp};
pub use used::{AlreadyUsed, Claim, UsedCodes, VALIDITY};
