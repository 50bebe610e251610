//! Which daemons live, and by which configuration they work: a command line beside one watches instead of working.

use std::collections::BTreeMap;

use sqlx::Row;

use super::{Store, StoreError, from_json, to_json};
use crate::domain::time::{CLOCK_SLACK, Span};

/// What the configuration of a daemon says of each rotation, as a fingerprint.
pub type Policies = BTreeMap<String, String>;

impl Store {
    /// Says that a daemon lives.
    pub async fn announce(&self, owner: &str, policies: &Policies) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        sqlx::query(
            "INSERT INTO daemons (owner, policies, seen_at) VALUES ($1, $2, $3)
             ON CONFLICT (owner) DO UPDATE SET policies = excluded.policies, seen_at = excluded.seen_at",
        )
        .bind(owner)
        .bind(to_json(policies))
        .bind(tx.now.0)
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }

    /// Says that a daemon stops. Those that died without a word go, too.
    pub async fn take_leave(&self, owner: &str, silent: Span) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        sqlx::query("DELETE FROM daemons WHERE owner = $1 OR seen_at <= $2")
            .bind(owner)
            .bind(tx.now.plus(Span(-silent.0)).0)
            .execute(&mut *tx.inner)
            .await?;
        tx.commit().await
    }

    /// The configurations of the daemons that were heard of within this time.
    pub async fn daemons(&self, within: Span) -> Result<Vec<Policies>, StoreError> {
        let now = self.now().await?;
        let rows = sqlx::query("SELECT policies FROM daemons WHERE seen_at > $1 AND seen_at <= $2")
            .bind(now.plus(Span(-within.0)).0)
            .bind(now.plus(CLOCK_SLACK).0)
            .fetch_all(self.pools.reader())
            .await?;
        rows.iter().map(|row| from_json(&row.try_get::<String, _>("policies")?, "daemons.policies")).collect()
    }
}
