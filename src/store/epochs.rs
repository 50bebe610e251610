//! Which encryption keys are in force (R24): announced by processes, then sealing, then opening only, then retired.
//! The database knows their names, never the keys.

use sqlx::Row;

use super::audit::{self, AuditEntry};
use super::pool::Tx;
use super::{Store, StoreError, from_json, to_json};
use crate::crypto::EncryptionKeyId;
use crate::domain::time::{CLOCK_SLACK, Span, Timestamp};

/// A process that was not heard of for this long is dead; a living one announces itself several times meanwhile.
pub const HEARD_WITHIN: Span = Span::minutes(1);

/// A daemon, and which encryption keys it has.
#[derive(Debug, Clone)]
pub struct Process {
    /// Unique name of the process, as in leases.
    pub owner: String,
    /// Its encryption keys, in the order of its list.
    pub keys: Vec<EncryptionKeyId>,
    /// When it was last heard of, on the database's clock.
    pub seen_at: Timestamp,
}

/// What came of the wish to make another key the sealing one.
#[derive(Debug)]
pub enum Begun {
    /// It seals from now on.
    Sealing,
    /// These living processes do not have it: nothing was changed.
    Lacking(Vec<Process>),
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

    /// A daemon lives, and has these keys.
    pub async fn announce(&self, owner: &str, keys: &[EncryptionKeyId]) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        self.still_known(&mut tx).await?;
        sqlx::query(
            "INSERT INTO processes (owner, encryption_keys, seen_at) VALUES ($1, $2, $3)
             ON CONFLICT (owner) DO UPDATE SET encryption_keys = excluded.encryption_keys, seen_at = excluded.seen_at",
        )
        .bind(owner)
        .bind(to_json(&keys))
        .bind(tx.now.0)
        .execute(&mut *tx.inner)
        .await?;
        let (oldest, newest) = heard_between(tx.now);
        sqlx::query("DELETE FROM processes WHERE seen_at < $1 OR seen_at > $2")
            .bind(oldest)
            .bind(newest)
            .execute(&mut *tx.inner)
            .await?;
        tx.commit().await
    }

    /// It stops.
    pub async fn withdraw(&self, owner: &str) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        sqlx::query("DELETE FROM processes WHERE owner = $1").bind(owner).execute(&mut *tx.inner).await?;
        tx.commit().await
    }

    /// Daemons that live.
    pub async fn processes(&self) -> Result<Vec<Process>, StoreError> {
        let (oldest, newest) = heard_between(self.now().await?);
        let rows = sqlx::query(LIVING).bind(oldest).bind(newest).fetch_all(self.pools.reader()).await?;
        rows.iter().map(process).collect()
    }

    /// Makes this key the sealing one, unless a living process does not have it. Those before it go on opening.
    pub async fn begin_epoch(&self, key: &EncryptionKeyId, entry: &AuditEntry) -> Result<Begun, StoreError> {
        let mut tx = self.pools.begin().await?;
        let (oldest, newest) = heard_between(tx.now);
        // Before anybody else may seal with the old one, or announce a list without the new one.
        sqlx::query("UPDATE encryption_epochs SET state = 'opening' WHERE state = 'sealing'")
            .execute(&mut *tx.inner)
            .await?;
        let rows = sqlx::query(LIVING).bind(oldest).bind(newest).fetch_all(&mut *tx.inner).await?;
        let living = rows.iter().map(process).collect::<Result<Vec<_>, _>>()?;
        let lacking: Vec<Process> = living.into_iter().filter(|one| !one.keys.contains(key)).collect();
        if !lacking.is_empty() {
            return Ok(Begun::Lacking(lacking));
        }
        insert(&mut tx, key).await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(Begun::Sealing)
    }
}

const LIVING: &str =
    "SELECT owner, encryption_keys, seen_at FROM processes WHERE seen_at >= $1 AND seen_at <= $2
     ORDER BY owner";

/// R18: what was noted in the future was noted before the database's clock went back.
fn heard_between(now: Timestamp) -> (i64, i64) {
    (now.plus(Span(-HEARD_WITHIN.0)).0, now.plus(CLOCK_SLACK).0)
}

fn process(row: &sqlx::any::AnyRow) -> Result<Process, StoreError> {
    Ok(Process {
        owner: row.try_get("owner")?,
        keys: from_json(&row.try_get::<String, _>("encryption_keys")?, "processes.encryption_keys")?,
        seen_at: Timestamp(row.try_get("seen_at")?),
    })
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
