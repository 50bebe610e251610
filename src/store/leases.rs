//! Leases and fences (R4): who may write for an account, for how long, on the database's clock.

use sqlx::Row;

use super::pool::Tx;
use super::{Store, StoreError};
use crate::domain::time::{CLOCK_SLACK, Span, Timestamp, Until};

/// The right of one process to work on one resource, for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What it is for, e.g. `account:org:acme`.
    pub resource: String,
    /// Which process holds it.
    pub owner: String,
    /// Grows by one with every take-over: a write under an older fence changes nothing (I6).
    pub fence: i64,
    /// When it ends, on the database's clock.
    pub expires_at: Timestamp,
    /// What was left when the database last said so.
    pub granted: Span,
}

/// Who waits says so at least this often; one that has fallen silent waits no more.
const SAID: Span = Span::seconds(5);

/// A lease as others see it.
struct LeaseRow {
    held: Until,
    /// The highest rank that waits.
    rank: i64,
    /// For how long that counts.
    waiting: Until,
}

impl Lease {
    /// For changes that no run is part of: its fence is nobody's.
    pub(super) fn nobody() -> Self {
        let (resource, owner) = (String::new(), String::new());
        Self { resource, owner, fence: -1, expires_at: Timestamp(0), granted: Span::ZERO }
    }
}

impl Store {
    /// Takes the lease when nobody holds it; `None` when somebody does. One that was granted in the future is over: the
    /// database's clock went back (R18). Only more than [`CLOCK_SLACK`] ahead is the future: who is granted a lease
    /// while this transaction waits for the row read a later clock than it. Under [`StoreError::NewerSchema`] nobody works:
    /// a newer program has migrated the database, and this one does not know what its rows mean now.
    pub async fn acquire(
        &self,
        resource: &str,
        owner: &str,
        span: Span,
    ) -> Result<Option<Lease>, StoreError> {
        self.acquire_as(resource, owner, span, i64::MAX).await
    }

    /// The same for somebody of this rank (R22): `None` also while somebody of a higher one waits. Nobody is said to wait
    /// for a lease that was just taken; who still does says so again.
    pub async fn acquire_as(
        &self,
        resource: &str,
        owner: &str,
        span: Span,
        rank: i64,
    ) -> Result<Option<Lease>, StoreError> {
        let mut tx = self.pools.begin().await?;
        self.still_known(&mut tx).await?;
        let expires_at = tx.now.plus(span);
        let row = sqlx::query(
            "INSERT INTO leases (resource, owner, fence, expires_at, granted_at) VALUES ($1, $2, 1, $3, $4)
             ON CONFLICT (resource) DO UPDATE
             SET owner = excluded.owner, fence = leases.fence + 1, expires_at = excluded.expires_at,
               granted_at = excluded.granted_at, waiting = 0
             WHERE (leases.expires_at <= $4 OR leases.granted_at > $5)
               AND (leases.waiting <= $6 OR leases.waiting_at <= $7 OR leases.waiting_at > $5)
             RETURNING fence",
        )
        .bind(resource)
        .bind(owner)
        .bind(expires_at.0)
        .bind(tx.now.0)
        .bind(tx.now.plus(CLOCK_SLACK).0)
        .bind(rank)
        .bind(tx.now.plus(Span(-SAID.0)).0)
        .fetch_optional(&mut *tx.inner)
        .await?;
        let lease = match row {
            Some(row) => Some(Lease {
                resource: resource.to_owned(),
                owner: owner.to_owned(),
                fence: row.try_get("fence")?,
                expires_at,
                granted: span,
            }),
            None => None,
        };
        tx.commit().await?;
        Ok(lease)
    }

    /// Whether somebody of this rank may take the lease now. While it may not, the row says that it waits (R22), so that
    /// the holder gives way, whichever process it is.
    pub async fn stand_in_line(&self, resource: &str, rank: i64) -> Result<bool, StoreError> {
        let Some(row) = self.lease_row(resource).await? else { return Ok(true) };
        let now = self.now().await?;
        let said = row.waiting.left(now).is_some();
        if row.held.left(now).is_none() && !(said && row.rank > rank) {
            return Ok(true);
        }
        let lasts = row.waiting.left(now).is_some_and(|left| left.0 > SAID.0 / 2);
        if !(said && row.rank > rank || lasts && row.rank == rank) {
            self.say_waiting(resource, rank).await?;
        }
        Ok(false)
    }

    async fn say_waiting(&self, resource: &str, rank: i64) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        sqlx::query(
            "UPDATE leases SET waiting = $1, waiting_at = $2
             WHERE resource = $3 AND (waiting <= $1 OR waiting_at <= $4 OR waiting_at > $5)",
        )
        .bind(rank)
        .bind(tx.now.0)
        .bind(resource)
        .bind(tx.now.plus(Span(-SAID.0)).0)
        .bind(tx.now.plus(CLOCK_SLACK).0)
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }

    /// The highest rank in which somebody of another process waits for a lease; 0 for nobody.
    pub async fn waited_for(&self, resource: &str) -> Result<i64, StoreError> {
        let Some(row) = self.lease_row(resource).await? else { return Ok(0) };
        Ok(row.waiting.left(self.now().await?).map_or(0, |_| row.rank))
    }

    async fn lease_row(&self, resource: &str) -> Result<Option<LeaseRow>, StoreError> {
        let select = "SELECT expires_at, granted_at, waiting, waiting_at FROM leases WHERE resource = $1";
        let row = sqlx::query(select).bind(resource).fetch_optional(self.pools.reader()).await?;
        let Some(row) = row else { return Ok(None) };
        let (granted_at, said_at) =
            (Timestamp(row.try_get("granted_at")?), Timestamp(row.try_get("waiting_at")?));
        Ok(Some(LeaseRow {
            held: Until { set_at: granted_at, at: Timestamp(row.try_get("expires_at")?) },
            rank: row.try_get("waiting")?,
            waiting: Until::after(said_at, SAID),
        }))
    }

    /// True while somebody holds it.
    pub async fn is_held(&self, resource: &str) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT expires_at, granted_at FROM leases WHERE resource = $1")
            .bind(resource)
            .fetch_optional(self.pools.reader())
            .await?;
        let Some(row) = row else { return Ok(false) };
        let until = Until {
            set_at: Timestamp(row.try_get("granted_at")?),
            at: Timestamp(row.try_get("expires_at")?),
        };
        Ok(until.left(self.now().await?).is_some())
    }

    /// Prolongs a lease that is still ours. [`StoreError::FenceLost`] when somebody took over.
    pub async fn renew(&self, lease: &Lease, span: Span) -> Result<Lease, StoreError> {
        let mut tx = self.pools.begin().await?;
        self.still_known(&mut tx).await?;
        let expires_at = tx.now.plus(span);
        let renewed = "UPDATE leases SET expires_at = $1, granted_at = $2 WHERE resource = $3 AND fence = $4";
        let done = sqlx::query(renewed)
            .bind(expires_at.0)
            .bind(tx.now.0)
            .bind(&lease.resource)
            .bind(lease.fence)
            .execute(&mut *tx.inner)
            .await?;
        tx.commit().await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::fence_lost());
        }
        Ok(Lease { expires_at, granted: span, ..lease.clone() })
    }

    /// Gives the lease back, so that nobody has to wait for its end. Harmless when it is lost.
    pub async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        sqlx::query("UPDATE leases SET expires_at = 0 WHERE resource = $1 AND fence = $2")
            .bind(&lease.resource)
            .bind(lease.fence)
            .execute(&mut *tx.inner)
            .await?;
        tx.commit().await
    }
}

/// Locks the lease's row for the rest of the transaction; zero rows means that it is lost.
pub(super) async fn hold(tx: &mut Tx, lease: &Lease) -> Result<(), StoreError> {
    let done = sqlx::query("UPDATE leases SET fence = fence WHERE resource = $1 AND fence = $2")
        .bind(&lease.resource)
        .bind(lease.fence)
        .execute(&mut *tx.inner)
        .await?;
    if done.rows_affected() == 0 { Err(StoreError::fence_lost()) } else { Ok(()) }
}
