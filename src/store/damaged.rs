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
            rotation: text(row, "rotation"),
            key: None,
        })
    });
    damaged.collect()
}

/// What is not sound at first sight, besides what decides: creates, and what is not settled.
const SUSPECT_EFFECTS: &str = "kind NOT IN ('publish', 'disable', 'enable', 'delete', 'deploy', 'limit')
    OR status NOT IN ('done', 'failed') OR NOT (evidence = 'null' OR evidence LIKE '{%}')";

impl Store {
    /// Keys whose row cannot be read: of one account, with those of its provider that name none, or all.
    pub async fn damaged_keys(&self, of: Option<(&str, &str)>) -> Result<Vec<Damaged>, StoreError> {
        let rows = match of {
            Some((account, provider)) => {
                sqlx::query("SELECT * FROM keys WHERE account = $1 OR account IS NULL AND provider = $2")
                    .bind(account)
                    .bind(provider)
                    .fetch_all(self.pools.reader())
                    .await?
            }
            None => sqlx::query("SELECT * FROM keys").fetch_all(self.pools.reader()).await?,
        };
        let mut damaged = unreadable("keys", &rows, keys::key_row);
        for one in &mut damaged {
            let row = rows.iter().find(|row| row.try_get::<String, _>("id").is_ok_and(|id| id == one.id));
            one.key = row.and_then(|row| keys::lenient(row).ok()).map(|(key, _)| Box::new(key));
            if one.key.as_ref().is_some_and(|key| key.rotation.is_none()) {
                one.rotation = None;
            }
        }
        Ok(damaged)
    }

    /// Rows of keys, effects and addresses of an account that cannot be read.
    pub async fn damaged_of(&self, account: &str, provider: &str) -> Result<Vec<Damaged>, StoreError> {
        let mut damaged = self.damaged_keys(Some((account, provider))).await?;
        let sql = format!("SELECT * FROM effects WHERE account = $1 AND ({SUSPECT_EFFECTS})");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(account).fetch_all(self.pools.reader()).await?;
        damaged.extend(unreadable("effects", &rows, effects::effect_row));
        let rows =
            sqlx::query("SELECT h.* FROM holdings h JOIN keys k ON k.id = h.key_id WHERE k.account = $1")
                .bind(account)
                .fetch_all(self.pools.reader())
                .await?;
        damaged.extend(unreadable("holdings", &rows, holdings::holding_row));
        Ok(damaged)
    }

    /// Every row of keys, effects, addresses, rotations and open runs that cannot be read.
    pub async fn damaged(&self) -> Result<Vec<Damaged>, StoreError> {
        let mut damaged = self.damaged_keys(None).await?;
        let sql = format!("SELECT * FROM effects WHERE {SUSPECT_EFFECTS}");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(self.pools.reader()).await?;
        damaged.extend(unreadable("effects", &rows, effects::effect_row));
        let rows = sqlx::query("SELECT * FROM holdings").fetch_all(self.pools.reader()).await?;
        damaged.extend(unreadable("holdings", &rows, holdings::holding_row));
        let rows = sqlx::query("SELECT * FROM rotations").fetch_all(self.pools.reader()).await?;
        damaged.extend(unreadable("rotations", &rows, rotations::rotation_row));
        let rows = sqlx::query("SELECT * FROM runs WHERE is_open = 1").fetch_all(self.pools.reader()).await?;
        damaged.extend(unreadable("runs", &rows, runs::run_row));
        Ok(damaged)
    }
}
