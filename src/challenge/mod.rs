//! Questions that only a person, or a device of theirs, can answer: MFA codes.
//!
//! A provider opens a [`Challenge`] for each session that a code can renew, and asks; people are
//! told by [`Announcement`]s as the end of the session comes near. A person answers at any time.
//! The code is written down as used, handed to the provider, tried once, and what came of it goes
//! back to the person. Nobody else waits for any of this: what is in hand is served meanwhile.

mod answering;
mod asking;
mod automatic;
mod code;
mod desk;
mod outcome;
mod totp;
mod used;
mod warnings;

pub use asking::{Answered, Challenge, Share};
pub use automatic::{automatic, until_next_step};
pub use code::{InvalidCode, MfaCode};
pub use desk::{Announcement, Challenges, LastAnswer, Open};
pub use outcome::{Accepted, NotAccepted, Subject, Verdict};
pub use totp::{Algorithm, InvalidTotp, Totp};
pub use used::{AlreadyUsed, Claim, UsedCodes, VALIDITY};
pub use warnings::{Kind, Warning};
