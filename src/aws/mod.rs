//! What AWS defines, without any policy of ours: files, names, signatures and messages.

pub mod profile_file;
