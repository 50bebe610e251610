//! Answers that are kept for a day, so that who asks the same again gets the same.

use sqlx::Row;

use super::{Store, StoreError};
use crate::domain::time::Span;

/// So long an answer is kept.
const KEPT: Span = Span::hours(24);

/// A request that may be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeatable {
    /// Who asks.
    pub caller: String,
    /// What they call it.
    pub key: String,
    /// Keyed hash of what they ask for.
    pub request: String,
}

/// What is known of a request that came before under the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// Nothing: from now on it is at work.
    Nothing,
    /// It is at work, or nobody knows what came of it.
    AtWork,
    /// It asked for something else.
    Another,
    /// It was answered: status and body.
    Answered(i64, String),
}

impl Store {
    /// Begins a request, unless one of this key was begun before.
    pub async fn begin_repeatable(&self, asked: &Repeatable) -> Result<Before, StoreError> {
        let mut tx = self.pools.begin().await?;
        let now = tx.now;
        sqlx::query("DELETE FROM repeats WHERE began_at < $1")
            .bind(now.plus(Span(-KEPT.0)).0)
            .execute(&mut *tx.inner)
            .await?;
        let begun = sqlx::query(
            "INSERT INTO repeats (caller, name, request, began_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (caller, name) DO NOTHING",
        )
        .bind(&asked.caller)
        .bind(&asked.key)
        .bind(&asked.request)
        .bind(now.0)
        .execute(&mut *tx.inner)
        .await?;
        let before = if begun.rows_affected() == 1 {
            Before::Nothing
        } else {
            let row =
                sqlx::query("SELECT request, status, answer FROM repeats WHERE caller = $1 AND name = $2")
                    .bind(&asked.caller)
                    .bind(&asked.key)
                    .fetch_one(&mut *tx.inner)
                    .await?;
            match row.try_get::<Option<i64>, _>("status")? {
                _ if row.try_get::<String, _>("request")? != asked.request => Before::Another,
                Some(status) => Before::Answered(status, row.try_get("answer")?),
                None => Before::AtWork,
            }
        };
        tx.commit().await?;
        Ok(before)
    }

    /// What came of it; without an answer it may be asked for again as if it never was.
    pub async fn end_repeatable(
        &self,
        asked: &Repeatable,
        answer: Option<(u16, &str)>,
    ) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        let query = match answer {
            Some((status, body)) => {
                sqlx::query("UPDATE repeats SET status = $3, answer = $4 WHERE caller = $1 AND name = $2")
                    .bind(&asked.caller)
                    .bind(&asked.key)
                    .bind(i64::from(status))
                    .bind(body.to_owned())
            }
            None => sqlx::query("DELETE FROM repeats WHERE caller = $1 AND name = $2")
                .bind(&asked.caller)
                .bind(&asked.key),
        };
        query.execute(&mut *tx.inner).await?;
        tx.commit().await
    }
}
