//! What a person changes of a key that belongs to no rotation: under a lock, so that neither a test nor another person
//! comes in between.

use super::audit::{self, AuditEntry};
use super::key_writes::lock;
use super::keys::{About, KeyRow, PLACEHOLDER, Role};
use super::pool::Tx;
use super::{Store, StoreError, epochs, to_json};
use crate::crypto::Sealed;
use crate::domain::verdict::Health;

/// What changes; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct KeyEdit {
    /// Name for people.
    pub name: Option<String>,
    /// 100 production, 50–90 backup, below 50 testing.
    pub priority: Option<i64>,
    /// Tested and handed out.
    pub is_active: Option<bool>,
    /// Free JSON, whole.
    pub settings: Option<serde_json::Value>,
    /// What people say of it, whole.
    pub about: Option<About>,
    /// Another secret in its place.
    pub secret: Option<NewSecret>,
    /// Another second secret.
    pub api_secret: Option<Sealed>,
}

/// A secret that takes the place of another one: nothing that tests showed of that one holds.
#[derive(Debug, Clone)]
pub struct NewSecret {
    /// The key.
    pub sealed: Sealed,
    /// HMAC of it.
    pub fingerprint: String,
    /// What people see.
    pub mask: String,
    /// Identity at the provider.
    pub hash: Option<String>,
    /// It only stands where a key belongs.
    pub is_placeholder: bool,
}

impl Store {
    /// Changes a key. `None` when it is not there, or belongs to a rotation: that one changes it.
    pub async fn edit_key(
        &self,
        id: &str,
        edit: &KeyEdit,
        entry: &AuditEntry,
    ) -> Result<Option<KeyRow>, StoreError> {
        let mut tx = self.pools.begin().await?;
        let Some(row) = lock(&mut tx, id).await?.filter(|row| row.role == Role::Manual) else {
            return Ok(None);
        };
        write(&mut tx, row, edit).await?;
        if let Some(secret) = &edit.secret {
            replace_secret(&mut tx, id, secret).await?;
        }
        if let Some(sealed) = &edit.api_secret {
            replace_api_secret(&mut tx, id, sealed).await?;
        }
        audit::write(&mut tx, entry).await?;
        tx.commit().await?;
        self.key(id).await
    }
}

async fn write(tx: &mut Tx, row: KeyRow, edit: &KeyEdit) -> Result<(), StoreError> {
    let about = edit.about.clone().unwrap_or(row.about);
    // The warnings of an expiry are made of what tests remember.
    let health = Health { expires_at: about.expires_at, ..row.health };
    sqlx::query(
        "UPDATE keys SET name = $1, priority = $2, is_active = $3, settings = $4, owner = $5, note = $6,
           expires_at = $7, health = $8, updated_at = $9 WHERE id = $10",
    )
    .bind(edit.name.clone().unwrap_or(row.name))
    .bind(edit.priority.unwrap_or(row.priority))
    .bind(i64::from(edit.is_active.unwrap_or(row.is_active)))
    .bind(to_json(edit.settings.as_ref().unwrap_or(&row.settings)))
    .bind(about.owner)
    .bind(about.note)
    .bind(about.expires_at.map(|at| at.0))
    .bind(to_json(&health))
    .bind(tx.now.0)
    .bind(row.id)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}

async fn replace_secret(tx: &mut Tx, id: &str, secret: &NewSecret) -> Result<(), StoreError> {
    epochs::in_force(tx, &secret.sealed.by).await?;
    sqlx::query(
        "UPDATE keys SET secret = $1, fingerprint = $2, mask = $3, hash = $4, verdict = $5, detail = NULL,
           test = NULL, health = NULL, latency_ms = NULL, replaced_at = $6, next_look_at = $6, look_again = 0,
           looked_by = NULL, look_until = 0, looked_at = NULL, doubted_at = NULL, turned_bad_at = NULL
         WHERE id = $7",
    )
    .bind(&secret.sealed.token)
    .bind(&secret.fingerprint)
    .bind(&secret.mask)
    .bind(&secret.hash)
    .bind(if secret.is_placeholder { PLACEHOLDER } else { "untested" })
    .bind(tx.now.0)
    .bind(id)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}

async fn replace_api_secret(tx: &mut Tx, id: &str, sealed: &Sealed) -> Result<(), StoreError> {
    epochs::in_force(tx, &sealed.by).await?;
    sqlx::query("UPDATE keys SET api_secret = $1 WHERE id = $2")
        .bind(&sealed.token)
        .bind(id)
        .execute(&mut *tx.inner)
        .await?;
    Ok(())
}
