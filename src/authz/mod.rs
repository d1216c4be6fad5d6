//! Who may have which credentials: pure decisions on what the kernel or a token proves.

mod caller;
mod policy;
mod rotation;
mod rule;
mod tokens;

pub use caller::{Caller, Facts, ListenerName, Process, Transport, User};
pub use policy::{Decision, Denial, Grant, Nearest, Policy, Reason};
pub use rotation::{Life, Rotation};
pub use rule::{Conditions, Key, Opening, Opens, Rule, RuleName, TokenName};
pub use tokens::{Bearer, Lease, Presented, Tokens, new_token};
