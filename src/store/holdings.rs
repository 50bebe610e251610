//! What was sent to an address for a key, and what was proved.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::pool::Tx;
use super::{Store, StoreError, from_json, to_json};
use crate::domain::rotation::Level;
use crate::domain::rotation::facts::Holding;
use crate::domain::time::{Stamp, Timestamp, Until};

/// One destination and one key.
#[derive(Debug, Clone)]
pub struct HoldingRow {
    /// What decisions use: address, key, level, drift, errors.
    pub fact: Holding,
    /// The rotation that wrote.
    pub rotation: String,
    /// Order of the writes to this address.
    pub seq: i64,
    /// What the destination needs to recognise its own write; never key material.
    pub evidence: serde_json::Value,
    /// A person said that it no longer counts.
    pub released: bool,
}

pub(super) fn holding_row(row: &AnyRow) -> Result<HoldingRow, StoreError> {
    let level: String = row.try_get("level")?;
    let checked: Option<String> = row.try_get("checked")?;
    Ok(HoldingRow {
        fact: Holding {
            address: row.try_get("address")?,
            destination: row.try_get("destination")?,
            key: row.try_get("key_id")?,
            level: Level::parse(&level).ok_or(StoreError::Corrupt("holdings.level"))?,
            checked: checked.map(|text| from_json::<Stamp>(&text, "holdings.checked")).transpose()?,
            drift: row.try_get("drift")?,
            error: row.try_get("error")?,
            permanent: row.try_get::<i64, _>("permanent")? != 0,
            attempts: u32::try_from(row.try_get::<i64, _>("attempts")?).unwrap_or(u32::MAX),
            until: Until {
                set_at: Timestamp(row.try_get("wait_set_at")?),
                at: Timestamp(row.try_get("not_before")?),
            },
        },
        rotation: row.try_get("rotation")?,
        seq: row.try_get("seq")?,
        evidence: from_json(&row.try_get::<String, _>("evidence")?, "holdings.evidence")?,
        released: row.try_get::<i64, _>("released")? != 0,
    })
}

impl Store {
    /// All rows of a rotation, the newest write to an address first.
    pub async fn holdings(&self, rotation: &str) -> Result<Vec<HoldingRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM holdings WHERE rotation = $1 ORDER BY address, seq DESC")
            .bind(rotation)
            .fetch_all(self.pools.reader())
            .await?;
        rows.iter().map(holding_row).collect()
    }

    /// All rows of one address, the newest write first.
    pub async fn holdings_at(&self, address: &str) -> Result<Vec<HoldingRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM holdings WHERE address = $1 ORDER BY seq DESC")
            .bind(address)
            .fetch_all(self.pools.reader())
            .await?;
        rows.iter().map(holding_row).collect()
    }
}

/// Rows of any key with this hash on this account, inside a transaction: who may hold it.
pub(super) async fn of_hash(tx: &mut Tx, account: &str, hash: &str) -> Result<Vec<HoldingRow>, StoreError> {
    let rows = sqlx::query(
        "SELECT h.* FROM holdings h JOIN keys k ON k.id = h.key_id
         WHERE k.account = $1 AND k.hash = $2 AND h.level <> 'pending'",
    )
    .bind(account)
    .bind(hash)
    .fetch_all(&mut *tx.inner)
    .await?;
    rows.iter().map(holding_row).collect()
}

/// Rows of one address inside a transaction, the newest write first.
pub(super) async fn at(tx: &mut Tx, address: &str) -> Result<Vec<HoldingRow>, StoreError> {
    let rows = sqlx::query("SELECT * FROM holdings WHERE address = $1 ORDER BY seq DESC")
        .bind(address)
        .fetch_all(&mut *tx.inner)
        .await?;
    rows.iter().map(holding_row).collect()
}

/// Writes a row. `fresh_write` gives it the next place in the order of writes to its address, and takes from
/// every other key of that address what it had proved: from the intent on, the place may hold this one instead.
/// Without that a rollback would believe an old proof, and leave the new key where the old one once was. What somebody
/// else had changed there is over too, also for a key that waits for it; so is a person's release of it (R20). A run that waits for a destination looks
/// again at once, whoever learned something of it.
pub(super) async fn put(tx: &mut Tx, row: &HoldingRow, fresh_write: bool) -> Result<(), StoreError> {
    if fresh_write {
        sqlx::query(
            "UPDATE holdings SET level = CASE level WHEN 'pending' THEN level ELSE 'intended' END,
               checked = NULL, drift = NULL, released = 0 WHERE address = $1 AND key_id <> $2",
        )
        .bind(&row.fact.address)
        .bind(&row.fact.key)
        .execute(&mut *tx.inner)
        .await?;
    }
    let is_new = row.seq == 0;
    let seq = if fresh_write || is_new { next_seq(tx, &row.fact.address).await? } else { row.seq };
    sqlx::query(
        "INSERT INTO holdings (address, key_id, destination, rotation, seq, level, evidence, checked, drift, error,
           permanent, attempts, not_before, wait_set_at, released, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
         ON CONFLICT (address, key_id) DO UPDATE SET destination = excluded.destination, seq = excluded.seq,
           level = excluded.level, evidence = excluded.evidence, checked = excluded.checked,
           drift = excluded.drift, error = excluded.error, permanent = excluded.permanent,
           attempts = excluded.attempts, not_before = excluded.not_before, wait_set_at = excluded.wait_set_at,
           released = excluded.released, updated_at = excluded.updated_at",
    )
    .bind(&row.fact.address)
    .bind(&row.fact.key)
    .bind(&row.fact.destination)
    .bind(&row.rotation)
    .bind(seq)
    .bind(row.fact.level.word())
    .bind(to_json(&row.evidence))
    .bind(row.fact.checked.map(|stamp| to_json(&stamp)))
    .bind(&row.fact.drift)
    .bind(&row.fact.error)
    .bind(i64::from(row.fact.permanent))
    .bind(i64::from(row.fact.attempts))
    .bind(row.fact.until.at.0)
    .bind(row.fact.until.set_at.0)
    .bind(i64::from(row.released))
    .bind(tx.now.0)
    .execute(&mut *tx.inner)
    .await?;
    sqlx::query("UPDATE runs SET wake_at = 0 WHERE rotation = $1 AND is_open = 1")
        .bind(&row.rotation)
        .execute(&mut *tx.inner)
        .await?;
    Ok(())
}

/// What a look showed, unless a write of that address began since the row was read: the look was asked before its end, and
/// says nothing about the time after (R19).
pub(super) async fn seen(tx: &mut Tx, row: &HoldingRow) -> Result<(), StoreError> {
    let later = sqlx::query(
        "SELECT COUNT(*) AS n FROM holdings WHERE address = $1 AND seq > $2
         AND (key_id = $3 OR (level <> 'pending' AND $2 > 0))",
    )
    .bind(&row.fact.address)
    .bind(row.seq)
    .bind(&row.fact.key)
    .fetch_one(&mut *tx.inner)
    .await?;
    if later.try_get::<i64, _>("n")? > 0 { Ok(()) } else { put(tx, row, false).await }
}

async fn next_seq(tx: &mut Tx, address: &str) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT COALESCE(MAX(seq), 0) + 1 AS next FROM holdings WHERE address = $1")
        .bind(address)
        .fetch_one(&mut *tx.inner)
        .await?;
    Ok(row.try_get("next")?)
}

/// A person released a destination, by its name or its address: its rows for the keys of this rotation no longer count.
pub(super) async fn release(tx: &mut Tx, rotation: &str, destination: &str) -> Result<(), StoreError> {
    // Not of the key that is current: one day it retires too, and nobody accepted anything about it.
    sqlx::query(
        "UPDATE holdings SET released = 1, updated_at = $1
         WHERE rotation = $2 AND (destination = $3 OR address = $3)
         AND key_id IN (SELECT id FROM keys WHERE role <> 'current')",
    )
    .bind(tx.now.0)
    .bind(rotation)
    .bind(destination)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}

/// A person said "go on": failures are forgotten and tried again at once.
pub(super) async fn retry_now(tx: &mut Tx, rotation: &str) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE holdings SET permanent = 0, error = NULL, not_before = 0, updated_at = $1 WHERE rotation = $2",
    )
    .bind(tx.now.0)
    .bind(rotation)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}
