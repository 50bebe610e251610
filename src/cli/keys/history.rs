//! The history of a key, drawn: one sign a look, oldest first.

use super::super::output::or_dash;
use crate::engine::commands::{HistoryView, LookView, PeriodView};

/// From the fastest look to the slowest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Latencies as bars, outcomes below them, and the figures.
pub(super) fn drawn(history: &HistoryView) -> String {
    let looks: Vec<&LookView> = history.observations.iter().rev().collect();
    let (Some(first), Some(last)) = (looks.first(), looks.last()) else {
        return "never tested".to_owned();
    };
    let slowest = looks.iter().map(|look| look.latency_ms).max().unwrap_or(0).max(1);
    let bars: String = looks.iter().map(|look| bar(look, slowest)).collect();
    let signs: String = looks.iter().map(|look| sign(&look.outcome)).collect();
    let summary = &history.summary;
    let percent = summary.uptime.map(|part| format!("{:.1} %", part * 100.0));
    let periods: Vec<String> =
        history.periods.iter().filter(|period| period.summary.looks > 0).map(period).collect();
    let recent = format!(
        "LAST {} TESTS, {} to {}\n{bars}\n{signs}\n\
         ● valid  ◐ restricted or out of money  ✗ invalid  · no answer or not clear\n\
         answered {}, half within {} ms, 95 % within {} ms; status since {}",
        looks.len(),
        first.at,
        last.at,
        or_dash(percent.as_ref()),
        or_dash(summary.latency_ms_p50.as_ref()),
        or_dash(summary.latency_ms_p95.as_ref()),
        or_dash(history.last_change_at.as_ref()),
    );
    if periods.is_empty() { recent } else { format!("{recent}\n\n{}", periods.join("\n")) }
}

/// `last  30d: 2880 tests, 99.90 % answered, half in 100 ms, 95 % in 300 ms`
fn period(period: &PeriodView) -> String {
    let summary = &period.summary;
    let percent = summary.uptime.map(|part| format!("{:.2} %", part * 100.0));
    format!(
        "last {:>4}: {} tests, {} answered, half in {} ms, 95 % in {} ms",
        period.last,
        summary.looks,
        or_dash(percent.as_ref()),
        or_dash(summary.latency_ms_p50.as_ref()),
        or_dash(summary.latency_ms_p95.as_ref()),
    )
}

fn bar(look: &LookView, slowest: i64) -> char {
    let top = i64::try_from(BARS.len()).unwrap_or(1) - 1;
    let height = (look.latency_ms.max(0) * top) / slowest;
    usize::try_from(height).ok().and_then(|height| BARS.get(height).copied()).unwrap_or(BARS[0])
}

fn sign(outcome: &str) -> char {
    match outcome {
        "valid" => '●',
        "restricted" | "quota_exhausted" => '◐',
        "invalid" => '✗',
        _ => '·',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::verdict::history::Summary;

    #[test]
    fn looks_are_drawn_oldest_first() {
        let look = |outcome: &str, latency_ms| LookView {
            at: "2026-11-28T10:00:00.000Z".to_owned(),
            outcome: outcome.to_owned(),
            reason: None,
            status: None,
            latency_ms,
            detail: String::new(),
        };
        let observations = vec![look("invalid", 80), look("rate_limited", 0), look("valid", 40)];
        let looks: Vec<_> = observations
            .iter()
            .map(|look| crate::domain::verdict::history::Look {
                outcome: &look.outcome,
                latency_ms: look.latency_ms,
            })
            .collect();
        let summary = crate::domain::verdict::history::summary(&looks);
        let periods = vec![PeriodView { last: "365d", summary: Summary { looks: 35_040, ..summary } }];
        let text = drawn(&HistoryView { summary, last_change_at: None, periods, observations });
        assert!(
            text.ends_with("last 365d: 35040 tests, 100.00 % answered, half in 40 ms, 95 % in 80 ms"),
            "{text}"
        );
        assert!(text.contains("\n▄▁█\n●·✗\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
