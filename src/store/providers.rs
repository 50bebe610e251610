//! Providers: rows of the catalog that have keys, and those that were added under a name of their own.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::audit::{self, AuditEntry};
use super::key_writes::ensure_provider;
use super::keys::{NewProvider, ProviderRow};
use super::{Store, StoreError};
use crate::domain::time::Timestamp;

/// How many keys of a provider have one verdict, tombstones and what is on its way out apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyCount {
    /// Name of the provider.
    pub provider: String,
    /// The verdict.
    pub verdict: String,
    /// Active ones, or the others.
    pub is_active: bool,
    /// How many.
    pub count: i64,
}

/// How a provider answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answering {
    /// Name of the provider.
    pub provider: String,
    /// When one of its keys was looked at last.
    pub tested_at: Option<Timestamp>,
    /// Milliseconds, on average over its keys.
    pub latency_ms: Option<i64>,
}

fn provider_row(row: &AnyRow) -> Result<ProviderRow, StoreError> {
    Ok(ProviderRow {
        name: row.try_get("name")?,
        kind: row.try_get("kind")?,
        title: row.try_get("title")?,
        base_url: row.try_get("base_url")?,
        base_url_seal: row.try_get("base_url_seal")?,
    })
}

impl Store {
    /// The providers.
    pub async fn providers(&self) -> Result<Vec<ProviderRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM providers WHERE removed_at IS NULL ORDER BY name")
            .fetch_all(self.pools.reader())
            .await?;
        rows.iter().map(provider_row).collect()
    }

    /// One provider.
    pub async fn provider(&self, name: &str) -> Result<Option<ProviderRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM providers WHERE name = $1 AND removed_at IS NULL")
            .bind(name)
            .fetch_optional(self.pools.reader())
            .await?;
        row.as_ref().map(provider_row).transpose()
    }

    /// Adds a provider under a name of its own.
    pub async fn add_provider(&self, provider: &NewProvider, entry: &AuditEntry) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        ensure_provider(&mut tx, provider).await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await
    }

    /// Removes the keys of a provider, and its name where the catalog has none like it (`forget`). Each key has its row in
    /// the audit. False, and nothing is changed, when there are other keys than these: one was added meanwhile, or taken
    /// into a rotation.
    pub async fn remove_provider(
        &self,
        name: &str,
        keys: &[(String, AuditEntry)],
        forget: bool,
        entry: &AuditEntry,
    ) -> Result<bool, StoreError> {
        let mut tx = self.pools.begin().await?;
        for (id, entry) in keys {
            sqlx::query("DELETE FROM keys WHERE id = $1 AND provider = $2 AND role = 'manual'")
                .bind(id)
                .bind(name)
                .execute(&mut *tx.inner)
                .await?;
            audit::write(&mut tx, entry).await?;
        }
        let left = sqlx::query("SELECT 1 AS one FROM keys WHERE provider = $1 AND role <> 'dead' LIMIT 1")
            .bind(name)
            .fetch_optional(&mut *tx.inner)
            .await?;
        if left.is_some() {
            return Ok(false);
        }
        if forget {
            sqlx::query(
                "UPDATE providers SET removed_at = $1, base_url = NULL, base_url_seal = NULL WHERE name = $2",
            )
            .bind(tx.now.0)
            .bind(name)
            .execute(&mut *tx.inner)
            .await?;
        }
        audit::write(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// How each provider answered the last test of each active key.
    pub async fn answering(&self) -> Result<Vec<Answering>, StoreError> {
        let rows = sqlx::query(
            "SELECT provider, MAX(looked_at) AS tested_at, CAST(AVG(latency_ms) AS BIGINT) AS latency FROM keys
             WHERE is_active = 1 AND role IN ('current', 'manual') GROUP BY provider",
        )
        .fetch_all(self.pools.reader())
        .await?;
        let read = |row: &AnyRow| {
            Ok(Answering {
                provider: row.try_get("provider")?,
                tested_at: row.try_get::<Option<i64>, _>("tested_at")?.map(Timestamp),
                latency_ms: row.try_get("latency")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// How many keys there are of each provider and verdict.
    pub async fn count_by_verdict(&self) -> Result<Vec<KeyCount>, StoreError> {
        let rows = sqlx::query(
            "SELECT provider, verdict, is_active, COUNT(*) AS n FROM keys WHERE role <> 'dead' AND number IS NOT NULL
             GROUP BY provider, verdict, is_active ORDER BY provider, verdict, is_active",
        )
        .fetch_all(self.pools.reader())
        .await?;
        let count = |row: &AnyRow| {
            Ok(KeyCount {
                provider: row.try_get("provider")?,
                verdict: row.try_get("verdict")?,
                is_active: row.try_get::<i64, _>("is_active")? != 0,
                count: row.try_get("n")?,
            })
        };
        rows.iter().map(count).collect()
    }
}
