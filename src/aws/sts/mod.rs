//! The Security Token Service: what is asked, what is answered, what is refused.
//!
//! STS API Reference, version 2011-06-15: form-encoded questions, answers in XML.

mod answer;
mod error;
pub mod limit;
mod request;
mod xml;

pub use answer::{
    CallerIdentity, DecodedMessage, MalformedAnswer, caller_identity, decoded_message, minted,
};
pub use error::Refusal;
pub use request::{
    AssumeRole, AssumeRoleWithWebIdentity, DecodeAuthorizationMessage, GetSessionToken, Mfa,
    Request,
};
