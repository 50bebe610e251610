//! What the store knows of a rotation: its account, its counters, its next due time.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::audit::{self, AuditEntry};
use super::damaged::readable;
use super::pool::Tx;
use super::{Store, StoreError, from_json, to_json};
use crate::domain::key::KeySpec;
use crate::domain::time::Timestamp;

/// One rotation.
#[derive(Debug, Clone)]
pub struct RotationRow {
    /// Its name.
    pub name: String,
    /// Identity of its account, once seen.
    pub account: Option<String>,
    /// The number that its current generation has in its provider.
    pub key_number: Option<i64>,
    /// The highest generation ever given out.
    pub last_generation: i64,
    /// New runs and kill steps are held.
    pub paused: bool,
    /// Healing is held as well.
    pub healing_paused: bool,
    /// A thaw wants an adopt before the next run.
    pub needs_adopt: bool,
    /// When the next run is due.
    pub next_due_at: Option<Timestamp>,
    /// When it was last healed.
    pub healed_at: Option<Timestamp>,
    /// What its current key was allowed when the provider last showed it.
    pub spec: Option<KeySpec>,
}

/// What a person holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Nothing any more.
    Over,
    /// New runs, and kill steps of ordinary ones.
    Runs,
    /// Healing, too.
    AndHealing,
}

pub(super) fn rotation_row(row: &AnyRow) -> Result<RotationRow, StoreError> {
    Ok(RotationRow {
        name: row.try_get("name")?,
        account: row.try_get("account")?,
        key_number: row.try_get("key_number")?,
        last_generation: row.try_get("last_generation")?,
        paused: row.try_get::<i64, _>("paused")? != 0,
        healing_paused: row.try_get::<i64, _>("healing_paused")? != 0,
        needs_adopt: row.try_get::<i64, _>("needs_adopt")? != 0,
        next_due_at: row.try_get::<Option<i64>, _>("next_due_at")?.map(Timestamp),
        healed_at: row.try_get::<Option<i64>, _>("healed_at")?.map(Timestamp),
        spec: row
            .try_get::<Option<String>, _>("spec")?
            .map(|doc| from_json(&doc, "rotations.spec"))
            .transpose()?,
    })
}

impl Store {
    /// Every rotation that was ever used, as far as its row can be read.
    pub async fn rotations(&self) -> Result<Vec<RotationRow>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM rotations ORDER BY name").fetch_all(self.pools.reader()).await?;
        Ok(readable(&rows, rotation_row))
    }

    /// One rotation.
    pub async fn rotation(&self, name: &str) -> Result<Option<RotationRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM rotations WHERE name = $1")
            .bind(name)
            .fetch_optional(self.pools.reader())
            .await?;
        row.as_ref().map(rotation_row).transpose()
    }

    /// Makes the row when it is missing, and notes the account.
    pub async fn ensure_rotation(&self, name: &str, account: Option<&str>) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        sqlx::query(
            "INSERT INTO rotations (name, account, updated_at) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET account = COALESCE(excluded.account, rotations.account)",
        )
        .bind(name)
        .bind(account)
        .bind(tx.now.0)
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }

    /// Holds or lets go what a pause is about.
    pub async fn set_paused(&self, name: &str, pause: Pause, entry: &AuditEntry) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        let paused = "UPDATE rotations SET paused = $1, healing_paused = $2, updated_at = $3 WHERE name = $4";
        sqlx::query(paused)
            .bind(i64::from(pause != Pause::Over))
            .bind(i64::from(pause == Pause::AndHealing))
            .bind(tx.now.0)
            .bind(name)
            .execute(&mut *tx.inner)
            .await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await
    }

    /// Sets the next due time.
    pub async fn set_due(&self, name: &str, due: Option<Timestamp>) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        due_in(&mut tx, name, due).await?;
        tx.commit().await
    }
}

impl Store {
    /// Moves the next due time, unless somebody else moved it since it was read.
    pub async fn move_due(
        &self,
        name: &str,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.pools.begin().await?;
        let done = sqlx::query(
            "UPDATE rotations SET next_due_at = $1, updated_at = $2
             WHERE name = $3 AND COALESCE(next_due_at, -1) = $4",
        )
        .bind(to.map(|at| at.0))
        .bind(tx.now.0)
        .bind(name)
        .bind(from.map_or(-1, |at| at.0))
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }
}

pub(super) async fn due_in(tx: &mut Tx, name: &str, due: Option<Timestamp>) -> Result<(), StoreError> {
    sqlx::query("UPDATE rotations SET next_due_at = $1, updated_at = $2 WHERE name = $3")
        .bind(due.map(|at| at.0))
        .bind(tx.now.0)
        .bind(name)
        .execute(&mut *tx.inner)
        .await?;
    Ok(())
}

/// Remembers what the current key is allowed.
pub(super) async fn spec_seen(tx: &mut Tx, name: &str, spec: &KeySpec) -> Result<(), StoreError> {
    sqlx::query("UPDATE rotations SET spec = $1, updated_at = $2 WHERE name = $3")
        .bind(to_json(spec))
        .bind(tx.now.0)
        .bind(name)
        .execute(&mut *tx.inner)
        .await?;
    Ok(())
}

/// The next generation: only grows, also over a crash.
pub(super) async fn next_generation(tx: &mut Tx, name: &str) -> Result<i64, StoreError> {
    let row = sqlx::query(
        "UPDATE rotations SET last_generation = last_generation + 1, updated_at = $1 WHERE name = $2
         RETURNING last_generation",
    )
    .bind(tx.now.0)
    .bind(name)
    .fetch_one(&mut *tx.inner)
    .await?;
    Ok(row.try_get("last_generation")?)
}

pub(super) async fn adopted(tx: &mut Tx, name: &str) -> Result<(), StoreError> {
    sqlx::query("UPDATE rotations SET needs_adopt = 0, updated_at = $1 WHERE name = $2")
        .bind(tx.now.0)
        .bind(name)
        .execute(&mut *tx.inner)
        .await?;
    Ok(())
}

pub(super) async fn healed(tx: &mut Tx, name: &str, at: Timestamp) -> Result<(), StoreError> {
    sqlx::query("UPDATE rotations SET healed_at = $1, updated_at = $2 WHERE name = $3")
        .bind(at.0)
        .bind(tx.now.0)
        .bind(name)
        .execute(&mut *tx.inner)
        .await?;
    Ok(())
}
