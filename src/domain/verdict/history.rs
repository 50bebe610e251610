//! What the last looks at a key come to, for people.

/// One look: what it showed, and how long it took in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look<'a> {
    /// The outcome.
    pub outcome: &'a str,
    /// Milliseconds.
    pub latency_ms: i64,
}

/// A summary of looks.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Summary {
    /// How many.
    pub looks: usize,
    /// The part of them that the provider answered, 0 to 1. `None` without a look.
    pub uptime: Option<f64>,
    /// Half of the answers came sooner, in milliseconds.
    pub latency_ms_p50: Option<i64>,
    /// Nineteen of twenty answers came sooner, in milliseconds.
    pub latency_ms_p95: Option<i64>,
}

/// What they come to. How long somebody waited for nothing is no latency.
pub fn summary(looks: &[Look<'_>]) -> Summary {
    let answered = looks.iter().filter(|look| look.outcome != "unreachable");
    let mut latencies: Vec<i64> = answered.map(|look| look.latency_ms).collect();
    latencies.sort_unstable();
    Summary {
        looks: looks.len(),
        uptime: (!looks.is_empty()).then(|| part(latencies.len(), looks.len())),
        latency_ms_p50: percentile(&latencies, 50),
        latency_ms_p95: percentile(&latencies, 95),
    }
}

#[expect(clippy::cast_precision_loss, reason = "looks are far fewer than 2^52")]
pub(super) fn part(some: usize, all: usize) -> f64 {
    some as f64 / all as f64
}

/// The nearest rank.
fn percentile(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_answered_is_no_uptime_and_no_latency() {
        let look = |outcome, latency_ms| Look { outcome, latency_ms };
        let mut looks: Vec<Look<'_>> = (1..=20).map(|n| look("valid", n * 10)).collect();
        looks.extend([look("unreachable", 10_000), look("invalid", 5)]);
        let summary = summary(&looks);
        assert_eq!(
            (summary.looks, summary.latency_ms_p50, summary.latency_ms_p95),
            (22, Some(100), Some(190))
        );
        assert!((summary.uptime.unwrap() - 21.0 / 22.0).abs() < 1e-9);
        let none = super::summary(&[]);
        assert_eq!((none.uptime, none.latency_ms_p50), (None, None));
    }
}
