//! Rate limits over all replicas: one row for each who is counted, taken from by one conditional statement.

use sqlx::Row;

use super::pool::Tx;
use super::{Store, StoreError};
use crate::domain::limit::{Allowance, Limit};
use crate::domain::time::{CLOCK_SLACK, Span, Timestamp};

/// Windows that began so long ago are nobody's any more.
const FORGOTTEN: Span = Span::hours(24);

impl Store {
    /// Takes one of a limit: `Ok` with what is left, `Err` when nothing was. A window that began in the future is over:
    /// the database's clock went back.
    pub async fn take(
        &self,
        limit: Limit,
        subject: &str,
    ) -> Result<Result<Allowance, Allowance>, StoreError> {
        let mut tx = self.pools.begin().await?;
        let now = tx.now;
        let row = sqlx::query(
            "INSERT INTO limits (policy, subject, started_at, used) VALUES ($1, $2, $3, 1)
             ON CONFLICT (policy, subject) DO UPDATE SET
               used = CASE WHEN limits.started_at <= $4 OR limits.started_at > $5 THEN 1
                           ELSE limits.used + 1 END,
               started_at = CASE WHEN limits.started_at <= $4 OR limits.started_at > $5 THEN $3
                                 ELSE limits.started_at END
             WHERE limits.used < $6 OR limits.started_at <= $4 OR limits.started_at > $5
             RETURNING started_at, used",
        )
        .bind(limit.name)
        .bind(subject)
        .bind(now.0)
        .bind(now.plus(Span(-limit.window.0)).0)
        .bind(now.plus(CLOCK_SLACK).0)
        .bind(i64::from(limit.most))
        .fetch_optional(&mut *tx.inner)
        .await?;
        let taken = match row {
            Some(row) => Ok(allowance(limit, row.try_get("started_at")?, row.try_get("used")?, now)),
            None => Err(spent(&mut tx, limit, subject).await?),
        };
        forget(&mut tx).await?;
        tx.commit().await?;
        Ok(taken)
    }

    /// Gives one back that was taken within the same window.
    pub async fn forgive(&self, limit: Limit, subject: &str) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        sqlx::query("UPDATE limits SET used = used - 1 WHERE policy = $1 AND subject = $2 AND used > 0")
            .bind(limit.name)
            .bind(subject)
            .execute(&mut *tx.inner)
            .await?;
        tx.commit().await
    }
}

async fn spent(tx: &mut Tx, limit: Limit, subject: &str) -> Result<Allowance, StoreError> {
    let row = sqlx::query("SELECT started_at FROM limits WHERE policy = $1 AND subject = $2")
        .bind(limit.name)
        .bind(subject)
        .fetch_one(&mut *tx.inner)
        .await?;
    Ok(allowance(limit, row.try_get("started_at")?, i64::from(limit.most), tx.now))
}

fn allowance(limit: Limit, started_at: i64, used: i64, now: Timestamp) -> Allowance {
    let left = u32::try_from(i64::from(limit.most) - used).unwrap_or(0);
    let end = Timestamp(started_at).plus(limit.window);
    Allowance { limit, left, resets_in: end.since(now) }
}

async fn forget(tx: &mut Tx) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM limits WHERE started_at < $1")
        .bind(tx.now.plus(Span(-FORGOTTEN.0)).0)
        .execute(&mut *tx.inner)
        .await?;
    Ok(())
}
