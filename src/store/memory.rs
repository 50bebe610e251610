//! What passes remember from one to the next, a JSON document a subject: marks of drift, the breaker, leaks, mirrors,
//! and of whole providers what their tests showed. The table is called `provider_health`, after its first user.

use serde_json::{Map, Value, json};
use sqlx::Row;

use super::leases::Lease;
use super::pool::Tx;
use super::{Change, Store, StoreError, change, from_json, to_json};

/// Which rotations wait for their healing, and since when: a document with a field for each.
pub const HEALING: &str = "healing";

/// When the last copy was made by `rekeyd db backup`: a moment.
pub const LAST_BACKUP: &str = "backup";

impl Store {
    /// What is remembered under this subject; the default before anything is.
    pub async fn memory<T: serde::de::DeserializeOwned + Default>(
        &self,
        subject: &str,
    ) -> Result<T, StoreError> {
        let row = sqlx::query("SELECT doc FROM provider_health WHERE subject = $1")
            .bind(subject)
            .fetch_optional(self.pools.reader())
            .await?;
        let Some(row) = row else { return Ok(T::default()) };
        from_json(&row.try_get::<String, _>("doc")?, "provider_health.doc")
    }

    /// The same, anew when what is remembered cannot be read: for what the next look finds out again.
    pub async fn memory_or_anew<T: serde::de::DeserializeOwned + Default>(
        &self,
        subject: &str,
    ) -> Result<T, StoreError> {
        match self.memory(subject).await {
            Err(StoreError::Corrupt(column)) => {
                tracing::warn!(subject, column, "what was remembered cannot be read; it begins anew");
                Ok(T::default())
            }
            read => read,
        }
    }

    /// Changes what is remembered, and what belongs to it, in one transaction: of several processes one at a time reads
    /// and writes it. What cannot be read begins anew.
    pub async fn revise<T: serde::de::DeserializeOwned + Default>(
        &self,
        subject: &str,
        decide: impl FnOnce(T) -> Vec<Change>,
    ) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        let doc = lock(&mut tx, subject).await?;
        for change in decide(from_json(&doc, "provider_health.doc").unwrap_or_default()) {
            change::apply(&mut tx, &Lease::nobody(), &change).await?;
        }
        tx.commit().await
    }

    /// Remembers what belongs to no lease: whoever writes it saw it.
    pub async fn note(&self, subject: &str, doc: &serde_json::Value) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        remember(&mut tx, subject, doc).await?;
        tx.commit().await
    }
}

/// What is remembered, for nobody else to change before the transaction ends; an empty document before anything is.
pub(super) async fn lock(tx: &mut Tx, subject: &str) -> Result<String, StoreError> {
    let row = sqlx::query(
        "INSERT INTO provider_health (subject, doc, updated_at) VALUES ($1, '{}', $2)
         ON CONFLICT (subject) DO UPDATE SET updated_at = excluded.updated_at RETURNING doc",
    )
    .bind(subject)
    .bind(tx.now.0)
    .fetch_one(&mut *tx.inner)
    .await?;
    Ok(row.try_get("doc")?)
}

/// Remembers it, over what was remembered before.
pub(super) async fn remember(tx: &mut Tx, subject: &str, doc: &serde_json::Value) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO provider_health (subject, doc, updated_at) VALUES ($1, $2, $3)
         ON CONFLICT (subject) DO UPDATE SET doc = excluded.doc, updated_at = excluded.updated_at",
    )
    .bind(subject)
    .bind(to_json(doc))
    .bind(tx.now.0)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}

/// Adds a rotation to those that wait for their healing; one that does stays as it is.
pub(super) async fn wants_healing(tx: &mut Tx, rotation: &str) -> Result<(), StoreError> {
    let doc = lock(tx, HEALING).await?;
    let mut waiting: Map<String, Value> = from_json(&doc, "provider_health.doc").unwrap_or_default();
    if waiting.contains_key(rotation) {
        return Ok(());
    }
    waiting.insert(rotation.to_owned(), json!({}));
    remember(tx, HEALING, &Value::Object(waiting)).await
}
