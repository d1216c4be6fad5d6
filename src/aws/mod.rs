//! What AWS defines: file languages, wire formats, endpoints. Protocol without policy.

pub mod formats;
pub mod imds_endpoint;
pub mod profile_file;
