//! The Prometheus text format, version 0.0.4 (Prometheus documentation, "Exposition formats").

use std::fmt::{Display, Write};

use super::counting::Histogram;
use super::declared::Declaration;

/// What the page is sent as.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a scrape gets.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

/// One metric, to which samples are added.
#[derive(Debug)]
pub struct Samples<'p> {
    text: &'p mut String,
    metric: &'static Declaration,
}

impl Page {
    /// Begins a metric. Its samples stand together, as the format wants it.
    pub fn family(&mut self, metric: &'static Declaration) -> Samples<'_> {
        let Declaration {
            name, kind, help, ..
        } = metric;
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}");
        let _ = writeln!(self.text, "# TYPE {name} {}", kind.as_str());
        Samples {
            text: &mut self.text,
            metric,
        }
    }

    pub fn into_text(self) -> String {
        self.text
    }
}

impl Samples<'_> {
    /// One sample, with the values of the metric's labels in their order.
    pub fn add(&mut self, values: &[&str], value: impl Display) {
        self.sample("", values, None, value);
    }

    /// All samples of a histogram.
    pub fn histogram(&mut self, values: &[&str], histogram: &Histogram) {
        let mut count = 0;
        for (bound, cumulative) in histogram.cumulative() {
            let bound = bound.map_or("+Inf".to_owned(), |it| it.as_secs_f64().to_string());
            self.sample("_bucket", values, Some(&bound), cumulative);
            count = cumulative;
        }
        self.sample("_sum", values, None, histogram.sum().as_secs_f64());
        self.sample("_count", values, None, count);
    }

    fn sample(&mut self, suffix: &str, values: &[&str], bound: Option<&str>, value: impl Display) {
        let Declaration { name, labels, .. } = self.metric;
        self.text.push_str(name);
        self.text.push_str(suffix);
        let labels = labels.iter().copied().zip(values.iter().copied());
        for (index, (label, value)) in labels.chain(bound.map(|it| ("le", it))).enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{label}=\"");
            self.text.extend(value.chars().flat_map(escaped));
            self.text.push('"');
        }
        if !values.is_empty() || bound.is_some() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

fn escaped(letter: char) -> impl Iterator<Item = char> {
    let (first, second) = match letter {
        '\n' => ('\\', Some('n')),
        '"' | '\\' => ('\\', Some(letter)),
        _ => (letter, None),
    };
    [first].into_iter().chain(second)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::declared::Kind;
    use super::*;

    const TIMES: Declaration = Declaration {
        name: "credd_times_seconds",
        kind: Kind::Histogram,
        labels: &["of"],
        help: "Times.",
    };

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_sum_and_count() {
        const BOUNDS: &[Duration] = &[Duration::from_micros(50), Duration::from_secs(1)];
        let histogram = Histogram::new(BOUNDS);
        histogram.observe(Duration::from_millis(250));
        histogram.observe(Duration::from_secs(2));
        let mut page = Page::default();
        page.family(&TIMES).histogram(&["a"], &histogram);
        let expected = "# HELP credd_times_seconds Times.\n\
            # TYPE credd_times_seconds histogram\n\
            credd_times_seconds_bucket{of=\"a\",le=\"0.00005\"} 0\n\
            credd_times_seconds_bucket{of=\"a\",le=\"1\"} 1\n\
            credd_times_seconds_bucket{of=\"a\",le=\"+Inf\"} 2\n\
            credd_times_seconds_sum{of=\"a\"} 2.25\n\
            credd_times_seconds_count{of=\"a\"} 2\n";
        assert_eq!(page.into_text(), expected);
    }

    #[test]
    fn no_value_breaks_out_of_its_label() {
        let mut page = Page::default();
        page.family(&TIMES).add(&["a\"} 1\n\\"], 0);
        let text = page.into_text();
        assert!(text.ends_with("{of=\"a\\\"} 1\\n\\\\\"} 0\n"), "{text}");
    }
}
