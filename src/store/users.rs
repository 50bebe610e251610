//! People who may log in.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::audit::{self, AuditEntry};
use super::damaged::readable;
use super::pool::Tx;
use super::{Store, StoreError, sessions};
use crate::domain::role::Role;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;

/// A person. Never removed, only disabled: audit rows go on naming them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    /// Unique.
    pub id: String,
    /// Lower case, unique.
    pub email: String,
    /// What they may.
    pub role: Role,
    /// The hash of their password as a PHC string; `None` for who logs in elsewhere.
    pub password: Option<Secret>,
    /// Proves that rekeyd wrote what they may.
    pub seal: String,
    /// Since when they may do nothing.
    pub disabled_at: Option<Timestamp>,
    /// Since when they are known.
    pub created_at: Timestamp,
    /// When role, password or `disabled_at` changed last.
    pub updated_at: Timestamp,
}

/// A person to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// Unique.
    pub id: String,
    /// Lower case.
    pub email: String,
    /// What they may.
    pub role: Role,
    /// The hash of their password as a PHC string.
    pub password: Option<Secret>,
    /// Proves that rekeyd wrote what they may.
    pub seal: String,
}

/// What changes of a person; `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserChange {
    /// What they may.
    pub role: Option<Role>,
    /// The hash of a new password as a PHC string.
    pub password: Option<Secret>,
    /// Whether they may do nothing any more.
    pub disabled: Option<bool>,
}

impl UserChange {
    fn of(&self, user: &UserRow, now: Timestamp) -> UserRow {
        UserRow {
            role: self.role.unwrap_or(user.role),
            password: self.password.clone().or_else(|| user.password.clone()),
            disabled_at: match self.disabled {
                Some(true) => user.disabled_at.or(Some(now)),
                Some(false) => None,
                None => user.disabled_at,
            },
            updated_at: now,
            ..user.clone()
        }
    }
}

impl UserRow {
    fn is_admin(&self) -> bool {
        self.role == Role::Admin && self.disabled_at.is_none()
    }
}

impl Store {
    /// Adds a person. The index `users_email` refuses a second one of that address.
    pub async fn add_user(&self, user: &NewUser, entry: &AuditEntry) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        sqlx::query(
            "INSERT INTO users (id, email, role, password, created_at, updated_at, seal)
             VALUES ($1, $2, $3, $4, $5, $5, $6)",
        )
        .bind(&user.id)
        .bind(&user.email)
        .bind(user.role.word())
        .bind(user.password.as_ref().map(|hash| hash.expose().to_owned()))
        .bind(tx.now.0)
        .bind(&user.seal)
        .execute(&mut *tx.inner)
        .await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await
    }

    /// Everybody, by address.
    pub async fn users(&self) -> Result<Vec<UserRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM users ORDER BY email").fetch_all(self.pools.reader()).await?;
        Ok(readable(&rows, user_row))
    }

    /// One person, by id.
    pub async fn user(&self, id: &str) -> Result<Option<UserRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM users WHERE id = $1")
            .bind(id)
            .fetch_optional(self.pools.reader())
            .await?;
        row.as_ref().map(user_row).transpose()
    }

    /// Whether there is anybody who is not disabled.
    pub async fn has_users(&self) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT id FROM users WHERE disabled_at IS NULL LIMIT 1");
        Ok(row.fetch_optional(self.pools.reader()).await?.is_some())
    }

    /// One person, by address in lower case.
    pub async fn user_of(&self, email: &str) -> Result<Option<UserRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM users WHERE email = $1")
            .bind(email)
            .fetch_optional(self.pools.reader())
            .await?;
        row.as_ref().map(user_row).transpose()
    }

    /// Changes a person and ends all their sessions. `None` when nobody has this id; the row as it was and as it is now
    /// otherwise; [`StoreError::LastAdmin`] when nobody would be left who may everything. A row that does not have the
    /// seal that belongs to it was written by somebody else, and gets none by being changed.
    pub async fn change_user(
        &self,
        id: &str,
        change: &UserChange,
        seal: impl Fn(&UserRow) -> String,
        entry: impl FnOnce(&UserRow, &UserRow) -> AuditEntry,
    ) -> Result<Option<UserRow>, StoreError> {
        let mut tx = self.pools.begin().await?;
        let admins = lock_admins(&mut tx).await?;
        let row =
            sqlx::query("SELECT * FROM users WHERE id = $1").bind(id).fetch_optional(&mut *tx.inner).await?;
        let Some(before) = row.as_ref().map(user_row).transpose()? else { return Ok(None) };
        if seal(&before) != before.seal {
            return Err(StoreError::Corrupt("users.seal"));
        }
        let after = change.of(&before, tx.now);
        if before.is_admin() && !after.is_admin() && admins.iter().all(|admin| admin == id) {
            return Err(StoreError::LastAdmin);
        }
        sqlx::query(
            "UPDATE users SET role = $2, password = $3, disabled_at = $4, updated_at = $5, seal = $6 WHERE id = $1",
        )
        .bind(id)
        .bind(after.role.word())
        .bind(after.password.as_ref().map(|hash| hash.expose().to_owned()))
        .bind(after.disabled_at.map(|at| at.0))
        .bind(tx.now.0)
        .bind(seal(&after))
        .execute(&mut *tx.inner)
        .await?;
        sessions::end_all_of(&mut tx, id).await?;
        audit::write(&mut tx, &entry(&before, &after)).await?;
        tx.commit().await?;
        Ok(Some(after))
    }

    /// Notes that somebody logged in from there.
    pub async fn know_address(&self, user: &str, address: &str) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        sqlx::query(
            "INSERT INTO known_addresses (user_id, address, at) VALUES ($1, $2, $3)
             ON CONFLICT (user_id, address) DO UPDATE SET at = excluded.at",
        )
        .bind(user)
        .bind(address)
        .bind(tx.now.0)
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }

    /// Whether this person logged in from there at or after `since`.
    pub async fn knows_address(
        &self,
        user: &str,
        address: &str,
        since: Timestamp,
    ) -> Result<bool, StoreError> {
        let row =
            sqlx::query("SELECT at FROM known_addresses WHERE user_id = $1 AND address = $2 AND at >= $3")
                .bind(user)
                .bind(address)
                .bind(since.0)
                .fetch_optional(self.pools.reader())
                .await?;
        Ok(row.is_some())
    }
}

/// Locks the rows of all admins that may act, so that two of them cannot disable each other at once.
async fn lock_admins(tx: &mut Tx) -> Result<Vec<String>, StoreError> {
    let rows =
        sqlx::query("UPDATE users SET id = id WHERE role = 'admin' AND disabled_at IS NULL RETURNING id")
            .fetch_all(&mut *tx.inner)
            .await?;
    rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
}

pub(super) fn user_row(row: &AnyRow) -> Result<UserRow, StoreError> {
    let role: String = row.try_get("role")?;
    let time = |column: &str| Ok::<_, StoreError>(Timestamp(row.try_get(column)?));
    Ok(UserRow {
        id: row.try_get("id")?,
        email: row.try_get("email")?,
        role: Role::parse(&role).ok_or(StoreError::Corrupt("users.role"))?,
        password: row.try_get::<Option<String>, _>("password")?.map(Secret::new),
        seal: row.try_get("seal")?,
        disabled_at: row.try_get::<Option<i64>, _>("disabled_at")?.map(Timestamp),
        created_at: time("created_at")?,
        updated_at: time("updated_at")?,
    })
}
