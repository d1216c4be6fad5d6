//! `credd decode`: what the encoded message of a denied request says.

use std::io::{ErrorKind, Read};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::Value;

use super::daemon_socket::DaemonSockets;
use super::{DecodeArguments, Failed, Outcome, block_on, output};
use crate::clock::SystemClock;
use crate::credentials::FailureClass;
use crate::daemon::surroundings;
use crate::environment::Environment;
use crate::os::process;
use crate::providers::sts::Sts;

/// Of standard input: an encoded message of the 10,240 characters that STS takes (API reference,
/// `EncodedMessage`), and much text around it.
const LONGEST_INPUT: u64 = 64 * 1024;
const LONGEST: usize = 10_240;

/// Shorter ones are words of the text around the message.
const SHORTEST: usize = 40;

pub(super) fn run(arguments: &DecodeArguments, environment: Environment) -> Outcome {
    process::hide_memory();
    let text = match arguments.message.as_deref() {
        Some(message) if message != "-" => message.to_owned(),
        _ => read_input()?,
    };
    let message = encoded_message(&text).ok_or_else(|| {
        Failed::new(
            "there is no encoded message in that text; paste what follows `Encoded authorization \
             failure message:`, whole and unbroken",
        )
    })?;
    let sockets = DaemonSockets::locate(&arguments.place, &environment);
    let decoded = block_on(async {
        let clock = Arc::new(SystemClock::new());
        let identity = arguments.identity.as_ref();
        let credentials = sockets.credentials(&*clock, identity).await?;
        let sts = Sts::of_environment(surroundings(Arc::new(environment), Vec::new(), clock));
        let decoded = sts.decoded_message(message.to_owned(), &credentials);
        decoded.await.map_err(|failure| {
            if failure.class == FailureClass::Denied {
                Failed::new(format!(
                    "{failure}; decoding takes an identity that is a role, and that may \
                     sts:DecodeAuthorizationMessage: name one with --identity"
                ))
            } else {
                Failed::new(failure)
            }
        })
    })?;
    output::line(&printable(&decoded.0))?;
    Ok(ExitCode::SUCCESS)
}

fn read_input() -> Result<String, Failed> {
    let mut bytes = Vec::new();
    let mut input = std::io::stdin().lock().take(LONGEST_INPUT + 1);
    let read = input.read_to_end(&mut bytes);
    let text = read.and_then(|_| {
        if bytes.len() as u64 > LONGEST_INPUT {
            return Err(ErrorKind::FileTooLarge.into());
        }
        String::from_utf8(bytes).map_err(|_| ErrorKind::InvalidData.into())
    });
    text.map_err(|error| {
        Failed::new(format!(
            "cannot read a message from standard input: {error}"
        ))
    })
}

/// The encoded message in an error text: what follows the words that AWS puts before it, or the
/// longest word that looks like one.
fn encoded_message(text: &str) -> Option<&str> {
    const BEFORE: &str = "encoded authorization failure message:";
    let lower = text.to_ascii_lowercase();
    let after = lower
        .find(BEFORE)
        .and_then(|start| text.get(start + BEFORE.len()..));
    let first = after.and_then(|after| words(after).next());
    let message = match first {
        Some(word) => word,
        None => words(text).max_by_key(|word| word.len())?,
    };
    let is_whole = message.len() == text.trim().len();
    let is_fit = message.len() <= LONGEST && (is_whole || message.len() >= SHORTEST);
    is_fit.then_some(message)
}

/// Runs of the letters of Base64, in either alphabet.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || "-_+/=".contains(letter)))
        .filter(|word| !word.is_empty())
}

/// Indented, and without what steers a terminal.
fn printable(decoded: &str) -> String {
    let json =
        serde_json::from_str::<Value>(decoded).and_then(|json| serde_json::to_string_pretty(&json));
    let text = json.unwrap_or_else(|_| decoded.to_owned());
    output::harmless(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_message_is_found_in_whatever_surrounds_it() {
        let message = "Xb2_-".repeat(20);
        for text in [
            message.clone(),
            format!(" {message}\n"),
            format!(
                "An error occurred (UnauthorizedOperation) when calling the RunInstances operation: \
                 You are not authorized to perform this operation. Encoded authorization failure \
                 message: {message}"
            ),
            format!(
                "Error: UnauthorizedOperation: … Encoded authorization failure message: \
                 {message}\n\tstatus code: 403, request id: 0f1e2d3c-0000-1111-2222-333344445555"
            ),
            format!("\"message\": \"encoded authorization failure message: {message}.\""),
            format!("message: {message} (request id: 0f1e2d3c-0000-1111-2222-333344445555)"),
        ] {
            assert_eq!(encoded_message(&text), Some(message.as_str()), "{text}");
        }
        assert_eq!(encoded_message("short"), Some("short"));
        assert_eq!(encoded_message("You are not authorized"), None);
        assert_eq!(encoded_message(""), None);
        assert_eq!(encoded_message(&"x".repeat(LONGEST + 1)), None);
    }

    #[test]
    fn what_is_decoded_is_indented_and_harmless() {
        let decoded = "{\"b\":1,\"a\":\"\u{9b}2J\"}";
        assert_eq!(printable(decoded), "{\n  \"a\": \" 2J\",\n  \"b\": 1\n}");
        assert_eq!(printable("not\u{1b} JSON"), "not  JSON");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_search_panic(text in "(\\PC|[\\n ]|Encoded authorization failure message: ?){0,40}") {
            let _ = encoded_message(&text);
        }
    }
}
