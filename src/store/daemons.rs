//! Which daemons live, by which configuration they work, and which encryption keys they have: a command line beside one
//! watches instead of working (R22), and no key seals that one of them lacks (R24).

use std::collections::BTreeMap;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::pool::Tx;
use super::{Store, StoreError, from_json, to_json};
use crate::crypto::EncryptionKeyId;
use crate::domain::time::{CLOCK_SLACK, Span, Timestamp};

/// A daemon that was not heard of for this long is dead; a living one says so several times meanwhile.
const HEARD_WITHIN: Span = Span::minutes(1);

/// A daemon that lives.
#[derive(Debug, Clone)]
pub struct Daemon {
    /// Unique name of the process, as in leases.
    pub owner: String,
    /// What its configuration says of each rotation, as a fingerprint.
    pub policies: BTreeMap<String, String>,
    /// Its encryption keys, in the order of its list.
    pub keys: Vec<EncryptionKeyId>,
    /// When it was last heard of, on the database's clock.
    pub seen_at: Timestamp,
}

impl Daemon {
    /// To one that was silent for so long nobody leaves any work.
    pub const SILENT: Span = Span::seconds(15);

    /// True when its configuration says this, as a fingerprint, of a rotation.
    pub fn works(&self, rotation: &str, policy: &str) -> bool {
        self.policies.get(rotation).is_some_and(|said| said == policy)
    }
}

impl Store {
    /// Says that a daemon lives. Those that died without a word are forgotten.
    pub async fn announce(
        &self,
        owner: &str,
        policies: &BTreeMap<String, String>,
        keys: &[EncryptionKeyId],
    ) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        self.still_known(&mut tx).await?;
        sqlx::query(
            "INSERT INTO daemons (owner, policies, encryption_keys, seen_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (owner) DO UPDATE SET policies = excluded.policies,
               encryption_keys = excluded.encryption_keys, seen_at = excluded.seen_at",
        )
        .bind(owner)
        .bind(to_json(policies))
        .bind(to_json(&keys))
        .bind(tx.now.0)
        .execute(&mut *tx.inner)
        .await?;
        let (oldest, newest) = heard_between(tx.now, HEARD_WITHIN);
        sqlx::query("DELETE FROM daemons WHERE seen_at < $1 OR seen_at > $2")
            .bind(oldest)
            .bind(newest)
            .execute(&mut *tx.inner)
            .await?;
        tx.commit().await
    }

    /// Says that a daemon stops.
    pub async fn take_leave(&self, owner: &str) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        sqlx::query("DELETE FROM daemons WHERE owner = $1").bind(owner).execute(&mut *tx.inner).await?;
        tx.commit().await
    }

    /// Daemons that were heard of within this time, a minute at most.
    pub async fn daemons(&self, within: Span) -> Result<Vec<Daemon>, StoreError> {
        let (oldest, newest) = heard_between(self.now().await?, within.min(HEARD_WITHIN));
        let rows = sqlx::query(LIVING).bind(oldest).bind(newest).fetch_all(self.pools.reader()).await?;
        rows.iter().map(daemon).collect()
    }
}

const LIVING: &str = "SELECT owner, policies, encryption_keys, seen_at FROM daemons
     WHERE seen_at >= $1 AND seen_at <= $2 ORDER BY owner";

/// Those that live, inside a transaction.
pub(super) async fn living(tx: &mut Tx) -> Result<Vec<Daemon>, StoreError> {
    let (oldest, newest) = heard_between(tx.now, HEARD_WITHIN);
    let rows = sqlx::query(LIVING).bind(oldest).bind(newest).fetch_all(&mut *tx.inner).await?;
    rows.iter().map(daemon).collect()
}

/// R18: what was noted in the future was noted before the database's clock went back.
fn heard_between(now: Timestamp, within: Span) -> (i64, i64) {
    (now.plus(Span(-within.0)).0, now.plus(CLOCK_SLACK).0)
}

fn daemon(row: &AnyRow) -> Result<Daemon, StoreError> {
    Ok(Daemon {
        owner: row.try_get("owner")?,
        policies: from_json(&row.try_get::<String, _>("policies")?, "daemons.policies")?,
        keys: from_json(&row.try_get::<String, _>("encryption_keys")?, "daemons.encryption_keys")?,
        seen_at: Timestamp(row.try_get("seen_at")?),
    })
}
