//! Tests of the whole in one binary: real parts, loopback sockets, a hand-wound clock.
#![expect(
    clippy::unwrap_used,
    reason = "a test whose ground gives way has failed, and should say where"
)]

mod audit;
mod callers;
mod challenge;
mod clients;
mod commands;
mod config_cases;
mod endpoint_vectors;
mod guards;
mod hosts;
mod http;
mod imds;
mod imds_vectors;
mod mfa;
mod observability;
mod process;
mod profile_file_vectors;
mod programs;
mod refresh;
mod reload;
mod roles;
mod service;
mod serving;
mod sigv4_vectors;
mod simulation;
mod sources;
mod state;
mod sts_vectors;
mod support;
mod tokens;
