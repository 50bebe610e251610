//! Who is logged in. Rows hold a hash of the cookie, never the cookie.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::audit::{self, AuditEntry};
use super::damaged::readable;
use super::pool::Tx;
use super::users::{UserRow, user_row};
use super::{Store, StoreError};
use crate::domain::time::Timestamp;

/// A login that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Unique.
    pub id: String,
    /// Hash of the cookie.
    pub hash: String,
    /// Whose.
    pub user: String,
    /// Proves that rekeyd wrote whose it is.
    pub seal: String,
    /// From where they logged in.
    pub address: Option<String>,
    /// When they logged in.
    pub created_at: Timestamp,
    /// When they were seen last, to the minute.
    pub seen_at: Timestamp,
}

/// A login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// Unique.
    pub id: String,
    /// Hash of the cookie.
    pub hash: String,
    /// Whose.
    pub user: String,
    /// Proves that rekeyd wrote whose it is.
    pub seal: String,
    /// From where.
    pub address: Option<String>,
}

impl Store {
    /// Somebody logged in. Sessions that began before `oldest` are over for everybody, and leave the table. False when
    /// the person changed since `user` was read: what was proved of them is not true any more.
    pub async fn begin_session(
        &self,
        session: &NewSession,
        user: &UserRow,
        oldest: Timestamp,
        entry: &AuditEntry,
    ) -> Result<bool, StoreError> {
        let mut tx = self.pools.begin().await?;
        let same = "UPDATE users SET id = id WHERE id = $1 AND updated_at = $2 AND disabled_at IS NULL";
        let locked = sqlx::query(same).bind(&user.id).bind(user.updated_at.0).execute(&mut *tx.inner).await?;
        if locked.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query("DELETE FROM sessions WHERE created_at < $1")
            .bind(oldest.0)
            .execute(&mut *tx.inner)
            .await?;
        sqlx::query(
            "INSERT INTO sessions (id, hash, user_id, address, created_at, seen_at, seal)
             VALUES ($1, $2, $3, $4, $5, $5, $6)",
        )
        .bind(&session.id)
        .bind(&session.hash)
        .bind(&session.user)
        .bind(&session.address)
        .bind(tx.now.0)
        .bind(&session.seal)
        .execute(&mut *tx.inner)
        .await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The session of a cookie with this hash, and whose it is. Whether it is over is for the caller to say.
    pub async fn session_of(&self, hash: &str) -> Result<Option<(SessionRow, UserRow)>, StoreError> {
        let row = sqlx::query(
            "SELECT u.*, s.id AS session_id, s.address AS session_address, s.created_at AS session_created_at,
               s.seen_at AS session_seen_at, s.seal AS session_seal
             FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.hash = $1",
        )
        .bind(hash)
        .fetch_optional(self.pools.reader())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let user = user_row(&row)?;
        let session = SessionRow {
            id: row.try_get("session_id")?,
            hash: hash.to_owned(),
            user: user.id.clone(),
            seal: row.try_get("session_seal")?,
            address: row.try_get("session_address")?,
            created_at: Timestamp(row.try_get("session_created_at")?),
            seen_at: Timestamp(row.try_get("session_seen_at")?),
        };
        Ok(Some((session, user)))
    }

    /// The person of this session was here just now.
    pub async fn see_session(&self, id: &str) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        sqlx::query("UPDATE sessions SET seen_at = $2 WHERE id = $1")
            .bind(id)
            .bind(tx.now.0)
            .execute(&mut *tx.inner)
            .await?;
        tx.commit().await
    }

    /// Sessions, newest first: of one person, or of everybody.
    pub async fn sessions(&self, user: Option<&str>) -> Result<Vec<SessionRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM sessions WHERE user_id = COALESCE($1, user_id) ORDER BY created_at DESC, id DESC",
        )
        .bind(user)
        .fetch_all(self.pools.reader())
        .await?;
        Ok(readable(&rows, session_row))
    }

    /// Ends a session: one person's, or anybody's. False when there is none.
    pub async fn end_session(
        &self,
        id: &str,
        user: Option<&str>,
        entry: &AuditEntry,
    ) -> Result<bool, StoreError> {
        let mut tx = self.pools.begin().await?;
        let ended = sqlx::query("DELETE FROM sessions WHERE id = $1 AND user_id = COALESCE($2, user_id)")
            .bind(id)
            .bind(user)
            .execute(&mut *tx.inner)
            .await?;
        if ended.rows_affected() == 0 {
            return Ok(false);
        }
        audit::write(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Ends all sessions of a person.
pub(super) async fn end_all_of(tx: &mut Tx, user: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM sessions WHERE user_id = $1").bind(user).execute(&mut *tx.inner).await?;
    Ok(())
}

fn session_row(row: &AnyRow) -> Result<SessionRow, StoreError> {
    Ok(SessionRow {
        id: row.try_get("id")?,
        hash: row.try_get("hash")?,
        user: row.try_get("user_id")?,
        seal: row.try_get("seal")?,
        address: row.try_get("address")?,
        created_at: Timestamp(row.try_get("created_at")?),
        seen_at: Timestamp(row.try_get("seen_at")?),
    })
}
