//! What the tests stand on: time, chance, trust, patience, a log that is read, and an AWS that obeys
//! them.

pub(crate) mod authority;
pub(crate) mod chance;
pub(crate) mod clock;
pub(crate) mod fake_aws;
pub(crate) mod journal;
pub(crate) mod journald;
pub(crate) mod news;
pub(crate) mod patience;
pub(crate) mod sinks;
