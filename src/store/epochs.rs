//! Which encryption keys are in force (R24): announced by processes, then sealing, then opening only, then retired.
//! The database knows their names, never the keys.

use sqlx::Row;

use super::audit::{self, AuditEntry};
use super::daemons::{self, Daemon};
use super::pool::Tx;
use super::{Store, StoreError};
use crate::crypto::EncryptionKeyId;
use crate::domain::time::Timestamp;

/// What came of the wish to make another key the sealing one.
#[derive(Debug)]
pub enum Begun {
    /// It seals from now on.
    Sealing,
    /// These living processes do not have it: nothing was changed.
    Lacking(Vec<Daemon>),
}

impl Store {
    /// The key that seals now; `None` before the first start.
    pub async fn sealing_key(&self) -> Result<Option<EncryptionKeyId>, StoreError> {
        let row = sqlx::query("SELECT key_id FROM encryption_epochs WHERE state = 'sealing'")
            .fetch_optional(self.pools.reader())
            .await?;
        let id: Option<String> = row.map(|row| row.try_get("key_id")).transpose()?;
        Ok(id.map(EncryptionKeyId::from_stored))
    }

    /// Makes this key the sealing one, unless a living process does not have it. Those before it go on opening.
    pub async fn begin_epoch(&self, key: &EncryptionKeyId, entry: &AuditEntry) -> Result<Begun, StoreError> {
        let mut tx = self.pools.begin().await?;
        // Before anybody else may seal with the old one, or announce a list without the new one.
        sqlx::query("UPDATE encryption_epochs SET state = 'opening' WHERE state = 'sealing'")
            .execute(&mut *tx.inner)
            .await?;
        let living = daemons::living(&mut tx).await?;
        let lacking: Vec<Daemon> = living.into_iter().filter(|one| !one.keys.contains(key)).collect();
        if !lacking.is_empty() {
            return Ok(Begun::Lacking(lacking));
        }
        insert(&mut tx, key).await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(Begun::Sealing)
    }
}

/// The key seals from now on; one that only opens seals again.
async fn insert(tx: &mut Tx, key: &EncryptionKeyId) -> Result<(), StoreError> {
    let again =
        sqlx::query("UPDATE encryption_epochs SET state = 'sealing' WHERE key_id = $1 AND state = 'opening'")
            .bind(key.as_str())
            .execute(&mut *tx.inner)
            .await?;
    if again.rows_affected() > 0 {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO encryption_epochs (epoch, key_id, state, began_at)
         SELECT COALESCE(MAX(epoch), 0) + 1, $1, 'sealing', $2 FROM encryption_epochs",
    )
    .bind(key.as_str())
    .bind(tx.now.0)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}

/// The very first epoch of a database. False when it has one already, or somebody else makes it now.
pub(super) async fn first(tx: &mut Tx, key: &EncryptionKeyId) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "INSERT INTO encryption_epochs (epoch, key_id, state, began_at) VALUES (1, $1, 'sealing', $2)
         ON CONFLICT DO NOTHING",
    )
    .bind(key.as_str())
    .bind(tx.now.0)
    .execute(&mut *tx.inner)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// What this key sealed may be stored: it is not retired, and is not until this transaction is over.
pub(super) async fn in_force(tx: &mut Tx, key: &EncryptionKeyId) -> Result<(), StoreError> {
    const HELD: &str =
        "UPDATE encryption_epochs SET key_id = key_id WHERE key_id = $1 AND state IN ('sealing', 'opening')";
    held(tx, HELD, key).await
}

/// This key seals now, and does until this transaction is over.
pub(super) async fn seals(tx: &mut Tx, key: &EncryptionKeyId) -> Result<(), StoreError> {
    held(tx, "UPDATE encryption_epochs SET key_id = key_id WHERE key_id = $1 AND state = 'sealing'", key)
        .await
}

async fn held(tx: &mut Tx, sql: &'static str, key: &EncryptionKeyId) -> Result<(), StoreError> {
    let done = sqlx::query(sql).bind(key.as_str()).execute(&mut *tx.inner).await?;
    if done.rows_affected() == 0 { Err(StoreError::EpochOver) } else { Ok(()) }
}

/// Keys that only open are retired. Nobody stores anything of theirs from here on: the rest of the transaction proves that
/// nothing is left.
pub(super) async fn retire(tx: &mut Tx, sealing: &EncryptionKeyId) -> Result<u64, StoreError> {
    // First of all, for whoever would make another one the sealing key meanwhile.
    seals(tx, sealing).await?;
    let done = sqlx::query(
        "UPDATE encryption_epochs SET state = 'retired', retired_at = $1 WHERE state = 'opening'",
    )
    .bind(tx.now.0)
    .execute(&mut *tx.inner)
    .await?;
    Ok(done.rows_affected())
}

/// True while a create that was intended after this moment may still bring a key.
pub(super) async fn create_under_way(tx: &mut Tx, after: Timestamp) -> Result<bool, StoreError> {
    let open = "SELECT kind, status, started_at FROM effects WHERE status IN ('intended', 'unknown')";
    let rows = sqlx::query(open).fetch_all(&mut *tx.inner).await?;
    for row in rows {
        let (kind, status): (String, String) = (row.try_get("kind")?, row.try_get("status")?);
        if kind == "create" && status == "intended" && row.try_get::<i64, _>("started_at")? > after.0 {
            return Ok(true);
        }
    }
    Ok(false)
}
