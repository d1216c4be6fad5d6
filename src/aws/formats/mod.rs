//! The JSON that metadata services, container endpoints and `credential_process` exchange.

mod answer;
mod process;
mod render;

pub use answer::{Answer, MalformedAnswer, error_message, error_text};
pub use process::parse_process;
pub use render::{container, instance_metadata, process};
