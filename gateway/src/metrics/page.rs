//! The text format that Prometheus reads, version 0.0.4.
//!
//! Always true: all lines of a metric stand together, below its help and its type; whatever is in a
//! label, it cannot end its line.
//!
//! ```text
//! # HELP name what it says
//! # TYPE name counter
//! name{label="value"} 17
//! ```

use std::fmt::{Display, Write as _};

use super::names::{Kind, Metric};

/// `Content-Type` of a page.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One page, from top to bottom.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    /// A metric with all of its numbers: labels and value each.
    pub(super) fn metric<'a, V: Display>(
        &mut self,
        metric: Metric,
        samples: impl IntoIterator<Item = (Vec<(&'static str, &'a str)>, V)>,
    ) {
        let (name, kind, help) = metric.about();
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // help is ours and has nothing to escape; a page in memory takes what is written
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in samples {
            self.text.push_str(name);
            for (place, (label, value)) in labels.iter().enumerate() {
                self.text.push_str(if place == 0 { "{" } else { "," });
                let _ = write!(self.text, "{label}=\"");
                escape(value, &mut self.text);
                self.text.push('"');
            }
            if !labels.is_empty() {
                self.text.push('}');
            }
            let _ = writeln!(self.text, " {value}");
        }
    }

    /// A metric with one number.
    pub(super) fn number(&mut self, metric: Metric, value: impl Display) {
        self.metric(metric, [(Vec::new(), value)]);
    }

    /// What is on it.
    pub(super) fn into_text(self) -> String {
        self.text
    }
}

fn escape(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_the_format_wants() {
        let mut page = Page::default();
        page.metric(
            Metric::SamplesWaiting,
            [(vec![("device", "a\\b\"c\nd 电")], 7_u64), (vec![("device", "x"), ("reason", "")], 0)],
        );
        page.number(Metric::ProcessCpu, 0.25);
        page.metric(Metric::SamplesMerged, Vec::<(Vec<_>, u64)>::new());
        let expected = r#"# HELP sagoo_edge_samples_waiting Samples in the buffer.
# TYPE sagoo_edge_samples_waiting gauge
sagoo_edge_samples_waiting{device="a\\b\"c\nd 电"} 7
sagoo_edge_samples_waiting{device="x",reason=""} 0
# HELP process_cpu_seconds_total Processor time of the gateway's process.
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 0.25
# HELP sagoo_edge_samples_merged_total Samples that went as a newer value of the same point.
# TYPE sagoo_edge_samples_merged_total counter
"#;
        assert_eq!(page.into_text(), expected);
    }
}
