//! Metrics as Prometheus reads them: its own text, and `OpenMetrics` when asked.

use std::fmt::Write;

use crate::meter::{ALL, BUCKETS, Kind, Metric, Sample, Times, as_number, timed};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Text, version 0.0.4.
    Prometheus,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
}

impl Format {
    /// By what the client takes.
    pub(super) fn of(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// A counter's family is called without `_total` in `OpenMetrics`.
    fn family(self, metric: &Metric) -> &'static str {
        match (self, metric.kind) {
            (Self::OpenMetrics, Kind::Counter) => metric.name.trim_end_matches("_total"),
            _ => metric.name,
        }
    }
}

/// All samples in the order of the list.
pub(super) fn text(samples: &[Sample], format: Format) -> String {
    let mut text = String::new();
    for metric in ALL.iter().copied() {
        let family = format.family(metric);
        text.push_str(&format!("# HELP {family} {}\n# TYPE {family} {}\n", metric.help, metric.kind.word()));
        if metric.kind == Kind::Histogram {
            histogram(&mut text, metric.name, &timed(metric));
        }
        for sample in samples.iter().filter(|sample| sample.metric == metric) {
            text.push_str(&format!("{}{} {}\n", metric.name, labels(sample), sample.value));
        }
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn histogram(text: &mut String, name: &str, times: &Times) {
    let bounds = BUCKETS.iter().map(ToString::to_string).zip(times.counts);
    for (bound, count) in bounds.chain([("+Inf".to_owned(), times.count)]) {
        text.push_str(&format!("{name}_bucket{{le=\"{bound}\"}} {count}\n"));
    }
    text.push_str(&format!("{name}_sum {}\n{name}_count {}\n", times.sum, as_number(times.count)));
}

fn labels(sample: &Sample) -> String {
    let pairs = sample.metric.labels.iter().zip(&sample.labels);
    let mut text = String::new();
    for (name, value) in pairs {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{name}=\"{}\"", escaped(value));
    }
    if text.is_empty() { text } else { format!("{{{text}}}") }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter;

    #[test]
    fn both_formats_say_the_same() {
        let sample = |metric, labels: &[&str], value| Sample {
            metric,
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            value,
        };
        let samples = [
            sample(&meter::KEYS, &["open\"ai\\", "valid"], 3.0),
            sample(&meter::EFFECTS, &["create", "done"], 2.0),
            sample(&meter::EFFECTS_UNKNOWN, &[], 0.0),
        ];
        let plain = text(&samples, Format::Prometheus);
        assert!(plain.contains("rekeyd_keys{provider=\"open\\\"ai\\\\\",status=\"valid\"} 3\n"), "{plain}");
        assert!(plain.contains(
            "# TYPE rekeyd_effects_total counter\nrekeyd_effects_total{kind=\"create\",outcome=\"done\"} 2\n"
        ));
        assert!(plain.contains("rekeyd_effects_unknown 0\n") && !plain.contains("EOF"));
        let open = text(&samples, Format::of("application/openmetrics-text;version=1.0.0,text/plain"));
        assert!(open.contains("# TYPE rekeyd_effects counter\nrekeyd_effects_total{"), "{open}");
        assert!(open.ends_with("# EOF\n"));
        assert_eq!(Format::of("text/plain"), Format::Prometheus);
    }

    #[test]
    fn times_are_counted_into_every_bucket_that_is_long_enough() {
        let mut shown = String::new();
        let mut times = Times { count: 2, sum: 0.5, ..Times::default() };
        times.counts[10] = 2;
        histogram(&mut shown, "x", &times);
        assert!(
            shown.contains("x_bucket{le=\"10\"} 2\nx_bucket{le=\"+Inf\"} 2\nx_sum 0.5\nx_count 2\n"),
            "{shown}"
        );
    }

    #[test]
    fn names_are_as_prometheus_wants_them() {
        for metric in ALL {
            let counts = metric.name.ends_with("_total");
            assert_eq!(counts, metric.kind == Kind::Counter, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
