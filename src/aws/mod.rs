//! What AWS defines: file languages, wire formats, endpoints, signatures, STS. Protocol
//! without policy.

pub mod arn;
pub mod formats;
pub mod imds_endpoint;
mod percent;
pub mod profile_file;
pub mod region;
pub mod service_endpoint;
pub mod sigv4;
pub mod skew;
pub mod sts;
