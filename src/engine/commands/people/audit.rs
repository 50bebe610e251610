//! The audit trail: read, and added to where nothing changed.

use crate::domain::secret::redact;
use crate::engine::commands::view::{AuditView, audit_view};
use crate::engine::{Engine, EngineError};
use crate::store::{AuditFilter, Outcome};

/// The newest rows that the filter lets through, and what to ask for after them.
pub async fn audit_page(
    engine: &Engine,
    filter: &AuditFilter,
) -> Result<(Vec<AuditView>, Option<AuditFilter>), EngineError> {
    let rows = engine.store().audit_page(filter).await?;
    let is_full = i64::try_from(rows.len()).is_ok_and(|rows| rows == filter.limit);
    let last = rows.last().filter(|_| is_full).map(|row| (row.at, row.id.clone()));
    let next = last.map(|before| AuditFilter { before: Some(before), ..filter.clone() });
    Ok((rows.into_iter().map(audit_view).collect(), next))
}

/// Notes what a rule or a role refused: who wanted what, and why not.
pub async fn note_refusal(
    engine: &Engine,
    action: &str,
    subject: &str,
    why: &str,
) -> Result<(), EngineError> {
    let entry = engine.entry(action, redact(subject, &[]), redact(why, &[]));
    Ok(engine.store().audit_alone(&entry.ended(Outcome::Refused)).await?)
}
