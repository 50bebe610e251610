//! The history of tests, rolled up: looks become tallies of hours and days, and of the looks themselves only those stay that
//! showed something new.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::leases::{self, Lease};
use super::pool::Tx;
use super::{Store, StoreError};
use crate::domain::time::Timestamp;
use crate::domain::verdict::tally::{Page, Sheet, Tally};

/// A look to be rolled up.
struct Look {
    id: String,
    key: String,
    at: Timestamp,
    outcome: String,
    reason: Option<String>,
    latency_ms: i64,
}

fn look(row: &AnyRow) -> Result<Look, StoreError> {
    Ok(Look {
        id: row.try_get("id")?,
        key: row.try_get("key_id")?,
        at: Timestamp(row.try_get("at")?),
        outcome: row.try_get("outcome")?,
        reason: row.try_get("reason")?,
        latency_ms: row.try_get("latency_ms")?,
    })
}

impl Store {
    /// Counts the oldest looks before this moment that are not counted yet, so many at the most, and forgets those that
    /// showed what the look before them did. Answers how many were counted.
    pub async fn roll_up(&self, lease: &Lease, before: Timestamp, most: i64) -> Result<u64, StoreError> {
        let mut tx = self.pools.begin().await?;
        leases::hold(&mut tx, lease).await?;
        let rows = sqlx::query(
            "SELECT id, key_id, at, outcome, reason, latency_ms FROM observations
             WHERE tallied = 0 AND at < $1 ORDER BY at, id LIMIT $2",
        )
        .bind(before.0)
        .bind(most)
        .fetch_all(&mut *tx.inner)
        .await?;
        let looks = rows.iter().map(look).collect::<Result<Vec<_>, _>>()?;
        for sheet in [Sheet::Hours, Sheet::Days] {
            count(&mut tx, sheet, &looks).await?;
        }
        for look in &looks {
            let done = if repeats(&mut tx, look).await? {
                "DELETE FROM observations WHERE id = $1"
            } else {
                "UPDATE observations SET tallied = 1 WHERE id = $1"
            };
            sqlx::query(done).bind(&look.id).execute(&mut *tx.inner).await?;
        }
        tx.commit().await?;
        Ok(looks.len() as u64)
    }

    /// What the looks at a key since this moment come to, by hours or by days.
    pub async fn tally(&self, key: &str, sheet: Sheet, since: Timestamp) -> Result<Tally, StoreError> {
        let mut all = Tally::default();
        let pages =
            sqlx::query("SELECT at, doc FROM test_tallies WHERE key_id = $1 AND span = $2 AND at >= $3")
                .bind(key)
                .bind(sheet.word())
                .bind(sheet.begin(since).0)
                .fetch_all(self.pools.reader())
                .await?;
        for row in pages {
            let page = Page::parse(&row.try_get::<String, _>("doc")?);
            all.add(&page.since(sheet, Timestamp(row.try_get("at")?), since));
        }
        let recent =
            "SELECT outcome, latency_ms FROM observations WHERE key_id = $1 AND at >= $2 AND tallied = 0";
        for row in sqlx::query(recent).bind(key).bind(since.0).fetch_all(self.pools.reader()).await? {
            all.look(&row.try_get::<String, _>("outcome")?, row.try_get("latency_ms")?);
        }
        Ok(all)
    }

    /// Forgets pages that begin before this moment, so many at the most. Answers how many.
    pub async fn prune_tallies(&self, sheet: Sheet, before: Timestamp, most: i64) -> Result<u64, StoreError> {
        let mut tx = self.pools.begin().await?;
        let done = sqlx::query(
            "DELETE FROM test_tallies WHERE (key_id, span, at) IN
               (SELECT key_id, span, at FROM test_tallies WHERE span = $1 AND at < $2 ORDER BY at LIMIT $3)",
        )
        .bind(sheet.word())
        .bind(before.0)
        .bind(most)
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }
}

/// Adds looks to their pages.
async fn count(tx: &mut Tx, sheet: Sheet, looks: &[Look]) -> Result<(), StoreError> {
    let mut pages: BTreeMap<(&str, Timestamp), Page> = BTreeMap::new();
    for look in looks {
        let place = (look.key.as_str(), sheet.begin(look.at));
        let page = match pages.entry(place) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(read(tx, sheet, place).await?),
        };
        page.look(sheet, look.at, &look.outcome, look.latency_ms);
    }
    for ((key, begin), page) in pages {
        sqlx::query(
            "INSERT INTO test_tallies (key_id, span, at, doc) VALUES ($1, $2, $3, $4)
             ON CONFLICT (key_id, span, at) DO UPDATE SET doc = excluded.doc",
        )
        .bind(key)
        .bind(sheet.word())
        .bind(begin.0)
        .bind(page.to_string())
        .execute(&mut *tx.inner)
        .await?;
    }
    Ok(())
}

async fn read(tx: &mut Tx, sheet: Sheet, (key, begin): (&str, Timestamp)) -> Result<Page, StoreError> {
    let row = sqlx::query("SELECT doc FROM test_tallies WHERE key_id = $1 AND span = $2 AND at = $3")
        .bind(key)
        .bind(sheet.word())
        .bind(begin.0)
        .fetch_optional(&mut *tx.inner)
        .await?;
    let doc = row.map(|row| row.try_get::<String, _>("doc")).transpose()?;
    Ok(doc.map(|doc| Page::parse(&doc)).unwrap_or_default())
}

/// True when the look before this one, of those that are kept, showed the same.
async fn repeats(tx: &mut Tx, look: &Look) -> Result<bool, StoreError> {
    let before = sqlx::query(
        "SELECT outcome, reason FROM observations WHERE key_id = $1 AND (at < $2 OR at = $2 AND id < $3)
         ORDER BY at DESC, id DESC LIMIT 1",
    )
    .bind(&look.key)
    .bind(look.at.0)
    .bind(&look.id)
    .fetch_optional(&mut *tx.inner)
    .await?;
    let Some(before) = before else { return Ok(false) };
    let same = before.try_get::<String, _>("outcome")? == look.outcome
        && before.try_get::<Option<String>, _>("reason")? == look.reason;
    Ok(same)
}
