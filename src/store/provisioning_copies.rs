//! Where the provisioning key of an account was published to. Hash and evidence only, never the key.

use sqlx::Row;

use super::pool::Tx;
use super::{Store, StoreError, from_json, to_json};
use crate::domain::rotation::Level;
use crate::domain::time::{Timestamp, Until};

/// A provisioning key at one address.
#[derive(Debug, Clone)]
pub struct CopyRow {
    /// Where it really is (R14).
    pub address: String,
    /// Name of the account's entry.
    pub account: String,
    /// Name of the destination when it was written.
    pub destination: String,
    /// Hash of the key that was written last.
    pub hash: String,
    /// How often another key was written: the number that evidence is about.
    pub writes: i64,
    /// What is proved.
    pub level: Level,
    /// What the destination needs to recognise its own write.
    pub evidence: serde_json::Value,
    /// The last failure, until it succeeds.
    pub error: Option<String>,
    /// Failed attempts in a row.
    pub attempts: u32,
    /// Nothing is sent there before this is over.
    pub until: Until,
}

impl Store {
    /// What was written to this address.
    pub async fn provisioning_copy(&self, address: &str) -> Result<Option<CopyRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM provisioning_copies WHERE address = $1")
            .bind(address)
            .fetch_optional(self.pools.reader())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let level: String = row.try_get("level")?;
        Ok(Some(CopyRow {
            address: row.try_get("address")?,
            account: row.try_get("account")?,
            destination: row.try_get("destination")?,
            hash: row.try_get("hash")?,
            writes: row.try_get("writes")?,
            level: Level::parse(&level).ok_or(StoreError::Corrupt("provisioning_copies.level"))?,
            evidence: from_json(&row.try_get::<String, _>("evidence")?, "provisioning_copies.evidence")?,
            error: row.try_get("error")?,
            attempts: u32::try_from(row.try_get::<i64, _>("attempts")?).unwrap_or(u32::MAX),
            until: Until {
                set_at: Timestamp(row.try_get("wait_set_at")?),
                at: Timestamp(row.try_get("not_before")?),
            },
        }))
    }
}

pub(super) async fn put(tx: &mut Tx, row: &CopyRow) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO provisioning_copies (address, account, destination, hash, writes, level, evidence, error,
           attempts, not_before, wait_set_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (address) DO UPDATE SET account = excluded.account, destination = excluded.destination,
           hash = excluded.hash, writes = excluded.writes, level = excluded.level,
           evidence = excluded.evidence, error = excluded.error, attempts = excluded.attempts,
           not_before = excluded.not_before, wait_set_at = excluded.wait_set_at,
           updated_at = excluded.updated_at",
    )
    .bind(&row.address)
    .bind(&row.account)
    .bind(&row.destination)
    .bind(&row.hash)
    .bind(row.writes)
    .bind(row.level.word())
    .bind(to_json(&row.evidence))
    .bind(&row.error)
    .bind(i64::from(row.attempts))
    .bind(row.until.at.0)
    .bind(row.until.set_at.0)
    .bind(tx.now.0)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}
