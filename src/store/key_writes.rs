//! What happens to a key's row, each inside a transaction: stored, adopted, promoted, tested, buried.

use sqlx::Row;

use super::audit::{self, AuditEntry};
use super::keys::{self, AdoptedKey, KeyRow, NewKey, NewProvider, PLACEHOLDER, TestColumn};
use super::pool::Tx;
use super::{Store, StoreError, epochs, to_json};
use crate::domain::rotation::facts::KeyFacts;
use crate::domain::time::Timestamp;
use crate::domain::verdict::{Health, Observation};

impl Store {
    /// Stores a key that belongs to no rotation yet, and its provider when that is new.
    pub async fn add_key(
        &self,
        provider: &NewProvider,
        key: &NewKey,
        entry: &AuditEntry,
    ) -> Result<KeyRow, StoreError> {
        let mut tx = self.pools.begin().await?;
        ensure_provider(&mut tx, provider).await?;
        insert(&mut tx, key).await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await?;
        self.key(&key.id).await?.ok_or(StoreError::Corrupt("keys"))
    }

    /// Stores many keys that belong to no rotation, all or none. Answers their numbers.
    pub async fn add_keys(&self, rows: &[(NewProvider, NewKey, AuditEntry)]) -> Result<Vec<i64>, StoreError> {
        let mut tx = self.pools.begin().await?;
        let mut next = std::collections::BTreeMap::new();
        for (provider, _, _) in rows {
            *next.entry(&provider.name).or_insert(0) += 1;
        }
        for (name, first) in &mut next {
            if let Some((provider, _, _)) = rows.iter().find(|(provider, _, _)| provider.name == **name) {
                ensure_provider(&mut tx, provider).await?;
            }
            *first = take_numbers(&mut tx, name, *first).await?;
        }
        if let Some(sealed) = rows.iter().find_map(|(_, key, _)| key.secret.as_ref()) {
            epochs::in_force(&mut tx, &sealed.by).await?;
        }
        let mut numbers = Vec::new();
        for (provider, key, entry) in rows {
            let number = next.get_mut(&provider.name).expect("every provider took its numbers");
            insert_row(&mut tx, key, Some(*number)).await?;
            audit::write(&mut tx, entry).await?;
            numbers.push(*number);
            *number += 1;
        }
        tx.commit().await?;
        Ok(numbers)
    }

    /// Removes a key that belongs to no rotation. False when it is not there, or belongs to one.
    pub async fn remove_key(&self, id: &str, entry: &AuditEntry) -> Result<bool, StoreError> {
        let mut tx = self.pools.begin().await?;
        let done = sqlx::query("DELETE FROM keys WHERE id = $1 AND role = 'manual'")
            .bind(id)
            .execute(&mut *tx.inner)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        audit::write(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Hands a manually kept key out, or no longer.
    pub async fn set_active(&self, id: &str, is_active: bool, entry: &AuditEntry) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        sqlx::query("UPDATE keys SET is_active = $2, updated_at = $3 WHERE id = $1 AND role = 'manual'")
            .bind(id)
            .bind(i64::from(is_active))
            .bind(tx.now.0)
            .execute(&mut *tx.inner)
            .await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await
    }
}

/// Locks a row for the rest of the transaction, then reads it: nobody else's test comes in between.
pub(super) async fn lock(tx: &mut Tx, id: &str) -> Result<Option<KeyRow>, StoreError> {
    sqlx::query("UPDATE keys SET id = id WHERE id = $1").bind(id).execute(&mut *tx.inner).await?;
    keys::read(tx, id).await
}

/// Makes the provider when it is not there. One that was removed comes back, and its numbers go on where they were.
pub(super) async fn ensure_provider(tx: &mut Tx, provider: &NewProvider) -> Result<(), StoreError> {
    if let Some((_, sealed)) = &provider.endpoint {
        epochs::in_force(tx, &sealed.by).await?;
    }
    sqlx::query(
        "INSERT INTO providers (name, kind, base_url, base_url_seal, next_number, created_at, title)
         VALUES ($1, $2, $3, $4, 1, $5, $6)
         ON CONFLICT (name) DO UPDATE SET kind = EXCLUDED.kind, base_url = EXCLUDED.base_url,
           base_url_seal = EXCLUDED.base_url_seal, title = EXCLUDED.title, removed_at = NULL
         WHERE providers.removed_at IS NOT NULL",
    )
    .bind(&provider.name)
    .bind(&provider.kind)
    .bind(provider.endpoint.as_ref().map(|(url, _)| url))
    .bind(provider.endpoint.as_ref().map(|(_, sealed)| &sealed.token))
    .bind(tx.now.0)
    .bind(&provider.title)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}

/// The next number of the provider: highest ever used plus one, never reused.
async fn next_number(tx: &mut Tx, provider: &str) -> Result<i64, StoreError> {
    take_numbers(tx, provider, 1).await
}

/// The first of so many numbers in a row.
async fn take_numbers(tx: &mut Tx, provider: &str, count: i64) -> Result<i64, StoreError> {
    let row = sqlx::query(
        "UPDATE providers SET next_number = next_number + $2 WHERE name = $1 RETURNING next_number",
    )
    .bind(provider)
    .bind(count)
    .fetch_one(&mut *tx.inner)
    .await?;
    Ok(row.try_get::<i64, _>("next_number")? - count)
}

pub(super) async fn insert(tx: &mut Tx, key: &NewKey) -> Result<(), StoreError> {
    for sealed in [&key.secret, &key.api_secret].into_iter().flatten() {
        epochs::in_force(tx, &sealed.by).await?;
    }
    let number = if key.numbered { Some(next_number(tx, &key.provider).await?) } else { None };
    insert_row(tx, key, number).await
}

async fn insert_row(tx: &mut Tx, key: &NewKey, number: Option<i64>) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO keys (id, provider, number, name, priority, is_active, settings, secret, api_secret,
           fingerprint, mask, hash, account, rotation, generation, role, origin, issued_name, verdict,
           created_at, updated_at, owner, note, expires_at, next_look_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $20, $19, $19,
           $21, $22, $23, $19)",
    )
    .bind(&key.id)
    .bind(&key.provider)
    .bind(number)
    .bind(&key.name)
    .bind(key.priority)
    .bind(i64::from(key.is_active))
    .bind(to_json(&key.settings))
    .bind(key.secret.as_ref().map(|sealed| &sealed.token))
    .bind(key.api_secret.as_ref().map(|sealed| &sealed.token))
    .bind(&key.fingerprint)
    .bind(&key.mask)
    .bind(&key.hash)
    .bind(&key.account)
    .bind(&key.rotation)
    .bind(key.generation)
    .bind(key.role.word())
    .bind(key.origin.word())
    .bind(&key.issued_name)
    .bind(tx.now.0)
    .bind(if key.is_placeholder { PLACEHOLDER } else { "untested" })
    .bind(&key.about.owner)
    .bind(&key.about.note)
    .bind(key.about.expires_at.map(|at| at.0))
    .execute(&mut *tx.inner)
    .await?;
    stands_still(tx, &key.id, key.fingerprint.as_ref()).await
}

/// A secret that left the store and comes back stands where it stood: what is known of its addresses is this row's.
async fn stands_still(tx: &mut Tx, id: &str, fingerprint: Option<&String>) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE holdings SET key_id = $1 WHERE fingerprint = $2
         AND NOT EXISTS (SELECT 1 FROM keys WHERE keys.id = holdings.key_id)",
    )
    .bind(id)
    .bind(fingerprint)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}

/// Takes a stored key into a rotation as the given generation. Its secrets are sealed anew for what it is now.
pub(super) async fn adopt(tx: &mut Tx, key: &AdoptedKey) -> Result<(), StoreError> {
    for sealed in [&key.secret, &key.api_secret].into_iter().flatten() {
        epochs::in_force(tx, &sealed.by).await?;
    }
    sqlx::query(
        "UPDATE keys SET rotation = $1, generation = $2, account = $3, hash = $4, role = 'candidate',
           origin = 'adopted', secret = $5, api_secret = $6, updated_at = $7 WHERE id = $8",
    )
    .bind(&key.rotation)
    .bind(key.generation)
    .bind(&key.account)
    .bind(&key.hash)
    .bind(key.secret.as_ref().map(|sealed| &sealed.token))
    .bind(key.api_secret.as_ref().map(|sealed| &sealed.token))
    .bind(tx.now.0)
    .bind(&key.id)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}

/// Makes one generation current: it takes the rotation's number, and whoever was current is retiring.
pub(super) async fn promote(tx: &mut Tx, rotation: &str, id: &str) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT provider, number FROM keys WHERE id = $1")
        .bind(id)
        .fetch_one(&mut *tx.inner)
        .await?;
    let provider: String = row.try_get("provider")?;
    let own: Option<i64> = row.try_get("number")?;
    let row = sqlx::query("SELECT key_number FROM rotations WHERE name = $1")
        .bind(rotation)
        .fetch_one(&mut *tx.inner)
        .await?;
    let number = match row.try_get::<Option<i64>, _>("key_number")?.or(own) {
        Some(number) => number,
        None => next_number(tx, &provider).await?,
    };
    sqlx::query(
        "UPDATE keys SET role = CASE WHEN role = 'current' THEN 'retiring' ELSE role END, number = NULL, updated_at = $1
         WHERE rotation = $2 AND id <> $3 AND number IS NOT NULL",
    )
    .bind(tx.now.0)
    .bind(rotation)
    .bind(id)
    .execute(&mut *tx.inner)
    .await?;
    sqlx::query("UPDATE keys SET role = 'current', number = $1, updated_at = $2 WHERE id = $3")
        .bind(number)
        .bind(tx.now.0)
        .bind(id)
        .execute(&mut *tx.inner)
        .await?;
    sqlx::query("UPDATE rotations SET key_number = $1 WHERE name = $2")
        .bind(number)
        .bind(rotation)
        .execute(&mut *tx.inner)
        .await?;
    Ok(())
}

/// The provider no longer has it: the secrets go, the tombstone stays.
pub(super) async fn bury(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE keys SET role = 'dead', secret = NULL, api_secret = NULL, number = NULL, is_active = 0,
           updated_at = $1 WHERE id = $2",
    )
    .bind(tx.now.0)
    .bind(id)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}

/// Records a test: what decisions use, what people read, a row of the history, and when the next is due. Whoever had
/// claimed the key for it is done.
pub(super) async fn tested(
    tx: &mut Tx,
    id: &str,
    facts: &KeyFacts,
    health: &Health,
    seen: &Observation,
    next_look_at: Timestamp,
) -> Result<(), StoreError> {
    let column = TestColumn { last: facts.tested.clone(), refused_since: facts.refused_since };
    let looks_again = health.look_again_at() == Some(next_look_at);
    sqlx::query(
        "UPDATE keys SET test = $1, health = $2, verdict = $3, detail = $4, latency_ms = $5, updated_at = $6,
           next_look_at = $7, look_again = $8, looked_at = $9, doubted_at = $10, turned_bad_at = $11,
           looked_by = NULL, look_until = 0, expires_at = COALESCE($13, expires_at)
         WHERE id = $12",
    )
    .bind(to_json(&column))
    .bind(to_json(health))
    .bind(health.verdict.as_str())
    .bind(&seen.detail)
    .bind(i64::try_from(seen.latency_ms).unwrap_or(i64::MAX))
    .bind(tx.now.0)
    .bind(next_look_at.0)
    .bind(i64::from(looks_again))
    .bind(health.looked_at.map(|at| at.0))
    .bind(health.doubted_at().map(|at| at.0))
    .bind(health.turned_bad_at().map(|at| at.0))
    .bind(id)
    .bind(health.expires_at.map(|at| at.0))
    .execute(&mut *tx.inner)
    .await?;
    super::observations::insert(tx, id, health.looked_at.unwrap_or(tx.now), seen).await
}
