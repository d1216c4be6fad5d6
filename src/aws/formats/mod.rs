//! The JSON that metadata services, container endpoints and `credential_process` exchange.

mod answer;
mod render;

pub use answer::{Answer, MalformedAnswer, error_text};
pub use render::{container, process};
