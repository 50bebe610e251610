//! `keys show`: a key with its last looks.

use serde::Serialize;

use crate::domain::time::{Span, Timestamp};
use crate::domain::verdict::history::{Look, Summary, summary};
use crate::domain::verdict::tally::Sheet;
use crate::engine::commands::view::key::{KeyView, key_view};
use crate::engine::{Engine, EngineError};
use crate::store::KeyRow;

/// So many looks are shown.
const LOOKS: i64 = 60;

/// What is told of all tests: by which name, from which tallies, how far back.
const PERIODS: [(&str, Sheet, Span); 4] = [
    ("24h", Sheet::Hours, Span::hours(24)),
    ("7d", Sheet::Days, Span::hours(7 * 24)),
    ("30d", Sheet::Days, Span::hours(30 * 24)),
    ("365d", Sheet::Days, Span::hours(365 * 24)),
];

/// A key, and how it was.
#[derive(Debug, Serialize)]
pub struct ShownKeyView {
    /// The key.
    #[serde(flatten)]
    pub key: KeyView,
    /// Its last looks.
    pub history: HistoryView,
}

/// The last looks at a key, newest first, and what they come to.
#[derive(Debug, Serialize)]
pub struct HistoryView {
    /// Figures.
    #[serde(flatten)]
    pub summary: Summary,
    /// When its status changed last.
    pub last_change_at: Option<String>,
    /// The last day, week, month and year.
    pub periods: Vec<PeriodView>,
    /// The looks.
    pub observations: Vec<LookView>,
}

/// What all tests of some time come to. Of latencies it has the bounds that they stayed within.
#[derive(Debug, Serialize)]
pub struct PeriodView {
    /// `24h`, `7d`, `30d` or `365d`, up to now.
    pub last: &'static str,
    /// Figures.
    #[serde(flatten)]
    pub summary: Summary,
}

/// One look.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of the history")]
pub struct LookView {
    pub at: String,
    pub outcome: String,
    pub reason: Option<String>,
    pub status: Option<i64>,
    pub latency_ms: i64,
    pub detail: String,
}

/// A key with its history.
pub async fn shown_key_view(engine: &Engine, key: &KeyRow) -> Result<ShownKeyView, EngineError> {
    Ok(ShownKeyView { key: key_view(key), history: history_view(engine, key).await? })
}

/// Its history alone.
pub async fn history_view(engine: &Engine, key: &KeyRow) -> Result<HistoryView, EngineError> {
    let rows = engine.store().observations(&key.id, LOOKS).await?;
    let looks: Vec<Look<'_>> =
        rows.iter().map(|row| Look { outcome: &row.outcome, latency_ms: row.latency_ms }).collect();
    let summary = summary(&looks);
    let mut periods = Vec::new();
    for (last, sheet, span) in PERIODS {
        let since = engine.clock().now().plus(Span(-span.0));
        let tally = engine.store().tally(&key.id, sheet, since).await?;
        periods.push(PeriodView { last, summary: tally.summary() });
    }
    let observations = rows.into_iter().map(|row| LookView {
        at: row.at,
        outcome: row.outcome,
        reason: row.reason,
        status: row.status,
        latency_ms: row.latency_ms,
        detail: row.detail,
    });
    Ok(HistoryView {
        summary,
        periods,
        last_change_at: key.health.since.map(Timestamp::rfc3339),
        observations: observations.collect(),
    })
}
