//! MFA codes: asked for, answered, and never sent twice.

mod used;
