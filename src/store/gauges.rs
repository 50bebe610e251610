//! Figures for `/metrics`: how many rows are in which state, counted by an index each.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, StoreError};
use crate::domain::time::Timestamp;

/// What the store can count.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    /// Living keys by provider and verdict.
    pub keys: Vec<([String; 2], i64)>,
    /// Runs that are over, by rotation and outcome.
    pub runs: Vec<([String; 2], i64)>,
    /// When a run last ended well, by rotation.
    pub last_success: Vec<(String, Timestamp)>,
    /// Effects by kind and status.
    pub effects: Vec<([String; 2], i64)>,
    /// Active valid keys that are not on their way out, by the identity of their account.
    pub usable_keys: Vec<(String, i64)>,
    /// Open alerts by kind and severity.
    pub alerts: Vec<([String; 2], i64)>,
}

const KEYS: &str =
    "SELECT provider, verdict, COUNT(*) FROM keys WHERE role <> 'dead' GROUP BY provider, verdict";
const RUNS: &str = "SELECT rotation, state, COUNT(*) FROM runs WHERE is_open = 0 GROUP BY rotation, state";
const LAST_SUCCESS: &str =
    "SELECT rotation, MAX(finished_at) FROM runs WHERE is_open = 0 AND state = 'done' GROUP BY rotation";
const EFFECTS: &str = "SELECT kind, status, COUNT(*) FROM effects GROUP BY kind, status";
const USABLE_KEYS: &str = "SELECT account, COUNT(*) FROM keys
     WHERE role <> 'dead' AND role <> 'retiring' AND is_active = 1 AND verdict = 'valid' AND account IS NOT NULL
     GROUP BY account";
const ALERTS: &str =
    "SELECT kind, severity, COUNT(*) FROM alerts WHERE resolved_at IS NULL GROUP BY kind, severity";

fn of_two(row: &AnyRow) -> Result<([String; 2], i64), StoreError> {
    Ok(([row.try_get(0)?, row.try_get(1)?], row.try_get(2)?))
}

fn of_one(row: &AnyRow) -> Result<(String, i64), StoreError> {
    Ok((row.try_get(0)?, row.try_get(1)?))
}

impl Store {
    /// Everything that is counted.
    pub async fn gauges(&self) -> Result<Gauges, StoreError> {
        let last = self.counts(LAST_SUCCESS, of_one).await?;
        Ok(Gauges {
            keys: self.counts(KEYS, of_two).await?,
            runs: self.counts(RUNS, of_two).await?,
            last_success: last.into_iter().map(|(rotation, at)| (rotation, Timestamp(at))).collect(),
            effects: self.counts(EFFECTS, of_two).await?,
            usable_keys: self.counts(USABLE_KEYS, of_one).await?,
            alerts: self.counts(ALERTS, of_two).await?,
        })
    }

    async fn counts<T>(
        &self,
        sql: &'static str,
        read: fn(&AnyRow) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = sqlx::query(sql).fetch_all(self.pools.reader()).await?;
        rows.iter().map(read).collect()
    }
}
