//! What the store knows of what others show: hashes and names of a listing, fingerprints of a finding. Each answer
//! costs what is asked for, never the whole table: tombstones and names of creates stay for ever.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::damaged::readable;
use super::effects::EffectStatus;
use super::keys::{KeyRow, key_row, lenient};
use super::{Store, StoreError, from_json};
use crate::domain::key::KeySpec;

/// So many values in one statement: SQLite takes at most 32,766.
const AT_ONCE: usize = 500;

/// A current key and what it was allowed when the provider last showed it.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownSpec {
    /// Its rotation.
    pub rotation: String,
    /// Its hash.
    pub hash: String,
    /// What it was allowed.
    pub spec: Option<KeySpec>,
}

/// What became of a create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// A key was stored; its hash, where the evidence can be read.
    Done(Option<String>),
    /// No key was, whatever the provider made.
    Never,
}

fn created(row: &AnyRow) -> Result<Created, StoreError> {
    if row.try_get::<String, _>("status")? != EffectStatus::Done.word() {
        return Ok(Created::Never);
    }
    let evidence: Option<serde_json::Value> =
        serde_json::from_str(&row.try_get::<String, _>("evidence")?).ok();
    let hash = evidence.and_then(|evidence| evidence["hash"].as_str().map(str::to_owned));
    Ok(Created::Done(hash))
}

impl Store {
    /// Rotations of an account whose current key was found invalid.
    pub async fn dead_currents(&self, account: &str) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query(
            "SELECT rotation FROM keys
             WHERE account = $1 AND role <> 'dead' AND role = 'current' AND verdict = 'invalid' AND rotation IS NOT NULL",
        )
        .bind(account)
        .fetch_all(self.pools.reader())
        .await?;
        rows.iter().map(|row| Ok(row.try_get("rotation")?)).collect()
    }

    /// Those of these hashes that any row has, of a living key or of a tombstone.
    pub async fn known_hashes(&self, hashes: &[String]) -> Result<BTreeSet<String>, StoreError> {
        self.those_of("SELECT hash FROM keys WHERE hash IN (MARKS)", hashes).await
    }

    /// Those of these names that this store ever intended to create (R6, I3), and what became of them.
    pub async fn journalled(&self, names: &[String]) -> Result<BTreeMap<String, Created>, StoreError> {
        let select =
            "SELECT target, status, evidence FROM effects WHERE kind = 'create' AND target IN (MARKS)";
        let rows = self.rows_of(select, names).await?;
        let by_name = |row: &AnyRow| Ok((row.try_get("target")?, created(row)?));
        rows.iter().map(by_name).collect()
    }

    /// Living keys with these fingerprints: fingerprint, provider and number of each.
    pub async fn numbers_of(
        &self,
        fingerprints: &[String],
    ) -> Result<Vec<(String, String, Option<i64>)>, StoreError> {
        let select =
            "SELECT fingerprint, provider, number FROM keys WHERE role <> 'dead' AND fingerprint IN (MARKS)";
        let rows = self.rows_of(select, fingerprints).await?;
        let known = |row: &AnyRow| {
            Ok((row.try_get("fingerprint")?, row.try_get("provider")?, row.try_get("number")?))
        };
        rows.iter().map(known).collect()
    }

    /// Fingerprints that more than one living key has, so many at the most.
    pub async fn double_fingerprints(&self, most: i64) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query(
            "SELECT fingerprint FROM keys WHERE role <> 'dead' AND fingerprint IS NOT NULL AND verdict <> 'placeholder'
             GROUP BY fingerprint HAVING COUNT(*) > 1 ORDER BY fingerprint LIMIT $1",
        )
        .bind(most)
        .fetch_all(self.pools.reader())
        .await?;
        rows.iter().map(|row| Ok(row.try_get("fingerprint")?)).collect()
    }

    /// Providers with active keys that belong to nobody and to no rotation, and how many.
    pub async fn ownerless_keys(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT provider, COUNT(*) AS n FROM keys WHERE role <> 'dead' AND role = 'manual' AND owner IS NULL
               AND is_active = 1 GROUP BY provider ORDER BY provider",
        )
        .fetch_all(self.pools.reader())
        .await?;
        rows.iter().map(|row| Ok((row.try_get("provider")?, row.try_get("n")?))).collect()
    }

    async fn those_of(&self, select: &str, values: &[String]) -> Result<BTreeSet<String>, StoreError> {
        let rows = self.rows_of(select, values).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    async fn rows_of(&self, select: &str, values: &[String]) -> Result<Vec<AnyRow>, StoreError> {
        let mut found = Vec::new();
        for values in values.chunks(AT_ONCE) {
            let marks: Vec<String> = (1..=values.len()).map(|n| format!("${n}")).collect();
            let sql = AssertSqlSafe(select.replace("MARKS", &marks.join(", ")));
            let query = values.iter().fold(sqlx::query(sql), |query, value| query.bind(value.clone()));
            found.extend(query.fetch_all(self.pools.reader()).await?);
        }
        Ok(found)
    }

    /// Hashes of the keys of an account that are no tombstones.
    pub async fn living_hashes(&self, account: &str) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query(
            "SELECT hash FROM keys WHERE account = $1 AND role <> 'dead' AND hash IS NOT NULL ORDER BY hash",
        )
        .bind(account)
        .fetch_all(self.pools.reader())
        .await?;
        rows.iter().map(|row| Ok(row.try_get("hash")?)).collect()
    }

    /// Whether any key, living or dead, ever belonged to an account.
    pub async fn has_keys(&self, account: &str) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT 1 AS one FROM keys WHERE account = $1 AND hash IS NOT NULL LIMIT 1")
            .bind(account)
            .fetch_optional(self.pools.reader())
            .await?;
        Ok(row.is_some())
    }

    /// The current keys of an account with what is remembered of them.
    pub async fn current_specs(&self, account: &str) -> Result<Vec<KnownSpec>, StoreError> {
        let rows = sqlx::query(
            "SELECT k.rotation, k.hash, r.spec FROM keys k JOIN rotations r ON r.name = k.rotation
             WHERE k.account = $1 AND k.role <> 'dead' AND k.role = 'current' AND k.hash IS NOT NULL",
        )
        .bind(account)
        .fetch_all(self.pools.reader())
        .await?;
        let known = |row: &AnyRow| {
            let spec: Option<String> = row.try_get("spec")?;
            Ok(KnownSpec {
                rotation: row.try_get("rotation")?,
                hash: row.try_get("hash")?,
                spec: spec.map(|doc| from_json(&doc, "rotations.spec")).transpose()?,
            })
        };
        Ok(readable(&rows, known))
    }

    /// Living keys with this hash, of any account, by age.
    pub async fn keys_with_hash(&self, hash: &str) -> Result<Vec<KeyRow>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM keys WHERE hash = $1 AND role <> 'dead' ORDER BY created_at, id")
                .bind(hash)
                .fetch_all(self.pools.reader())
                .await?;
        rows.iter().map(key_row).collect()
    }

    /// Keys with this secret, by fingerprint, or by hash where we never had the secret; tombstones too. False when a row
    /// of one cannot be read at all (R21).
    pub async fn keys_of_secret(
        &self,
        fingerprint: &str,
        hash: &str,
    ) -> Result<(Vec<KeyRow>, bool), StoreError> {
        let rows =
            sqlx::query("SELECT * FROM keys WHERE fingerprint = $1 OR hash = $2 ORDER BY created_at, id")
                .bind(fingerprint)
                .bind(hash)
                .fetch_all(self.pools.reader())
                .await?;
        let keys: Vec<KeyRow> = readable(&rows, |row| Ok(lenient(row)?.0));
        let whole = keys.len() == rows.len();
        Ok((keys, whole))
    }

    /// Keys of a provider that are no tombstones and can be read, by number; those without one last.
    pub async fn living_keys(&self, provider: &str) -> Result<Vec<KeyRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM keys WHERE provider = $1 AND role <> 'dead'
             ORDER BY COALESCE(number, 1000000000), created_at, id",
        )
        .bind(provider)
        .fetch_all(self.pools.reader())
        .await?;
        Ok(readable(&rows, key_row))
    }

    /// A provider's key that counts most: active before inactive, then by priority, then by number. No placeholder is.
    pub async fn first_key(&self, provider: &str) -> Result<Option<KeyRow>, StoreError> {
        let row = sqlx::query(
            "SELECT * FROM keys WHERE provider = $1 AND role <> 'dead' AND role IN ('current', 'manual')
               AND secret IS NOT NULL AND verdict <> 'placeholder'
             ORDER BY is_active DESC, priority DESC, COALESCE(number, 1000000000), id LIMIT 1",
        )
        .bind(provider)
        .fetch_optional(self.pools.reader())
        .await?;
        row.as_ref().map(key_row).transpose()
    }

    /// Keys with this fingerprint, tombstones last.
    pub async fn keys_with_fingerprint(&self, fingerprint: &str) -> Result<Vec<KeyRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM keys WHERE fingerprint = $1
             ORDER BY CASE role WHEN 'dead' THEN 1 ELSE 0 END, created_at, id",
        )
        .bind(fingerprint)
        .fetch_all(self.pools.reader())
        .await?;
        Ok(readable(&rows, |row| Ok(lenient(row)?.0)))
    }
}
