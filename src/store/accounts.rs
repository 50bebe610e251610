//! Provider accounts by identity (R8), and the freeze (R9).

use sqlx::Row;

use super::pool::Tx;
use super::{Store, StoreError, epochs};
use crate::crypto::Sealed;
use crate::domain::key::RemoteKey;

/// An account as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// What `GET /key` says of its provisioning key, see R8.
    pub identity: String,
    /// Why it is frozen, if it is.
    pub frozen: Option<String>,
}

impl Store {
    /// The identity that an entry of the configuration last showed.
    pub async fn entry_identity(&self, entry: &str) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT identity FROM account_entries WHERE name = $1")
            .bind(entry)
            .fetch_optional(self.pools.reader())
            .await?;
        Ok(row.map(|row| row.try_get("identity")).transpose()?)
    }

    /// Entries that showed this identity.
    pub async fn entries_of(&self, identity: &str) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query("SELECT name FROM account_entries WHERE identity = $1 ORDER BY name")
            .bind(identity)
            .fetch_all(self.pools.reader())
            .await?;
        rows.iter().map(|row| Ok(row.try_get("name")?)).collect()
    }

    /// Why an account is frozen; `None` while it is not (R9).
    pub async fn freeze_of(&self, identity: &str) -> Result<Option<String>, StoreError> {
        Ok(self.account(identity).await?.and_then(|account| account.frozen))
    }

    /// An account by identity.
    pub async fn account(&self, identity: &str) -> Result<Option<AccountRow>, StoreError> {
        let row = sqlx::query("SELECT identity, frozen, frozen_reason FROM accounts WHERE identity = $1")
            .bind(identity)
            .fetch_optional(self.pools.reader())
            .await?;
        row.map(|row| {
            let frozen = row.try_get::<i64, _>("frozen")? != 0;
            let reason: Option<String> = row.try_get("frozen_reason")?;
            let frozen = frozen.then(|| reason.unwrap_or_default());
            Ok(AccountRow { identity: row.try_get("identity")?, frozen })
        })
        .transpose()
    }

    /// Where an account was last, sealed.
    pub async fn place(&self, identity: &str) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT place FROM accounts WHERE identity = $1")
            .bind(identity)
            .fetch_optional(self.pools.reader())
            .await?;
        Ok(row.map(|row| row.try_get("place")).transpose()?.flatten())
    }

    /// Notes which identity an entry shows now.
    pub async fn note_entry(&self, entry: &str, identity: &str) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        sqlx::query(
            "INSERT INTO accounts (identity, created_at) VALUES ($1, $2) ON CONFLICT (identity) DO NOTHING",
        )
        .bind(identity)
        .bind(tx.now.0)
        .execute(&mut *tx.inner)
        .await?;
        sqlx::query(
            "INSERT INTO account_entries (name, identity, seen_at) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET identity = excluded.identity, seen_at = excluded.seen_at",
        )
        .bind(entry)
        .bind(identity)
        .bind(tx.now.0)
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }

    /// Keys that a person declared foreign: their hashes, and their names.
    pub async fn foreign_keys(&self, account: &str) -> Result<Vec<(String, String)>, StoreError> {
        let rows = sqlx::query("SELECT hash, name FROM foreign_keys WHERE account = $1")
            .bind(account)
            .fetch_all(self.pools.reader())
            .await?;
        rows.iter().map(|row| Ok((row.try_get("hash")?, row.try_get("name")?))).collect()
    }
}

/// Where it is, for the day when no entry of the configuration shows it any more.
pub(super) async fn place(tx: &mut Tx, identity: &str, sealed: &Sealed) -> Result<(), StoreError> {
    epochs::in_force(tx, &sealed.by).await?;
    sqlx::query("UPDATE accounts SET place = $1 WHERE identity = $2")
        .bind(&sealed.token)
        .bind(identity)
        .execute(&mut *tx.inner)
        .await?;
    Ok(())
}

pub(super) async fn freeze(tx: &mut Tx, identity: &str, reason: &str) -> Result<(), StoreError> {
    sqlx::query("UPDATE accounts SET frozen = 1, frozen_reason = $1 WHERE identity = $2")
        .bind(reason)
        .bind(identity)
        .execute(&mut *tx.inner)
        .await?;
    Ok(())
}

/// A person looked: the unknown keys are foreign, counters rise above every name seen, and each rotation of
/// the account wants an adopt before its next run. `rotations` are those of the configuration: one that is younger
/// than the backup has no row, or one without an account.
pub(super) async fn thaw(
    tx: &mut Tx,
    identity: &str,
    foreign: &[RemoteKey],
    counters: &[(String, i64)],
    rotations: &[String],
) -> Result<(), StoreError> {
    for key in foreign {
        sqlx::query(
            "INSERT INTO foreign_keys (account, hash, name, seen_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (account, hash) DO NOTHING",
        )
        .bind(identity)
        .bind(&key.hash)
        .bind(&key.name)
        .bind(tx.now.0)
        .execute(&mut *tx.inner)
        .await?;
    }
    for rotation in rotations {
        sqlx::query(
            "INSERT INTO rotations (name, account, needs_adopt, updated_at) VALUES ($1, $2, 1, $3)
             ON CONFLICT (name) DO UPDATE SET needs_adopt = 1, updated_at = excluded.updated_at",
        )
        .bind(rotation)
        .bind(identity)
        .bind(tx.now.0)
        .execute(&mut *tx.inner)
        .await?;
    }
    for (rotation, seen) in counters {
        // One that is not in the configuration may come back to it.
        sqlx::query(
            "INSERT INTO rotations (name, last_generation, needs_adopt, updated_at) VALUES ($1, $2, 1, $3)
             ON CONFLICT (name) DO UPDATE SET last_generation = excluded.last_generation
             WHERE rotations.last_generation < excluded.last_generation",
        )
        .bind(rotation)
        .bind(*seen)
        .bind(tx.now.0)
        .execute(&mut *tx.inner)
        .await?;
    }
    sqlx::query("UPDATE rotations SET needs_adopt = 1, updated_at = $1 WHERE account = $2")
        .bind(tx.now.0)
        .bind(identity)
        .execute(&mut *tx.inner)
        .await?;
    sqlx::query("UPDATE accounts SET frozen = 0, frozen_reason = NULL WHERE identity = $1")
        .bind(identity)
        .execute(&mut *tx.inner)
        .await?;
    Ok(())
}
