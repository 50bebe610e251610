//! What somebody pasted and has not stored yet: sealed, bound to the session that pasted it, for minutes, used once.

use sqlx::Row;

use super::pool::Tx;
use super::{Store, StoreError, epochs};
use crate::crypto::Sealed;
use crate::domain::time::Span;

/// So long it waits for a person to say yes.
const KEPT: Span = Span::minutes(15);

impl Store {
    /// Keeps a paste, the only one of its session.
    pub async fn keep_paste(&self, id: &str, session: &str, text: &Sealed) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        epochs::in_force(&mut tx, &text.by).await?;
        forget(&mut tx).await?;
        sqlx::query("DELETE FROM pastes WHERE session_id = $1").bind(session).execute(&mut *tx.inner).await?;
        sqlx::query("INSERT INTO pastes (id, session_id, text, made_at) VALUES ($1, $2, $3, $4)")
            .bind(id)
            .bind(session)
            .bind(&text.token)
            .bind(tx.now.0)
            .execute(&mut *tx.inner)
            .await?;
        tx.commit().await
    }

    /// The sealed text of a paste of this session; `None` when there is none, or its time is over. `take`: for the only
    /// time, it is gone then.
    pub async fn paste(&self, id: &str, session: &str, take: bool) -> Result<Option<String>, StoreError> {
        let mut tx = self.pools.begin().await?;
        forget(&mut tx).await?;
        let row = sqlx::query("SELECT text FROM pastes WHERE id = $1 AND session_id = $2")
            .bind(id)
            .bind(session)
            .fetch_optional(&mut *tx.inner)
            .await?;
        let Some(row) = row else {
            tx.commit().await?;
            return Ok(None);
        };
        if take {
            let gone =
                sqlx::query("DELETE FROM pastes WHERE id = $1").bind(id).execute(&mut *tx.inner).await?;
            if gone.rows_affected() == 0 {
                return Ok(None);
            }
        }
        let text = row.try_get("text")?;
        tx.commit().await?;
        Ok(Some(text))
    }

    /// Forgets those whose time is over.
    pub async fn forget_pastes(&self) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        forget(&mut tx).await?;
        tx.commit().await
    }
}

async fn forget(tx: &mut Tx) -> Result<(), StoreError> {
    let before = tx.now.plus(Span(-KEPT.0));
    sqlx::query("DELETE FROM pastes WHERE made_at < $1").bind(before.0).execute(&mut *tx.inner).await?;
    Ok(())
}
