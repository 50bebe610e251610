//! The history of tests.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::listing::{Of, Source};
use super::pool::Tx;
use super::{Store, StoreError, new_id};
use crate::domain::listing::{Given, Page, Wanted};
use crate::domain::time::Timestamp;
use crate::domain::verdict::Observation;
use crate::domain::verdict::egress::Looks;

/// One test in the history: names and figures, from which no verdict is ever made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservationRow {
    /// When, RFC 3339 UTC.
    pub at: String,
    /// What it showed.
    pub outcome: String,
    /// Why.
    pub reason: Option<String>,
    /// HTTP status, where there was one.
    pub status: Option<i64>,
    /// The provider's own code.
    pub provider_code: Option<String>,
    /// How long it took.
    pub latency_ms: i64,
    /// How long the provider asked us to wait.
    pub retry_after_ms: Option<i64>,
    /// One sentence, redacted.
    pub detail: String,
}

fn observation_row(row: &AnyRow) -> Result<ObservationRow, StoreError> {
    Ok(ObservationRow {
        at: Timestamp(row.try_get("at")?).rfc3339(),
        outcome: row.try_get("outcome")?,
        reason: row.try_get("reason")?,
        status: row.try_get("status")?,
        provider_code: row.try_get("provider_code")?,
        latency_ms: row.try_get("latency_ms")?,
        retry_after_ms: row.try_get("retry_after_ms")?,
        detail: row.try_get("detail")?,
    })
}

/// The history of a key, as a list.
const LIST: Source = Source {
    table: "observations",
    always: "1 = 1",
    sorts: &[("at", Of::Number("at")), ("latency_ms", Of::Number("latency_ms"))],
    filters: &[
        ("key", "key_id = $?"),
        ("outcome", "outcome = $?"),
        ("since", "at >= $?"),
        ("until", "at < $?"),
    ],
};

impl Store {
    /// A page of the history of one key.
    pub async fn observation_page(
        &self,
        key: &str,
        mut wanted: Wanted,
    ) -> Result<Page<ObservationRow>, StoreError> {
        wanted.filters.insert("key", Given::Text(key.to_owned()));
        self.page(&LIST, &wanted, observation_row).await
    }

    /// The last tests of a key, newest first.
    pub async fn observations(&self, key: &str, limit: i64) -> Result<Vec<ObservationRow>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM observations WHERE key_id = $1 ORDER BY at DESC, id DESC LIMIT $2")
                .bind(key)
                .bind(limit)
                .fetch_all(self.pools.reader())
                .await?;
        rows.iter().map(observation_row).collect()
    }

    /// How many tests there were since this moment, and how many of them got no answer, of each provider.
    pub async fn looks_since(&self, since: Timestamp) -> Result<Vec<Looks>, StoreError> {
        let rows = sqlx::query(
            "SELECT k.provider, COUNT(*) AS looks, COUNT(CASE WHEN o.outcome = 'unreachable' THEN 1 END) AS silent
             FROM observations o JOIN keys k ON k.id = o.key_id WHERE o.at >= $1 GROUP BY k.provider",
        )
        .bind(since.0)
        .fetch_all(self.pools.reader())
        .await?;
        let count = |row: &AnyRow, column: &str| -> Result<u64, StoreError> {
            Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or_default())
        };
        let looks = |row: &AnyRow| {
            Ok(Looks {
                provider: row.try_get("provider")?,
                all: count(row, "looks")?,
                silent: count(row, "silent")?,
            })
        };
        rows.iter().map(looks).collect()
    }

    /// What the tests of a key showed since this moment, the oldest first, and the last one before it. Of what is rolled up
    /// only those are left that showed something new.
    pub async fn outcomes_since(
        &self,
        key: &str,
        since: Timestamp,
    ) -> Result<Vec<(Timestamp, String)>, StoreError> {
        let rows = sqlx::query(
            "SELECT at, outcome FROM observations WHERE key_id = $1 AND at >=
               COALESCE((SELECT MAX(at) FROM observations WHERE key_id = $1 AND at < $2), $2)
             ORDER BY at, id",
        )
        .bind(key)
        .bind(since.0)
        .fetch_all(self.pools.reader())
        .await?;
        rows.iter().map(|row| Ok((Timestamp(row.try_get("at")?), row.try_get("outcome")?))).collect()
    }

    /// Forgets tests made before this moment, so many at the most: a step that holds up nobody. Answers how many.
    pub async fn prune_observations(&self, before: Timestamp, most: i64) -> Result<u64, StoreError> {
        let mut tx = self.pools.begin().await?;
        let step = "DELETE FROM observations WHERE id IN
             (SELECT id FROM observations WHERE at < $1 ORDER BY at LIMIT $2)";
        let done = sqlx::query(step).bind(before.0).bind(most).execute(&mut *tx.inner).await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }
}

pub(super) async fn insert(
    tx: &mut Tx,
    key: &str,
    at: Timestamp,
    seen: &Observation,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO observations (id, key_id, at, outcome, reason, status, provider_code, latency_ms,
           retry_after_ms, detail)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(new_id())
    .bind(key)
    .bind(at.0)
    .bind(seen.outcome().as_str())
    .bind(seen.reason().map(crate::domain::verdict::Reason::as_str))
    .bind(seen.status.map(i64::from))
    .bind(&seen.provider_code)
    .bind(i64::try_from(seen.latency_ms).unwrap_or(i64::MAX))
    .bind(seen.retry_after.map(|span| span.0))
    .bind(&seen.detail)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}
