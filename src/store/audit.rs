//! The audit trail: one row for every change of state, in the same transaction (I12).

use serde_json::Value;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::listing::{Of, Source};
use super::pool::Tx;
use super::{Store, StoreError, from_json, new_id};
use crate::domain::actor::Actor;
use crate::domain::listing::{Page, Wanted};
use crate::domain::time::Timestamp;

/// How a deed ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// A safety rule or a role said no.
    Refused,
    /// It was tried and did not work.
    Failed,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// One row to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Who, by which way and from where.
    pub actor: Actor,
    /// What, e.g. `run.grace` or `key.deleted`.
    pub action: String,
    /// On what, e.g. `rotation production`.
    pub subject: String,
    /// How and why; never key material.
    pub detail: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What changed as it was before, where a person changed it; never key material.
    pub before: Option<Value>,
    /// The same after.
    pub after: Option<Value>,
}

impl AuditEntry {
    /// A row of something done that changes nothing which a person keeps.
    pub fn new(
        actor: Actor,
        action: impl Into<String>,
        subject: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        let (action, subject, detail) = (action.into(), subject.into(), detail.into());
        Self { actor, action, subject, detail, outcome: Outcome::Done, before: None, after: None }
    }

    /// The same with what changed.
    #[must_use]
    pub fn changing(self, before: Option<Value>, after: Option<Value>) -> Self {
        Self { before, after, ..self }
    }

    /// The same of a deed that was refused or failed.
    #[must_use]
    pub fn ended(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }
}

/// One row as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Unique, sorts by time.
    pub id: String,
    /// When, on the database's clock.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// By which way: `cli`, `api`, `daemon`.
    pub via: String,
    /// The true address of who called.
    pub address: Option<String>,
    /// The request's id.
    pub request_id: Option<String>,
    /// What.
    pub action: String,
    /// On what.
    pub subject: String,
    /// How and why.
    pub detail: String,
    /// `done`, `refused`, `failed`.
    pub outcome: String,
    /// What changed, as it was.
    pub before: Option<Value>,
    /// What changed, as it is now.
    pub after: Option<Value>,
}

/// Which rows are wanted; `None` is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// By this one.
    pub actor: Option<String>,
    /// Such deeds.
    pub action: Option<String>,
    /// On this.
    pub subject: Option<String>,
    /// At or after.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Older than this row: when it was written, and its id.
    pub before: Option<(Timestamp, String)>,
    /// At most so many.
    pub limit: i64,
}

pub(super) async fn write(tx: &mut Tx, entry: &AuditEntry) -> Result<(), StoreError> {
    write_as(tx, &new_id(), entry).await
}

/// The same under an id that the caller keeps.
pub(super) async fn write_as(tx: &mut Tx, id: &str, entry: &AuditEntry) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit (id, at, actor, via, address, request_id, action, subject, detail, outcome,
           before_change, after_change)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(id)
    .bind(tx.now.0)
    .bind(&entry.actor.name)
    .bind(entry.actor.via.word())
    .bind(&entry.actor.address)
    .bind(&entry.actor.request_id)
    .bind(&entry.action)
    .bind(&entry.subject)
    .bind(&entry.detail)
    .bind(entry.outcome.word())
    .bind(entry.before.as_ref().map(Value::to_string))
    .bind(entry.after.as_ref().map(Value::to_string))
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}

/// The audit trail as a list.
const LIST: Source = Source {
    table: "audit",
    always: "1 = 1",
    sorts: &[("at", Of::Number("at"))],
    filters: &[
        ("q", "LOWER(actor || ' ' || action || ' ' || subject || ' ' || detail) LIKE $? ESCAPE '\\'"),
        ("actor", "actor = $?"),
        ("action", "action = $?"),
        ("subject", "subject = $?"),
        ("outcome", "outcome = $?"),
        ("since", "at >= $?"),
        ("until", "at < $?"),
    ],
};

impl Store {
    /// A page of the audit trail.
    pub async fn audit_list(&self, wanted: &Wanted) -> Result<Page<AuditRow>, StoreError> {
        self.page(&LIST, wanted, audit_row).await
    }

    /// A row of its own, for what changes nothing: a refusal, a failure.
    pub async fn audit_alone(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        write(&mut tx, entry).await?;
        tx.commit().await
    }

    /// The newest rows that the filter lets through.
    pub async fn audit_page(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let (before_at, before_id) = filter.before.clone().unwrap_or((Timestamp(i64::MAX), String::new()));
        let rows = sqlx::query(
            "SELECT * FROM audit
             WHERE actor = COALESCE($1, actor) AND action = COALESCE($2, action)
               AND subject = COALESCE($3, subject) AND at >= $4 AND at < $5
               AND (at < $6 OR (at = $6 AND id < $7))
             ORDER BY at DESC, id DESC LIMIT $8",
        )
        .bind(&filter.actor)
        .bind(&filter.action)
        .bind(&filter.subject)
        .bind(filter.since.map_or(0, |at| at.0))
        .bind(filter.until.map_or(i64::MAX, |at| at.0))
        .bind(before_at.0)
        .bind(before_id)
        .bind(filter.limit)
        .fetch_all(self.pools.reader())
        .await?;
        rows.iter().map(audit_row).collect()
    }

    /// The newest rows first.
    pub async fn audit(&self, limit: i64) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM audit ORDER BY at DESC, id DESC LIMIT $1")
            .bind(limit)
            .fetch_all(self.pools.reader())
            .await?;
        rows.iter().map(audit_row).collect()
    }
}

fn audit_row(row: &AnyRow) -> Result<AuditRow, StoreError> {
    let json = |column: &'static str| {
        let text: Option<String> = row.try_get(column)?;
        text.map(|text| from_json(&text, column)).transpose()
    };
    Ok(AuditRow {
        id: row.try_get("id")?,
        at: Timestamp(row.try_get("at")?),
        actor: row.try_get("actor")?,
        via: row.try_get("via")?,
        address: row.try_get("address")?,
        request_id: row.try_get("request_id")?,
        action: row.try_get("action")?,
        subject: row.try_get("subject")?,
        detail: row.try_get("detail")?,
        outcome: row.try_get("outcome")?,
        before: json("before_change")?,
        after: json("after_change")?,
    })
}
