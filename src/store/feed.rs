//! What happened lately, in one statement: for who waits for something to happen.

use sqlx::Row;

use super::{Store, StoreError};
use crate::domain::time::Timestamp;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// Of the row that tells of it.
    pub id: String,
    /// When, on the database's clock.
    pub at: Timestamp,
    /// What: an action of the audit trail, or [`Happened::ALERT`], or [`Happened::RUN`].
    pub what: String,
    /// How an open run stands: another text whenever something of it changed.
    pub stands: Option<String>,
}

impl Happened {
    /// People are told of an alert.
    pub const ALERT: &str = "alert.told";
    /// The run with this id is open.
    pub const RUN: &str = "run.open";
    /// No more are read at one time.
    pub const MOST: usize = 1000;
}

/// By the indexes `audit_newest`, `notices_at`, `runs_open` and `effects_run`.
const FEED: &str = "
    SELECT id, at, action AS what, CAST(NULL AS TEXT) AS stands FROM audit WHERE at >= $1
    UNION ALL
    SELECT id, at, 'alert.told' AS what, CAST(NULL AS TEXT) AS stands FROM notices WHERE at >= $1
    UNION ALL
    SELECT id, 9223372036854775807 AS at, 'run.open' AS what,
      state || ' ' || CAST(wake_at AS TEXT) || ' ' || blockers || ' ' || COALESCE(error, '') || ' ' ||
      (SELECT CAST(COUNT(*) AS TEXT) || ' ' || CAST(COUNT(finished_at) AS TEXT) || ' ' ||
         CAST(COALESCE(SUM(attempt), 0) AS TEXT) FROM effects WHERE effects.run = runs.id) AS stands
      FROM runs WHERE is_open = 1
    ORDER BY at DESC, id DESC LIMIT 1000";

impl Store {
    /// How the open runs stand, and what happened at or after a moment, the newest first.
    pub async fn happened(&self, since: Timestamp) -> Result<Vec<Happened>, StoreError> {
        let rows = sqlx::query(FEED).bind(since.0).fetch_all(self.pools.reader()).await?;
        let read = |row: &sqlx::any::AnyRow| {
            Ok(Happened {
                id: row.try_get("id")?,
                at: Timestamp(row.try_get("at")?),
                what: row.try_get("what")?,
                stands: row.try_get("stands")?,
            })
        };
        rows.iter().map(read).collect()
    }
}
