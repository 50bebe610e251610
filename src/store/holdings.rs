//! What stands at an address, whoever wrote it (R20): its writes in order, what each of them proved, and how somebody
//! else changed it since the last one. That is the address's, so every row of an address reads the same drift.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::leases::{self, Lease};
use super::pool::Tx;
use super::{Store, StoreError, from_json, key_writes, to_json};
use crate::domain::rotation::Level;
use crate::domain::rotation::facts::Holding;
use crate::domain::time::{Stamp, Timestamp, Until};

/// One address and one key.
#[derive(Debug, Clone)]
pub struct HoldingRow {
    /// What decisions use: address, key, level, drift, errors.
    pub fact: Holding,
    /// Who wrote it last: a rotation by its name, a mirror ([`mirror_of`]), or an account its provisioning key ([`copy_of`]).
    pub writer: String,
    /// Fingerprint of the key that was written, also of one that left the store, or that another one took the place of there;
    /// filled in when it is written.
    pub fingerprint: Option<String>,
    /// Order of the writes to this address.
    pub seq: i64,
    /// What the destination needs to recognise its own write; never key material.
    pub evidence: serde_json::Value,
    /// A person said that it no longer counts.
    pub released: bool,
    /// It cannot be read: the place may hold the key, proves nothing, and is left to a person (R21).
    pub damaged: bool,
}

/// A row as it was written, or what is wrong with it.
pub(super) fn holding_row(row: &AnyRow) -> Result<HoldingRow, StoreError> {
    let level: String = row.try_get("level")?;
    let checked: Option<String> = row.try_get("checked")?;
    let mut known = bare(row)?;
    known.fact.level = Level::parse(&level).ok_or(StoreError::Corrupt("holdings.level"))?;
    known.fact.checked = checked.map(|text| from_json::<Stamp>(&text, "holdings.checked")).transpose()?;
    known.evidence = from_json(&row.try_get::<String, _>("evidence")?, "holdings.evidence")?;
    Ok(known)
}

/// A row, whatever of it can be read. One that is damaged speaks against acting, and the others go on (R21): the place
/// may hold the key, nothing is proved of it, and nobody writes or looks there before a person says so.
fn lenient(row: &AnyRow) -> Result<HoldingRow, StoreError> {
    let column = match holding_row(row) {
        Err(StoreError::Corrupt(column)) => column,
        read => return read,
    };
    let mut damaged = bare(row)?;
    damaged.damaged = true;
    damaged.released = false;
    damaged.fact.permanent = true;
    damaged.fact.error = Some(format!(
        "what rekeyd noted of this address cannot be read ({column}): look at what stands there, then \
         `rekeyd destinations publish {}`",
        damaged.fact.destination
    ));
    Ok(damaged)
}

/// What of a row needs no parsing; it may hold the key, and nothing is proved.
fn bare(row: &AnyRow) -> Result<HoldingRow, StoreError> {
    Ok(HoldingRow {
        fact: Holding {
            address: row.try_get("address")?,
            destination: row.try_get("destination")?,
            key: row.try_get("key_id")?,
            level: Level::Intended,
            checked: None,
            drift: row.try_get("drift")?,
            error: row.try_get("error")?,
            permanent: row.try_get::<i64, _>("permanent")? != 0,
            attempts: u32::try_from(row.try_get::<i64, _>("attempts")?).unwrap_or(u32::MAX),
            until: Until {
                set_at: Timestamp(row.try_get("wait_set_at")?),
                at: Timestamp(row.try_get("not_before")?),
            },
            landing: Until {
                set_at: Timestamp(row.try_get("landing_set_at")?),
                at: Timestamp(row.try_get("landing_until")?),
            },
        },
        writer: row.try_get("writer")?,
        fingerprint: row.try_get("fingerprint")?,
        seq: row.try_get("seq")?,
        evidence: serde_json::Value::Null,
        released: row.try_get::<i64, _>("released")? != 0,
        damaged: false,
    })
}

/// What writes stored keys into this table. No rotation has such a name.
pub fn mirror_of(table: &str) -> String {
    format!("mirror:{table}")
}

/// Who writes the provisioning key of this account for scripts. No rotation has such a name.
pub fn copy_of(account: &str) -> String {
    format!("account:{account}")
}

/// What goes for the id of a provisioning key, which has no row, by its hash.
pub fn provisioning_key(hash: &str) -> String {
    format!("provisioning:{hash}")
}

impl Store {
    /// All rows of every address that may hold a key of this rotation, the newest write to an address first.
    pub async fn holdings(&self, rotation: &str) -> Result<Vec<HoldingRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT h.*, a.drift FROM holdings h JOIN addresses a ON a.address = h.address
             WHERE h.address IN (SELECT o.address FROM holdings o WHERE o.writer = $1
                OR o.key_id IN (SELECT k.id FROM keys k WHERE k.rotation = $1))
             ORDER BY h.address, h.seq DESC",
        )
        .bind(rotation)
        .fetch_all(self.pools.reader())
        .await?;
        rows.iter().map(lenient).collect()
    }

    /// All rows of one address, the newest write first.
    pub async fn holdings_at(&self, address: &str) -> Result<Vec<HoldingRow>, StoreError> {
        let rows = sqlx::query(AT).bind(address).fetch_all(self.pools.reader()).await?;
        rows.iter().map(lenient).collect()
    }

    /// All rows of every address to which this writer ever wrote, the newest write to an address first.
    pub async fn holdings_around(&self, writer: &str) -> Result<Vec<HoldingRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT h.*, a.drift FROM holdings h JOIN addresses a ON a.address = h.address
             WHERE h.address IN (SELECT o.address FROM holdings o WHERE o.writer = $1)
             ORDER BY h.address, h.seq DESC",
        )
        .bind(writer)
        .fetch_all(self.pools.reader())
        .await?;
        rows.iter().map(lenient).collect()
    }

    /// The intent to hand a stored key out at an address, and its place in the order of writes there. `None` when somebody
    /// ends that key at its provider: a test from before that says nothing any more. The key's row is locked, here and by
    /// the guard: one of the two sees the other.
    pub async fn intend_mirrored(
        &self,
        lease: &Lease,
        row: &HoldingRow,
        tested: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        let mut tx = self.pools.begin().await?;
        leases::hold(&mut tx, lease).await?;
        let Some(key) = key_writes::lock(&mut tx, &row.fact.key).await? else { return Ok(None) };
        let ends = sqlx::query(
            "SELECT COUNT(*) AS n FROM effects WHERE account = $1 AND target = $2 AND kind IN ('disable', 'delete')
             AND status <> 'failed' AND (finished_at IS NULL OR finished_at >= $3)",
        )
        .bind(&key.account)
        .bind(&key.hash)
        .bind(tested.0)
        .fetch_one(&mut *tx.inner)
        .await?;
        if ends.try_get::<i64, _>("n")? > 0 {
            return Ok(None);
        }
        let seq = put(&mut tx, row, true).await?;
        tx.commit().await?;
        Ok(Some(seq))
    }

    /// Rows of one key, wherever it may stand.
    pub async fn holdings_of(&self, key: &str) -> Result<Vec<HoldingRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT h.*, a.drift FROM holdings h JOIN addresses a ON a.address = h.address
             WHERE h.key_id = $1 AND h.level <> 'pending' ORDER BY h.address",
        )
        .bind(key)
        .fetch_all(self.pools.reader())
        .await?;
        rows.iter().map(lenient).collect()
    }
}

const AT: &str = "SELECT h.*, a.drift FROM holdings h JOIN addresses a ON a.address = h.address
     WHERE h.address = $1 ORDER BY h.seq DESC";

/// Rows of any key with this hash on this account, inside a transaction: who may hold it.
pub(super) async fn of_hash(tx: &mut Tx, account: &str, hash: &str) -> Result<Vec<HoldingRow>, StoreError> {
    let rows = sqlx::query(
        "SELECT h.*, a.drift FROM keys k JOIN holdings h ON k.id = h.key_id
         JOIN addresses a ON a.address = h.address
         WHERE k.account = $1 AND k.hash = $2 AND h.level <> 'pending'",
    )
    .bind(account)
    .bind(hash)
    .fetch_all(&mut *tx.inner)
    .await?;
    rows.iter().map(lenient).collect()
}

/// Rows of one address inside a transaction, the newest write first.
pub(super) async fn at(tx: &mut Tx, address: &str) -> Result<Vec<HoldingRow>, StoreError> {
    let rows = sqlx::query(AT).bind(address).fetch_all(&mut *tx.inner).await?;
    rows.iter().map(lenient).collect()
}

/// Writes a row, and the drift that it says onto its address. `fresh_write` gives it the next place in the order of
/// writes to its address, and takes from every other key of that address what it had proved: from the intent on, the
/// place may hold this one instead. Without that a rollback would believe an old proof, and leave the new key where the
/// old one once was. What could not be read of an earlier write is over with it (R21), and a person's release is (R20). A run that waits for a destination looks again at once,
/// whoever learned something of it. Answers its place in that order.
pub(super) async fn put(tx: &mut Tx, row: &HoldingRow, fresh_write: bool) -> Result<i64, StoreError> {
    if fresh_write {
        sqlx::query(
            "UPDATE holdings SET level = CASE level WHEN 'pending' THEN level ELSE 'intended' END,
               evidence = CASE WHEN evidence LIKE '{%}' THEN evidence ELSE 'null' END,
               checked = NULL, released = 0 WHERE address = $1 AND key_id <> $2",
        )
        .bind(&row.fact.address)
        .bind(&row.fact.key)
        .execute(&mut *tx.inner)
        .await?;
    }
    let numbered = fresh_write || row.seq == 0;
    let writes = touch(tx, row, numbered).await?;
    let seq = if numbered { writes } else { row.seq };
    sqlx::query(
        "INSERT INTO holdings (address, key_id, destination, writer, seq, level, evidence, checked, error,
           permanent, attempts, not_before, wait_set_at, released, updated_at, landing_set_at, landing_until,
           fingerprint)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
           COALESCE($18, (SELECT fingerprint FROM keys WHERE id = $2)))
         ON CONFLICT (address, key_id) DO UPDATE SET destination = excluded.destination, writer = excluded.writer,
           seq = excluded.seq, level = excluded.level, evidence = excluded.evidence, checked = excluded.checked,
           error = excluded.error, permanent = excluded.permanent, attempts = excluded.attempts,
           not_before = excluded.not_before, wait_set_at = excluded.wait_set_at, released = excluded.released,
           updated_at = excluded.updated_at, landing_set_at = excluded.landing_set_at,
           landing_until = excluded.landing_until, fingerprint = COALESCE(excluded.fingerprint, holdings.fingerprint)",
    )
    .bind(&row.fact.address)
    .bind(&row.fact.key)
    .bind(&row.fact.destination)
    .bind(&row.writer)
    .bind(seq)
    .bind(row.fact.level.word())
    .bind(to_json(&row.evidence))
    .bind(row.fact.checked.map(|stamp| to_json(&stamp)))
    .bind(&row.fact.error)
    .bind(i64::from(row.fact.permanent))
    .bind(i64::from(row.fact.attempts))
    .bind(row.fact.until.at.0)
    .bind(row.fact.until.set_at.0)
    .bind(i64::from(row.released))
    .bind(tx.now.0)
    .bind(row.fact.landing.set_at.0)
    .bind(row.fact.landing.at.0)
    .bind(&row.fingerprint)
    .execute(&mut *tx.inner)
    .await?;
    wake(tx, row).await?;
    Ok(seq)
}

/// Notes on the address what the row says of it, and another write when it is `numbered`. Answers how many it saw.
async fn touch(tx: &mut Tx, row: &HoldingRow, numbered: bool) -> Result<i64, StoreError> {
    let touched = sqlx::query(
        "INSERT INTO addresses (address, writes, drift, updated_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (address) DO UPDATE SET writes = addresses.writes + $2, drift = excluded.drift,
           updated_at = excluded.updated_at
         RETURNING writes",
    )
    .bind(&row.fact.address)
    .bind(i64::from(numbered))
    .bind(&row.fact.drift)
    .bind(tx.now.0)
    .fetch_one(&mut *tx.inner)
    .await?;
    Ok(touched.try_get("writes")?)
}

/// The runs of whoever wrote it, and of the key.
async fn wake(tx: &mut Tx, row: &HoldingRow) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE runs SET wake_at = 0 WHERE is_open = 1
         AND rotation IN ($1, (SELECT rotation FROM keys WHERE id = $2))",
    )
    .bind(&row.writer)
    .bind(&row.fact.key)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}

/// What a look showed, unless a write of that address began after the one with this number, the last that was known when it
/// was asked: it was asked before that one's end, and says nothing about the time after (R19). `newest`: this write is what
/// stands there, whichever came last.
pub(super) async fn seen(tx: &mut Tx, row: &HoldingRow, known: i64, newest: bool) -> Result<(), StoreError> {
    let later = sqlx::query(
        "SELECT COUNT(*) AS n FROM holdings WHERE address = $1 AND seq > $2
         AND (key_id = $3 OR (level <> 'pending' AND $2 > 0))",
    )
    .bind(&row.fact.address)
    .bind(known)
    .bind(&row.fact.key)
    .fetch_one(&mut *tx.inner)
    .await?;
    if later.try_get::<i64, _>("n")? > 0 { Ok(()) } else { put(tx, row, newest).await.map(drop) }
}

/// What somebody else changed at an address, seen without a write of ours that it would be about.
pub(super) async fn drift(tx: &mut Tx, address: &str, drift: Option<&str>) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO addresses (address, writes, drift, updated_at) VALUES ($1, 0, $2, $3)
         ON CONFLICT (address) DO UPDATE SET drift = excluded.drift, updated_at = excluded.updated_at",
    )
    .bind(address)
    .bind(drift)
    .bind(tx.now.0)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}

/// A person released a destination, by its name or its address: whoever wrote there, its rows for the keys of this
/// rotation no longer count.
pub(super) async fn release(tx: &mut Tx, rotation: &str, destination: &str) -> Result<(), StoreError> {
    // Not of the key that is current: one day it retires too, and nobody accepted anything about it.
    sqlx::query(
        "UPDATE holdings SET released = 1, updated_at = $1 WHERE (destination = $3 OR address = $3)
         AND key_id IN (SELECT id FROM keys WHERE rotation = $2 AND role <> 'current')",
    )
    .bind(tx.now.0)
    .bind(rotation)
    .bind(destination)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}

/// A person said "go on": failures are forgotten and tried again at once.
pub(super) async fn retry_now(tx: &mut Tx, rotation: &str) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE holdings SET permanent = 0, error = NULL, not_before = 0, updated_at = $1 WHERE writer = $2",
    )
    .bind(tx.now.0)
    .bind(rotation)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}
