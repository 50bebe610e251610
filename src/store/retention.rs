//! What is over and leaves: each step is a short transaction that takes the oldest, so many at the most, by an index. Journal
//! of effects and names stay for ever (I3).

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, StoreError};
use crate::domain::time::{Span, Timestamp};

/// One kind of thing that leaves: which rows, oldest first (`$1` before when, `$2` how many), and what goes with them
/// (`$1` its id), what refers to them first.
struct Leaving {
    which: &'static str,
    deletes: &'static [&'static str],
}

/// Runs that ended. The last of each rotation stays: people are shown it.
const RUNS: Leaving = Leaving {
    which: "SELECT r.id FROM runs r WHERE r.is_open = 0 AND r.finished_at < $1
       AND EXISTS (SELECT 1 FROM runs n WHERE n.rotation = r.rotation AND n.is_open = 0
         AND n.finished_at > r.finished_at)
     ORDER BY r.finished_at LIMIT $2",
    deletes: &["DELETE FROM requests WHERE run = $1", "DELETE FROM runs WHERE id = $1"],
};

/// Messages that everybody got, about alerts that are over: what follows on an open one names its first.
const MESSAGES: Leaving = Leaving {
    which: "SELECT m.id FROM messages m WHERE m.created_at < $1
       AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.message = m.id AND d.sent_at IS NULL)
       AND NOT EXISTS (SELECT 1 FROM message_notices c JOIN notices n ON n.id = c.notice
         JOIN alerts a ON a.id = n.alert WHERE c.message = m.id AND a.resolved_at IS NULL)
     ORDER BY m.created_at LIMIT $2",
    deletes: &[
        "DELETE FROM deliveries WHERE message = $1",
        "DELETE FROM message_notices WHERE message = $1",
        "DELETE FROM messages WHERE id = $1",
    ],
};

/// Alerts that are over, and of which nobody is still to be told (I12).
const ALERTS: Leaving = Leaving {
    which: "SELECT a.id FROM alerts a WHERE a.resolved_at < $1
       AND NOT EXISTS (SELECT 1 FROM notices n WHERE n.alert = a.id AND (n.mailed = 0 OR n.hooked = 0
         OR EXISTS (SELECT 1 FROM message_notices c WHERE c.notice = n.id)))
     ORDER BY a.resolved_at LIMIT $2",
    deletes: &["DELETE FROM notices WHERE alert = $1", "DELETE FROM alerts WHERE id = $1"],
};

const AUDIT: Leaving = Leaving {
    which: "SELECT id FROM audit WHERE at < $1 ORDER BY at, id LIMIT $2",
    deletes: &["DELETE FROM audit WHERE id = $1"],
};

/// Keys that the provider no longer has, of no rotation with an open run, after which every address where they stood has
/// proved another one. One of each account stays: it says that the account had keys.
const TOMBSTONES: Leaving = Leaving {
    which: "SELECT k.id FROM keys k WHERE k.role = 'dead' AND k.updated_at < $1
       AND NOT EXISTS (SELECT 1 FROM holdings h WHERE h.key_id = k.id
         AND NOT EXISTS (SELECT 1 FROM holdings n WHERE n.address = h.address AND n.seq > h.seq
           AND n.level IN ('confirmed', 'effective')))
       AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.rotation = k.rotation AND r.is_open = 1)
       AND (k.account IS NULL OR EXISTS (SELECT 1 FROM keys n WHERE n.account = k.account AND n.hash IS NOT NULL
         AND n.hash > k.hash))
     ORDER BY k.updated_at LIMIT $2",
    deletes: &["DELETE FROM holdings WHERE key_id = $1", "DELETE FROM keys WHERE id = $1"],
};

impl Store {
    /// Forgets runs that ended before this moment, and what people asked of them. Answers how many.
    pub async fn prune_runs(&self, before: Timestamp, most: i64) -> Result<u64, StoreError> {
        self.forget(&RUNS, before, most).await
    }

    /// Forgets messages that were made before this moment and arrived. Answers how many.
    pub async fn prune_messages(&self, before: Timestamp, most: i64) -> Result<u64, StoreError> {
        self.forget(&MESSAGES, before, most).await
    }

    /// Forgets alerts that were over before this moment, and their notices. Answers how many.
    pub async fn prune_alerts(&self, before: Timestamp, most: i64) -> Result<u64, StoreError> {
        self.forget(&ALERTS, before, most).await
    }

    /// Forgets rows of the audit that are older. Answers how many.
    pub async fn prune_audit(&self, before: Timestamp, most: i64) -> Result<u64, StoreError> {
        self.forget(&AUDIT, before, most).await
    }

    /// Forgets keys that died before this moment. Answers how many.
    pub async fn prune_tombstones(&self, before: Timestamp, most: i64) -> Result<u64, StoreError> {
        self.forget(&TOMBSTONES, before, most).await
    }

    /// Forgets to whom keys were given before this moment. Answers how many rows.
    pub async fn prune_hand_outs(&self, before: Timestamp, most: i64) -> Result<u64, StoreError> {
        let mut tx = self.pools.begin().await?;
        let done = sqlx::query(
            "DELETE FROM hand_outs WHERE (key_id, actor, minute) IN
               (SELECT key_id, actor, minute FROM hand_outs WHERE minute < $1 ORDER BY minute LIMIT $2)",
        )
        .bind(before.0 / Span::minutes(1).0)
        .bind(most)
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }

    async fn forget(&self, leaving: &Leaving, before: Timestamp, most: i64) -> Result<u64, StoreError> {
        let mut tx = self.pools.begin().await?;
        let rows = sqlx::query(leaving.which).bind(before.0).bind(most).fetch_all(&mut *tx.inner).await?;
        let ids = rows.iter().map(|row: &AnyRow| row.try_get("id")).collect::<Result<Vec<String>, _>>()?;
        for id in &ids {
            for delete in leaving.deletes {
                sqlx::query(*delete).bind(id).execute(&mut *tx.inner).await?;
            }
        }
        tx.commit().await?;
        Ok(ids.len() as u64)
    }
}
