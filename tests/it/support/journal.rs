//! What was logged on this thread, down to the last trace.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use super::sinks;

/// Collects the log for as long as it lives.
pub(crate) struct Journal {
    text: Text,
    _collecting: DefaultGuard,
}

impl Journal {
    pub(crate) fn begin() -> Self {
        let text = Text::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(text.clone())
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .without_time()
            .finish();
        Self {
            text,
            _collecting: tracing::subscriber::set_default(subscriber),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.text.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines that hold `part`.
    pub(crate) fn lines(&self, part: &str) -> Vec<String> {
        let text = self.text();
        let lines = text.lines().filter(|line| line.contains(part));
        lines.map(str::to_owned).collect()
    }

    /// The states gone through, as logged.
    pub(crate) fn states(&self) -> Vec<String> {
        let state = |line: String| {
            let (_, rest) = line.split_once("state=\"")?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        let lines = self.lines("state changed");
        lines.into_iter().filter_map(state).collect()
    }
}

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        sinks::keep("journal.log", bytes);
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Text {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
