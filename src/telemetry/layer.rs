//! From what `tracing` tells to records: fields of spans are kept with them, and joined to each
//! event inside.

use tracing::span::{Attributes, Id, Record as SpanRecord};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::record::{Fields, Record};
use super::sink::Sink;
use crate::clock::{Clock, SystemClock};

/// Writes what gets to it.
pub(super) struct LogLayer {
    sink: Sink,
    clock: SystemClock,
}

impl LogLayer {
    pub(super) fn new(sink: Sink) -> Self {
        Self {
            sink,
            clock: SystemClock::new(),
        }
    }
}

impl<S: Subscriber + for<'lookup> LookupSpan<'lookup>> Layer<S> for LogLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &SpanRecord<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flatten() {
            // From the inside out: what is nearer was said last.
            if let Some(of_span) = span.extensions().get::<Fields>() {
                let nearer = std::mem::replace(&mut fields, of_span.clone());
                fields.add(&nearer);
            }
        }
        event.record(&mut fields);
        let metadata = event.metadata();
        let (level, target) = (*metadata.level(), metadata.target());
        let record = Record::new(self.clock.now(), level, target, fields);
        self.sink.write(&record);
    }
}
