//! Alerts: conditions with a life. One open row per kind and subject.

use sqlx::Row;

use super::audit::{self, Entry};
use super::pool::Tx;
use super::{Store, StoreError, new_id};
use crate::domain::alert::{Kind, NewAlert};
use crate::domain::time::Timestamp;

/// One alert.
#[derive(Debug, Clone, serde::Serialize)]
pub struct AlertRow {
    /// Unique, sorts by time.
    pub id: String,
    /// The word of its kind, see interface.md §5.
    pub kind: String,
    /// `critical`, `warning` or `info`.
    pub severity: String,
    /// What it is about: a rotation, an account, a key, a destination.
    pub subject: String,
    /// In whole sentences.
    pub detail: String,
    /// When it opened, RFC 3339 UTC.
    pub opened_at: String,
    /// When somebody acknowledged it.
    pub acked_at: Option<String>,
    /// When it was over.
    pub resolved_at: Option<String>,
}

impl Store {
    /// Alerts, newest first; resolved ones only when asked for.
    pub async fn alerts(&self, with_resolved: bool) -> Result<Vec<AlertRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM alerts WHERE resolved_at IS NULL OR $1 = 1 ORDER BY opened_at DESC, id DESC",
        )
        .bind(i64::from(with_resolved))
        .fetch_all(self.pools.reader())
        .await?;
        let time = |at: Option<i64>| at.map(|at| Timestamp(at).rfc3339());
        rows.iter()
            .map(|row| {
                Ok(AlertRow {
                    id: row.try_get("id")?,
                    kind: row.try_get("kind")?,
                    severity: row.try_get("severity")?,
                    subject: row.try_get("subject")?,
                    detail: row.try_get("detail")?,
                    opened_at: Timestamp(row.try_get("opened_at")?).rfc3339(),
                    acked_at: time(row.try_get("acked_at")?),
                    resolved_at: time(row.try_get("resolved_at")?),
                })
            })
            .collect()
    }
}

impl Store {
    /// Opens an alert that belongs to no account, with its audit row. Again while it is open: nothing new.
    pub async fn raise(&self, alert: &NewAlert, entry: &Entry) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        open(&mut tx, alert).await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await
    }

    /// The condition is over. Harmless when no such alert is open.
    pub async fn resolve(&self, kind: Kind, subject: &str, entry: &Entry) -> Result<(), StoreError> {
        if !self.open_subjects(kind).await?.iter().any(|open| open == subject) {
            return Ok(());
        }
        let mut tx = self.pools.begin().await?;
        resolve(&mut tx, kind, subject).await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await
    }

    /// What open alerts of a kind are about.
    pub async fn open_subjects(&self, kind: Kind) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query("SELECT subject FROM alerts WHERE kind = $1 AND resolved_at IS NULL")
            .bind(kind.word())
            .fetch_all(self.pools.reader())
            .await?;
        rows.iter().map(|row| Ok(row.try_get("subject")?)).collect()
    }
}

/// Opens an alert; when it is open already only its text is brought up to date.
pub(super) async fn open(tx: &mut Tx, alert: &NewAlert) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO alerts (id, kind, severity, subject, account, rotation, detail, opened_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (kind, subject) WHERE resolved_at IS NULL
         DO UPDATE SET detail = excluded.detail, severity = excluded.severity",
    )
    .bind(new_id())
    .bind(alert.kind.word())
    .bind(alert.severity.word())
    .bind(&alert.subject)
    .bind(&alert.account)
    .bind(&alert.rotation)
    .bind(&alert.detail)
    .bind(tx.now.0)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}

/// The condition is over.
pub(super) async fn resolve(tx: &mut Tx, kind: Kind, subject: &str) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE alerts SET resolved_at = $1 WHERE kind = $2 AND subject = $3 AND resolved_at IS NULL",
    )
    .bind(tx.now.0)
    .bind(kind.word())
    .bind(subject)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}
