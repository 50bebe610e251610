//! What older versions remembered in documents, taken over into rows when the schema is brought up to date.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sqlx::Row;

use super::pool::Tx;
use super::{Store, StoreError, from_json, mirror_of};

const LEFT: &str =
    "SELECT subject FROM provider_health WHERE subject LIKE 'mirror:%' AND doc LIKE '%ours_:{_%'";

const COPY: &str = "INSERT INTO addresses (address, writes, drift, updated_at)
     SELECT $2, writes, drift, updated_at FROM addresses WHERE address = $1
     ON CONFLICT (address) DO UPDATE SET writes = CASE
       WHEN addresses.writes < excluded.writes THEN excluded.writes ELSE addresses.writes END";

impl Store {
    /// The record of an address under the name that an older version had for it, unless the new name has one already:
    /// its writes, and what open runs say of it.
    pub async fn readdress(&self, former: &str, now: &str) -> Result<(), StoreError> {
        let known = self.holdings_at(former).await?;
        if known.is_empty() || !self.holdings_at(now).await?.is_empty() {
            return Ok(());
        }
        let quoted = |address: &str| format!("\"address\":{}", json!(address));
        let mut tx = self.pools.begin().await?;
        for (sql, old, new) in [
            (COPY, former, now),
            ("UPDATE holdings SET address = $2 WHERE address = $1", former, now),
            ("UPDATE runs SET doc = REPLACE(doc, $1, $2) WHERE is_open = 1", &quoted(former), &quoted(now)),
        ] {
            sqlx::query(sql).bind(old).bind(new).execute(&mut *tx.inner).await?;
        }
        tx.commit().await
    }

    /// A mirror's memory had what it may have written, by number and fingerprint: each is a row of its address now (R20).
    pub(super) async fn take_over_mirrors(&self) -> Result<(), StoreError> {
        let left = sqlx::query(LEFT).fetch_optional(self.pools.reader()).await?;
        if left.is_none() {
            return Ok(());
        }
        let mut tx = self.pools.begin().await?;
        // Locked by the update: processes that start together take it over once.
        sqlx::query("UPDATE provider_health SET doc = doc WHERE subject LIKE 'mirror:%'")
            .execute(&mut *tx.inner)
            .await?;
        let rows = sqlx::query("SELECT subject, doc FROM provider_health WHERE subject LIKE 'mirror:%'")
            .fetch_all(&mut *tx.inner)
            .await?;
        for row in rows {
            let (subject, doc): (String, String) = (row.try_get("subject")?, row.try_get("doc")?);
            let Ok(mut doc) = from_json::<Value>(&doc, "provider_health.doc") else { continue };
            let ours = doc.as_object_mut().and_then(|doc| doc.remove("ours")).unwrap_or_default();
            let ours: BTreeMap<i64, Vec<String>> = serde_json::from_value(ours).unwrap_or_default();
            let Some((table, _)) = subject.trim_start_matches("mirror:").rsplit_once('/') else { continue };
            for (number, prints) in ours {
                for print in prints {
                    take_over(&mut tx, &format!("{table}/"), number, &print).await?;
                }
            }
            super::memory::remember(&mut tx, &subject, &json!(doc)).await?;
        }
        tx.commit().await
    }
}

/// It may stand there. Where another writer is known, its writes are newer: nobody knows when the mirror wrote.
async fn take_over(tx: &mut Tx, table: &str, number: i64, print: &str) -> Result<(), StoreError> {
    let address = format!("{table}{number}");
    sqlx::query(
        "INSERT INTO addresses (address, writes, drift, updated_at) VALUES ($1, 0, NULL, $2)
         ON CONFLICT (address) DO NOTHING",
    )
    .bind(&address)
    .bind(tx.now.0)
    .execute(&mut *tx.inner)
    .await?;
    sqlx::query(
        "INSERT INTO holdings (address, key_id, fingerprint, destination, writer, seq, level, evidence, permanent,
           attempts, not_before, wait_set_at, released, updated_at)
         VALUES ($1, COALESCE((SELECT MIN(id) FROM keys WHERE fingerprint = $2), $2), $2, $3, $4,
           (SELECT CASE WHEN MIN(seq) < 0 THEN MIN(seq) ELSE 0 END - 1 FROM holdings WHERE address = $1), 'intended', 'null', 0, 0, 0, 0, 0, $5)
         ON CONFLICT (address, key_id) DO NOTHING",
    )
    .bind(&address)
    .bind(print)
    .bind(table)
    .bind(mirror_of(table))
    .bind(tx.now.0)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}
