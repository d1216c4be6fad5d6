//! placeholder

pub mod config;

pub mod serve;

pub mod authz;
pub mod refresh;

pub mod providers;

pub mod aws;

pub mod api;
pub mod http;

pub mod credentials;
pub mod identity;

pub mod clock;
pub mod environment;
pub mod os;
pub mod random;
pub mod retry;
pub mod secret;
