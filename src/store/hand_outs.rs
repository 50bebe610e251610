//! Keys that are given out: which there are to give, and the record of whom each was given to, before it is.

use std::collections::BTreeSet;

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, Row};

use super::audit::{self, AuditEntry};
use super::keys::{KeyRow, key_row};
use super::{Store, StoreError, new_id};
use crate::domain::hand_out::{Group, Strategy, USABLE};
use crate::domain::time::Timestamp;
use crate::domain::verdict::Verdict;

/// So many milliseconds are one row of the audit, for one user and key.
const MINUTE: i64 = 60_000;

/// A provider, and what is asked of it.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its name.
    pub provider: &'a str,
    /// Which key.
    pub strategy: &'a Strategy,
    /// What expired before is not given.
    pub now: Timestamp,
}

/// Keys that may be given at all: `$1` provider, `$2` now, `$3` number, `$4` name. A provisioning key, stored by mistake, is
/// never given (product.md).
const GIVEABLE: &str = r#"provider = $1 AND role <> 'dead' AND role IN ('current', 'manual') AND is_active = 1
    AND secret IS NOT NULL AND (expires_at IS NULL OR expires_at > $2)
    AND COALESCE(health, '') NOT LIKE '%"reason":"wrong_kind"%'
    AND (CAST($3 AS BIGINT) IS NULL OR number = $3) AND (CAST($4 AS TEXT) IS NULL OR name = $4)"#;

impl Wanted<'_> {
    fn bind(&self, sql: String) -> Query<'static, Any, AnyArguments> {
        let (number, name) = match self.strategy {
            Strategy::Number(number) => (Some(*number), None),
            Strategy::Name(name) => (None, Some(name.clone())),
            Strategy::Best | Strategy::Random => (None, None),
        };
        sqlx::query(AssertSqlSafe(sql))
            .bind(self.provider.to_owned())
            .bind(self.now.0)
            .bind(number)
            .bind(name)
    }
}

/// The verdicts that may be given, for a list of SQL.
fn usable_words() -> String {
    let words = USABLE.iter().copied().flatten().map(|verdict| format!("'{}'", verdict.as_str()));
    words.collect::<Vec<_>>().join(", ")
}

impl Store {
    /// What there is to give, alike together.
    pub async fn giveable(&self, wanted: &Wanted<'_>) -> Result<Vec<Group>, StoreError> {
        let sql = format!(
            "SELECT verdict, priority, COUNT(*) AS n FROM keys WHERE {GIVEABLE} AND verdict IN ({})
             GROUP BY verdict, priority",
            usable_words()
        );
        let rows = wanted.bind(sql).fetch_all(self.pools.reader()).await?;
        let group = |row: &AnyRow| {
            let verdict: String = row.try_get("verdict")?;
            Ok(Group {
                verdict: verdict.parse::<Verdict>().map_err(|_| StoreError::Corrupt("keys.verdict"))?,
                priority: row.try_get("priority")?,
                count: row.try_get("n")?,
            })
        };
        rows.iter().map(group).collect()
    }

    /// The key at this place among those of some groups. `None` when there are fewer by now.
    pub async fn giveable_at(
        &self,
        wanted: &Wanted<'_>,
        groups: &[Group],
        place: i64,
    ) -> Result<Option<KeyRow>, StoreError> {
        let alike = groups.iter().map(|group| {
            format!("(verdict = '{}' AND priority = {})", group.verdict.as_str(), group.priority)
        });
        let sql = format!(
            "SELECT * FROM keys WHERE {GIVEABLE} AND ({}) ORDER BY number, id LIMIT 1 OFFSET {place}",
            alike.collect::<Vec<_>>().join(" OR ")
        );
        let row = wanted.bind(sql).fetch_optional(self.pools.reader()).await?;
        row.as_ref().map(key_row).transpose()
    }

    /// Ids of the generations of a rotation that somebody was given.
    pub async fn handed_out(&self, rotation: &str) -> Result<BTreeSet<String>, StoreError> {
        let sql = "SELECT id FROM keys WHERE rotation = $1 AND handed_out_at IS NOT NULL";
        let rows = sqlx::query(sql).bind(rotation).fetch_all(self.pools.reader()).await?;
        rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
    }

    /// Records that a key is given to whoever acts: one row of the audit a key, user and minute, with a count. False, and
    /// nothing is recorded, when the key may not be given any more.
    pub async fn record_hand_out(&self, key: &str, entry: &AuditEntry) -> Result<bool, StoreError> {
        let mut tx = self.pools.begin().await?;
        let sql = format!(
            "UPDATE keys SET handed_out_at = $2 WHERE id = $1 AND role IN ('current', 'manual') AND is_active = 1
               AND verdict IN ({})",
            usable_words()
        );
        let done = sqlx::query(AssertSqlSafe(sql)).bind(key).bind(tx.now.0).execute(&mut *tx.inner).await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        let row = sqlx::query(
            "INSERT INTO hand_outs (key_id, actor, minute, times, audit_id) VALUES ($1, $2, $3, 1, $4)
             ON CONFLICT (key_id, actor, minute) DO UPDATE SET times = hand_outs.times + 1
             RETURNING times, audit_id",
        )
        .bind(key)
        .bind(&entry.actor.name)
        .bind(tx.now.0 / MINUTE)
        .bind(new_id())
        .fetch_one(&mut *tx.inner)
        .await?;
        let (times, id): (i64, String) = (row.try_get("times")?, row.try_get("audit_id")?);
        if times == 1 {
            audit::write_as(&mut tx, &id, entry).await?;
        } else {
            sqlx::query("UPDATE audit SET detail = $1 WHERE id = $2")
                .bind(format!("{}, {times} times in this minute", entry.detail))
                .bind(id)
                .execute(&mut *tx.inner)
                .await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}
