//! The journal of effects (R1): `intended → done | failed | unknown`. Rows are never deleted (R6).

use serde_json::json;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::damaged::readable;
use super::pool::Tx;
use super::{Store, StoreError, from_json, to_json};
use crate::domain::time::Timestamp;

/// One kind of call to the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EffectKind {
    /// A key at the provider; the target is its unique name.
    Create,
    /// A key to a destination; the target is the destination's name.
    Publish,
    /// The target is the key's hash.
    Disable,
    /// The target is the key's hash.
    Enable,
    /// The target is the key's hash.
    Delete,
    /// A redeployment at a destination.
    Deploy,
    /// A spending limit; the target is the key's hash.
    Limit,
}

impl EffectKind {
    /// The word in the database and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Publish => "publish",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Delete => "delete",
            Self::Deploy => "deploy",
            Self::Limit => "limit",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Create, Self::Publish, Self::Disable, Self::Enable, Self::Delete, Self::Deploy, Self::Limit]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

/// What is known of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EffectStatus {
    /// Committed before the call.
    Intended,
    /// Proved to have happened.
    Done,
    /// Proved not to have happened.
    Failed,
    /// Nobody knows; to be settled by looking.
    Unknown,
}

impl EffectStatus {
    /// The word in the database and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Intended, Self::Done, Self::Failed, Self::Unknown].into_iter().find(|s| s.word() == word)
    }
}

/// An intent to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of EffectRow")]
pub struct NewEffect {
    pub id: String,
    pub run: Option<String>,
    pub account: String,
    pub kind: EffectKind,
    pub target: String,
    /// Where it writes to, for what goes to a destination: a name may mean another place one day.
    pub address: Option<String>,
}

/// One journalled call.
#[derive(Debug, Clone)]
pub struct EffectRow {
    /// Unique, sorts by time.
    pub id: String,
    /// The run it belongs to; `None` for what a person did by hand and for strays.
    pub run: Option<String>,
    /// Identity of the account.
    pub account: String,
    /// What kind of call.
    pub kind: EffectKind,
    /// On what: a name, a hash, a destination.
    pub target: String,
    /// What is known of it.
    pub status: EffectStatus,
    /// How often it was tried; a create always once.
    pub attempt: i64,
    /// When the last attempt was intended.
    pub started_at: Timestamp,
    /// When it was settled, or could no longer land with nobody knowing what came of it.
    pub finished_at: Option<Timestamp>,
    /// What was seen; never key material.
    pub evidence: serde_json::Value,
}

pub(super) fn effect_row(row: &AnyRow) -> Result<EffectRow, StoreError> {
    let kind: String = row.try_get("kind")?;
    let status: String = row.try_get("status")?;
    Ok(EffectRow {
        id: row.try_get("id")?,
        run: row.try_get("run")?,
        account: row.try_get("account")?,
        kind: EffectKind::parse(&kind).ok_or(StoreError::Corrupt("effects.kind"))?,
        target: row.try_get("target")?,
        status: EffectStatus::parse(&status).ok_or(StoreError::Corrupt("effects.status"))?,
        attempt: row.try_get("attempt")?,
        started_at: Timestamp(row.try_get("started_at")?),
        finished_at: row.try_get::<Option<i64>, _>("finished_at")?.map(Timestamp),
        evidence: from_json(&row.try_get::<String, _>("evidence")?, "effects.evidence")?,
    })
}

impl Store {
    /// The effects of a run, oldest first.
    pub async fn effects(&self, run: &str) -> Result<Vec<EffectRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM effects WHERE run = $1 ORDER BY started_at, id")
            .bind(run)
            .fetch_all(self.pools.reader())
            .await?;
        rows.iter().map(effect_row).collect()
    }

    /// Disables, deletes and enables of an account whose outcome is not settled.
    pub async fn open_toggles(&self, account: &str) -> Result<Vec<EffectRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM effects WHERE account = $1 AND kind IN ('disable', 'delete', 'enable', 'limit')
             AND status IN ('intended', 'unknown') ORDER BY started_at, id",
        )
        .bind(account)
        .fetch_all(self.pools.reader())
        .await?;
        // One that cannot be read is open to the guard all the same, which reads no more of it than its words.
        Ok(readable(&rows, effect_row))
    }

    /// Creates and writes of an account that belong to no run and are not proved, those that have an end as well: a
    /// look may still prove them.
    pub async fn unproved_without_run(&self, account: &str) -> Result<Vec<EffectRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM effects WHERE account = $1 AND run IS NULL AND kind IN ('create', 'publish', 'deploy')
             AND status IN ('intended', 'unknown') ORDER BY started_at, id",
        )
        .bind(account)
        .fetch_all(self.pools.reader())
        .await?;
        // One that cannot be read holds up nothing.
        Ok(readable(&rows, effect_row))
    }

    /// How many effects have neither a settled outcome nor an end, over all accounts.
    pub async fn unknown_effects(&self) -> Result<i64, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS n FROM effects WHERE status IN ('intended', 'unknown') AND finished_at IS NULL",
        )
        .fetch_one(self.pools.reader())
        .await?;
        Ok(row.try_get("n")?)
    }
}

/// Commits an intent. The same id again means another attempt of the same effect.
pub(super) async fn intend(tx: &mut Tx, effect: &NewEffect) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO effects (id, run, account, kind, target, status, attempt, started_at, evidence)
         VALUES ($1, $2, $3, $4, $5, 'intended', 1, $6, $7)
         ON CONFLICT (id) DO UPDATE SET status = 'intended', attempt = effects.attempt + 1,
           started_at = excluded.started_at, finished_at = NULL, evidence = excluded.evidence",
    )
    .bind(&effect.id)
    .bind(&effect.run)
    .bind(&effect.account)
    .bind(effect.kind.word())
    .bind(&effect.target)
    .bind(tx.now.0)
    .bind(to_json(&effect.address.as_ref().map(|address| json!({ "address": address }))))
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}

/// An end for what can no longer land, and of which nobody knows what came of it.
pub(super) async fn give_up(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    sqlx::query("UPDATE effects SET status = 'unknown', finished_at = $1 WHERE id = $2")
        .bind(tx.now.0)
        .bind(id)
        .execute(&mut *tx.inner)
        .await?;
    Ok(())
}

/// Settles an effect, or marks it unknown.
pub(super) async fn settle(
    tx: &mut Tx,
    id: &str,
    status: EffectStatus,
    evidence: &serde_json::Value,
) -> Result<(), StoreError> {
    let finished = matches!(status, EffectStatus::Done | EffectStatus::Failed).then_some(tx.now.0);
    sqlx::query("UPDATE effects SET status = $1, evidence = $2, finished_at = $3 WHERE id = $4")
        .bind(status.word())
        .bind(to_json(evidence))
        .bind(finished)
        .bind(id)
        .execute(&mut *tx.inner)
        .await?;
    Ok(())
}
