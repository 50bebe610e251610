//! Keys that their provider does not have any more, and not by our doing: a provider may forget a key for a while. Their
//! secrets are kept, sealed as they were, and a key that is seen again is alive again.

use sqlx::Row;

use super::pool::Tx;
use super::{Store, StoreError, key_writes};
use crate::domain::time::{CLOCK_SLACK, Span};

impl Store {
    /// Id and hash of the keys of an account that were found gone, and whose secrets are kept.
    pub async fn gone(&self, account: &str) -> Result<Vec<(String, String)>, StoreError> {
        // There are few of them at any time, and an account may have thousands of keys.
        let sql = "SELECT id, account, hash FROM keys WHERE wipe_at > 0 ORDER BY wipe_at";
        let rows = sqlx::query(sql).fetch_all(self.pools.reader()).await?;
        let mut gone = Vec::new();
        for row in rows {
            let (of, hash): (Option<String>, Option<String>) =
                (row.try_get("account")?, row.try_get("hash")?);
            if let (Some(hash), true) = (hash, of.as_deref() == Some(account)) {
                gone.push((row.try_get("id")?, hash));
            }
        }
        Ok(gone)
    }

    /// Wipes the secrets that were kept for long enough, or by a clock that went back since (R18). Answers how many.
    pub async fn wipe_gone(&self) -> Result<u64, StoreError> {
        let mut tx = self.pools.begin().await?;
        let wiped = sqlx::query(
            "UPDATE keys SET secret = NULL, api_secret = NULL, wipe_at = NULL, updated_at = $1
             WHERE wipe_at > 0 AND role = 'dead' AND (wipe_at <= $1 OR gone_at > $2)",
        )
        .bind(tx.now.0)
        .bind(tx.now.plus(CLOCK_SLACK).0)
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await?;
        Ok(wiped.rows_affected())
    }
}

/// A tombstone whose secrets are kept for a while.
pub(super) async fn found_gone(tx: &mut Tx, id: &str, keep: Span) -> Result<(), StoreError> {
    if keep <= Span::ZERO {
        return key_writes::bury(tx, id).await;
    }
    sqlx::query(
        "UPDATE keys SET role = 'dead', number = NULL, is_active = 0, gone_at = $1, wipe_at = $2, updated_at = $1
         WHERE id = $3",
    )
    .bind(tx.now.0)
    .bind(tx.now.plus(keep).0)
    .bind(id)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}

/// Alive again: on its way out, where its rotation has another key by now; else the one to use. It is tested at once.
pub(super) async fn seen_again(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    let row = sqlx::query(
        "UPDATE keys SET role = 'retiring', is_active = 1, gone_at = NULL, wipe_at = NULL, next_look_at = $1,
           updated_at = $1
         WHERE id = $2 AND role = 'dead' AND wipe_at IS NOT NULL RETURNING rotation",
    )
    .bind(tx.now.0)
    .bind(id)
    .fetch_optional(&mut *tx.inner)
    .await?;
    let Some(rotation) = row.map(|row| row.try_get::<Option<String>, _>("rotation")).transpose()?.flatten()
    else {
        return Ok(());
    };
    let current = sqlx::query("SELECT id FROM keys WHERE rotation = $1 AND role = 'current'")
        .bind(&rotation)
        .fetch_optional(&mut *tx.inner)
        .await?;
    if current.is_some() { Ok(()) } else { key_writes::promote(tx, &rotation, id).await }
}
