//! placeholder

pub mod aws;

pub mod http;

pub mod credentials;
pub mod identity;

pub mod clock;
pub mod environment;
pub mod os;
pub mod random;
pub mod retry;
pub mod secret;
