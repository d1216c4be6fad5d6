//! Who may have which credentials: pure decisions on what the kernel or a token proves.

mod policy;
mod tokens;

pub use policy::{Caller, Decision, Denial, Grant, Policy, Presented};
pub use tokens::{Lease, Scope, Tokens, new_token};
