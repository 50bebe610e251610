//! The audit trail: one row for every change of state, in the same transaction (I12).

use sqlx::Row;

use super::pool::Tx;
use super::{Store, StoreError, new_id};
use crate::domain::time::Timestamp;

/// One row to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Who: `daemon`, `cli:USER (uid N)`, an e-mail address.
    pub actor: String,
    /// What, e.g. `run.grace` or `key.deleted`.
    pub action: String,
    /// On what, e.g. `rotation production`.
    pub subject: String,
    /// How and why; never key material.
    pub detail: String,
}

/// One row as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Unique, sorts by time.
    pub id: String,
    /// When, RFC 3339 UTC.
    pub at: String,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// On what.
    pub subject: String,
    /// How and why.
    pub detail: String,
}

pub(super) async fn write(tx: &mut Tx, entry: &AuditEntry) -> Result<(), StoreError> {
    write_as(tx, &new_id(), entry).await
}

/// The same under an id that the caller keeps.
pub(super) async fn write_as(tx: &mut Tx, id: &str, entry: &AuditEntry) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO audit (id, at, actor, action, subject, detail) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(id)
        .bind(tx.now.0)
        .bind(&entry.actor)
        .bind(&entry.action)
        .bind(&entry.subject)
        .bind(&entry.detail)
        .execute(&mut *tx.inner)
        .await?;
    Ok(())
}

impl Store {
    /// The newest rows first.
    pub async fn audit(&self, limit: i64) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM audit ORDER BY at DESC, id DESC LIMIT $1")
            .bind(limit)
            .fetch_all(self.pools.reader())
            .await?;
        rows.iter()
            .map(|row| {
                Ok(AuditRow {
                    id: row.try_get("id")?,
                    at: Timestamp(row.try_get("at")?).rfc3339(),
                    actor: row.try_get("actor")?,
                    action: row.try_get("action")?,
                    subject: row.try_get("subject")?,
                    detail: row.try_get("detail")?,
                })
            })
            .collect()
    }
}
