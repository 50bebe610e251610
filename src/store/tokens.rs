//! Tokens of programs. Rows hold a hash of the token, never the token.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::audit::{self, AuditEntry};
use super::damaged::readable;
use super::{Store, StoreError, from_json, to_json};
use crate::domain::role::Role;
use crate::domain::time::Timestamp;

/// A token of a program. One that was revoked stays, so that its name in the audit means something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Unique.
    pub id: String,
    /// Unique among those that are not revoked.
    pub name: String,
    /// Hash of the token.
    pub hash: String,
    /// What it may.
    pub role: Role,
    /// The providers whose credentials it may fetch; `None` for all.
    pub providers: Option<Vec<String>>,
    /// Id of the person whose token it is; it may no more than they may.
    pub owner: Option<String>,
    /// Proves that rekeyd wrote what it may.
    pub seal: String,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was used last, to ten minutes.
    pub used_at: Option<Timestamp>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
}

impl Store {
    /// Adds a token that was not used yet. The index `tokens_name` refuses a second one of that name.
    pub async fn add_token(&self, token: &TokenRow, entry: &AuditEntry) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        sqlx::query(
            "INSERT INTO tokens (id, name, hash, role, providers, owner, created_by, created_at, expires_at, seal)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(&token.id)
        .bind(&token.name)
        .bind(&token.hash)
        .bind(token.role.word())
        .bind(token.providers.as_ref().map(to_json))
        .bind(&token.owner)
        .bind(&token.created_by)
        .bind(token.created_at.0)
        .bind(token.expires_at.map(|at| at.0))
        .bind(&token.seal)
        .execute(&mut *tx.inner)
        .await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await
    }

    /// The token with this hash that was not revoked. Whether it is over is for the caller to say.
    pub async fn token_of(&self, hash: &str) -> Result<Option<TokenRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM tokens WHERE hash = $1 AND revoked_at IS NULL")
            .bind(hash)
            .fetch_optional(self.pools.reader())
            .await?;
        row.as_ref().map(token_row).transpose()
    }

    /// Tokens that were not revoked, by name: of one person, or of everybody.
    pub async fn tokens(&self, owner: Option<&str>) -> Result<Vec<TokenRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM tokens
             WHERE revoked_at IS NULL AND ($1 IS NULL OR owner = $1) ORDER BY name",
        )
        .bind(owner)
        .fetch_all(self.pools.reader())
        .await?;
        Ok(readable(&rows, token_row))
    }

    /// Notes that a token was used.
    pub async fn use_token(&self, id: &str) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        sqlx::query("UPDATE tokens SET used_at = $2 WHERE id = $1")
            .bind(id)
            .bind(tx.now.0)
            .execute(&mut *tx.inner)
            .await?;
        tx.commit().await
    }

    /// Takes a token back. False when it was already.
    pub async fn revoke_token(&self, id: &str, entry: &AuditEntry) -> Result<bool, StoreError> {
        let mut tx = self.pools.begin().await?;
        let done = sqlx::query("UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
            .bind(id)
            .bind(tx.now.0)
            .execute(&mut *tx.inner)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        audit::write(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(true)
    }
}

fn token_row(row: &AnyRow) -> Result<TokenRow, StoreError> {
    let role: String = row.try_get("role")?;
    let providers: Option<String> = row.try_get("providers")?;
    let time = |column: &str| Ok::<_, StoreError>(row.try_get::<Option<i64>, _>(column)?.map(Timestamp));
    Ok(TokenRow {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        hash: row.try_get("hash")?,
        role: Role::parse(&role).ok_or(StoreError::Corrupt("tokens.role"))?,
        providers: providers.map(|text| from_json(&text, "tokens.providers")).transpose()?,
        owner: row.try_get("owner")?,
        seal: row.try_get("seal")?,
        created_by: row.try_get("created_by")?,
        created_at: Timestamp(row.try_get("created_at")?),
        expires_at: time("expires_at")?,
        used_at: time("used_at")?,
        revoked_at: time("revoked_at")?,
    })
}
