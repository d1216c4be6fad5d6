//! placeholder

pub mod environment;
pub mod os;
pub mod random;
pub mod retry;
pub mod secret;

pub mod aws;

pub mod identity;
