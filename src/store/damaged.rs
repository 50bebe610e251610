//! Rows that do not hold what this program writes (R21).
//!
//! Readers of many rows pass them by, so that one row never ends the work on the others. Here they are listed, for
//! people, and for those who must not act while something cannot be read.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, StoreError, effects, holdings, keys, rotations, runs};
use crate::store::KeyRow;

/// A row that cannot be read.
#[derive(Debug, Clone)]
pub struct Damaged {
    /// Of which table.
    pub table: &'static str,
    /// Its id, or what stands for one.
    pub id: String,
    /// What is wrong.
    pub column: String,
    /// Identity of its account, where it has one.
    pub account: Option<String>,
    /// Its rotation, where it has one.
    pub rotation: Option<String>,
    /// The key without what cannot be read, where only its settings or tests cannot.
    pub key: Option<Box<KeyRow>>,
}

/// Living keys, a page of them.
#[derive(Debug)]
pub struct PageOfKeys {
    /// Those whose row can be read.
    pub keys: Vec<KeyRow>,
    /// The others.
    pub damaged: Vec<Damaged>,
    /// After which the next page begins; `None` when this is the last.
    pub last: Option<String>,
}

/// The rows that can be read.
pub(super) fn readable<T>(rows: &[AnyRow], read: impl Fn(&AnyRow) -> Result<T, StoreError>) -> Vec<T> {
    rows.iter().filter_map(|row| read(row).ok()).collect()
}

/// The others.
fn unreadable<T>(
    table: &'static str,
    rows: &[AnyRow],
    read: impl Fn(&AnyRow) -> Result<T, StoreError>,
) -> Vec<Damaged> {
    let text = |row: &AnyRow, column: &str| row.try_get::<Option<String>, _>(column).ok().flatten();
    let damaged = rows.iter().filter_map(|row| {
        let error = read(row).err()?;
        Some(Damaged {
            table,
            id: ["id", "name", "address"].iter().find_map(|column| text(row, column)).unwrap_or_default(),
            column: match error {
                StoreError::Corrupt(column) => column.to_owned(),
                other => other.to_string(),
            },
            account: text(row, "account"),
            rotation: text(row, "rotation").or_else(|| text(row, "writer")),
            key: None,
        })
    });
    damaged.collect()
}

impl Store {
    /// Living keys of an account, with those of its provider that name none, and whether all of each row can be read.
    pub async fn living_keys_of(
        &self,
        account: &str,
        provider: &str,
    ) -> Result<Vec<(KeyRow, bool)>, StoreError> {
        let rows = self.living_rows(account, provider).await?;
        Ok(readable(&rows, |row| keys::lenient(row).map(|(key, damaged)| (key, damaged.is_none()))))
    }

    /// Numbers of a provider's living keys whose rows cannot be read.
    pub async fn damaged_numbers(&self, provider: &str) -> Result<Vec<i64>, StoreError> {
        let rows = sqlx::query("SELECT * FROM keys WHERE provider = $1 AND role <> 'dead'")
            .bind(provider)
            .fetch_all(self.pools.reader())
            .await?;
        Ok(damaged_keys(&rows).into_iter().filter_map(|row| row.key?.number).collect())
    }

    async fn living_rows(&self, account: &str, provider: &str) -> Result<Vec<AnyRow>, StoreError> {
        let mut rows = sqlx::query("SELECT * FROM keys WHERE account = $1 AND role <> 'dead'")
            .bind(account)
            .fetch_all(self.pools.reader())
            .await?;
        let nobodys =
            sqlx::query("SELECT * FROM keys WHERE provider = $1 AND role <> 'dead' AND account IS NULL");
        rows.extend(nobodys.bind(provider).fetch_all(self.pools.reader()).await?);
        Ok(rows)
    }

    /// Rows of living keys, of creates and open effects, and of addresses of an account that cannot be read.
    pub async fn damaged_of(&self, account: &str, provider: &str) -> Result<Vec<Damaged>, StoreError> {
        let mut damaged = damaged_keys(&self.living_rows(account, provider).await?);
        let open = "SELECT * FROM effects WHERE account = $1 AND status IN ('intended', 'unknown')";
        let creates = "SELECT * FROM effects WHERE account = $1 AND kind = 'create'
             AND NOT (evidence = 'null' OR evidence LIKE '{%}')";
        let held = "SELECT h.*, a.drift FROM keys k JOIN holdings h ON k.id = h.key_id
             JOIN addresses a ON a.address = h.address WHERE k.account = $1 AND k.role <> 'dead'";
        for sql in [open, creates] {
            let rows = sqlx::query(sql).bind(account).fetch_all(self.pools.reader()).await?;
            damaged.extend(unreadable("effects", &rows, effects::effect_row));
        }
        let rows = sqlx::query(held).bind(account).fetch_all(self.pools.reader()).await?;
        damaged.extend(unreadable("holdings", &rows, holdings::holding_row));
        Ok(damaged)
    }

    /// A page of living keys in the order of their ids: those that can be read, those that cannot, and the last id, unless
    /// the page is the last.
    pub async fn page_of_keys(&self, after: &str, most: i64) -> Result<PageOfKeys, StoreError> {
        let rows = self.living_page(after, most).await?;
        let is_full = i64::try_from(rows.len()).is_ok_and(|len| len == most);
        let last = rows.last().filter(|_| is_full);
        Ok(PageOfKeys {
            keys: readable(&rows, keys::key_row),
            damaged: damaged_keys(&rows),
            last: last.map(|row| row.try_get("id")).transpose()?,
        })
    }

    /// Every row of creates, open effects, addresses, rotations and open runs that cannot be read.
    pub async fn damaged(&self) -> Result<Vec<Damaged>, StoreError> {
        let all = async |sql: &'static str| sqlx::query(sql).fetch_all(self.pools.reader()).await;
        let mut damaged = Vec::new();
        let open = all("SELECT * FROM effects WHERE status IN ('intended', 'unknown')").await?;
        damaged.extend(unreadable("effects", &open, effects::effect_row));
        let creates =
            "SELECT * FROM effects WHERE kind = 'create' AND NOT (evidence = 'null' OR evidence LIKE '{%}')";
        damaged.extend(unreadable("effects", &all(creates).await?, effects::effect_row));
        let held = "SELECT h.*, a.drift FROM holdings h JOIN addresses a ON a.address = h.address
             LEFT JOIN keys k ON k.id = h.key_id WHERE k.role IS NULL OR k.role <> 'dead'";
        damaged.extend(unreadable("holdings", &all(held).await?, holdings::holding_row));
        damaged.extend(unreadable(
            "rotations",
            &all("SELECT * FROM rotations").await?,
            rotations::rotation_row,
        ));
        damaged.extend(unreadable(
            "runs",
            &all("SELECT * FROM runs WHERE is_open = 1").await?,
            runs::run_row,
        ));
        Ok(damaged)
    }
}

fn damaged_keys(rows: &[AnyRow]) -> Vec<Damaged> {
    let mut damaged = unreadable("keys", rows, keys::key_row);
    for one in &mut damaged {
        let row = rows.iter().find(|row| row.try_get::<String, _>("id").is_ok_and(|id| id == one.id));
        one.key = row.and_then(|row| keys::lenient(row).ok()).map(|(key, _)| Box::new(key));
        if one.key.as_ref().is_some_and(|key| key.rotation.is_none()) {
            one.rotation = None;
        }
    }
    damaged
}
