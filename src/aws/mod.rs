//! What AWS defines: file languages, wire formats, endpoints. Protocol without policy.

pub mod formats;
