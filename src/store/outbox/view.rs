//! The outbox as people and metrics see it.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::Channel;
use crate::domain::alert::Notice;
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError};

/// One line of the outbox, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Id of the message, or of the notice that is in none yet.
    pub id: String,
    /// `mail` or `webhook`.
    pub channel: String,
    /// `waiting` (to be grouped), `pending`, `refused` or `sent`.
    pub state: String,
    /// To whom; none while it waits.
    pub recipient: Option<String>,
    /// The subject of the message, or what the notice says.
    pub subject: String,
    /// `Message-ID` of the message.
    pub message_id: Option<String>,
    /// Failed attempts.
    pub attempts: i64,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// When it was made, RFC 3339 UTC.
    pub created_at: String,
    /// When the next attempt is due.
    pub not_before: Option<String>,
    /// When it arrived.
    pub sent_at: Option<String>,
}

/// What is still to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Notices in no message yet, and deliveries that have not arrived.
    pub pending: i64,
    /// When the oldest of them was written.
    pub oldest: Option<Timestamp>,
}

impl Store {
    /// The outbox, newest first: what waits and the last messages.
    pub async fn outbox(&self, limit: i64) -> Result<Vec<OutboxRow>, StoreError> {
        let mut all = Vec::new();
        for channel in [Channel::Mail, Channel::Webhook] {
            all.extend(
                self.waiting_notices(channel).await?.iter().map(|notice| waiting_row(channel, notice)),
            );
        }
        all.reverse();
        let rows = sqlx::query(
            "SELECT m.id, m.channel, m.subject, m.message_id, m.created_at, d.recipient, d.attempts, d.error,
                    d.refused, d.not_before, d.sent_at
             FROM messages m JOIN deliveries d ON d.message = m.id
             ORDER BY m.created_at DESC, m.id DESC, d.recipient LIMIT $1",
        )
        .bind(limit)
        .fetch_all(self.pools.reader())
        .await?;
        for row in &rows {
            all.push(outbox_row(row)?);
        }
        Ok(all)
    }

    /// Messages that carried a notice of this alert, for each recipient, the first one first.
    pub async fn outbox_about(&self, alert: &str) -> Result<Vec<OutboxRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT m.id, m.channel, m.subject, m.message_id, m.created_at, d.recipient, d.attempts, d.error,
                    d.refused, d.not_before, d.sent_at
             FROM messages m JOIN deliveries d ON d.message = m.id
             WHERE m.id IN (SELECT c.message FROM message_notices c JOIN notices n ON n.id = c.notice WHERE n.alert = $1)
             ORDER BY m.created_at, m.id, d.recipient",
        )
        .bind(alert)
        .fetch_all(self.pools.reader())
        .await?;
        rows.iter().map(outbox_row).collect()
    }

    /// How much is still to be told, and since when.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS pending, MIN(at) AS oldest FROM (
                 SELECT at FROM notices WHERE mailed = 0 OR hooked = 0
                 UNION ALL
                 SELECT m.created_at AS at FROM messages m JOIN deliveries d ON d.message = m.id
                 WHERE d.sent_at IS NULL) AS open_rows",
        )
        .fetch_one(self.pools.reader())
        .await?;
        let oldest: Option<i64> = row.try_get("oldest")?;
        Ok(Backlog { pending: row.try_get("pending")?, oldest: oldest.map(Timestamp) })
    }
}

fn waiting_row(channel: Channel, notice: &Notice) -> OutboxRow {
    OutboxRow {
        id: notice.id.clone(),
        channel: channel.word().to_owned(),
        state: "waiting".to_owned(),
        recipient: None,
        subject: format!("{}: {} {}", notice.subject.short(), notice.kind.title(), notice.event.word()),
        message_id: None,
        attempts: 0,
        error: None,
        created_at: notice.at.rfc3339(),
        not_before: None,
        sent_at: None,
    }
}

fn outbox_row(row: &AnyRow) -> Result<OutboxRow, StoreError> {
    let sent_at: Option<i64> = row.try_get("sent_at")?;
    let refused: i64 = row.try_get("refused")?;
    let state = match (sent_at, refused) {
        (Some(_), _) => "sent",
        (None, 0) => "pending",
        (None, _) => "refused",
    };
    let not_before = Some(row.try_get::<i64, _>("not_before")?).filter(|at| sent_at.is_none() && *at > 0);
    Ok(OutboxRow {
        id: row.try_get("id")?,
        channel: row.try_get("channel")?,
        state: state.to_owned(),
        recipient: row.try_get("recipient")?,
        subject: row.try_get("subject")?,
        message_id: row.try_get("message_id")?,
        attempts: row.try_get("attempts")?,
        error: row.try_get("error")?,
        created_at: Timestamp(row.try_get("created_at")?).rfc3339(),
        not_before: not_before.map(|at| Timestamp(at).rfc3339()),
        sent_at: sent_at.map(|at| Timestamp(at).rfc3339()),
    })
}
