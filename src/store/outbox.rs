//! The outbox: notices that wait, messages that carry them, and how far each message is with each recipient.
//!
//! ```text
//! notice (alerts.rs) ─► message: id and text committed before the first attempt ─► delivery per recipient
//! ```
//!
//! Building needs the lease of the queue; that a message was delivered is the truth whoever notes it.

mod view;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::leases::{self, Lease};
use super::{Store, StoreError, from_json, to_json};
use crate::domain::alert::{Event, Kind, Notice, Severity, Subject};
use crate::domain::time::{CLOCK_SLACK, Span, Timestamp};

pub use view::{Backlog, OutboxRow};

/// How people and programs are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// E-mail.
    Mail,
    /// One JSON object an event.
    Webhook,
}

impl Channel {
    /// The word in the database and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Webhook => "webhook",
        }
    }

    fn mark(self) -> (&'static str, &'static str) {
        match self {
            Self::Mail => (
                "UPDATE notices SET mailed = $1 WHERE id = $2 AND mailed = 0",
                "SELECT n.id, n.alert, n.event, n.severity, n.detail, n.at, a.kind, a.subject, a.account, a.rotation, \
                 a.opened_at FROM notices n JOIN alerts a ON a.id = n.alert WHERE n.mailed = 0 ORDER BY n.at, n.id",
            ),
            Self::Webhook => (
                "UPDATE notices SET hooked = $1 WHERE id = $2 AND hooked = 0",
                "SELECT n.id, n.alert, n.event, n.severity, n.detail, n.at, a.kind, a.subject, a.account, a.rotation, \
                 a.opened_at FROM notices n JOIN alerts a ON a.id = n.alert WHERE n.hooked = 0 ORDER BY n.at, n.id",
            ),
        }
    }
}

/// A message to put on its way.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Unique, sorts by time.
    pub id: String,
    /// How it travels.
    pub channel: Channel,
    /// `Message-ID`, without angle brackets; the same at every attempt.
    pub message_id: String,
    /// `Message-ID` of the first mail about the same alert.
    pub in_reply_to: Option<String>,
    /// `Message-ID`s of the first mails about all its alerts.
    pub thread: Vec<String>,
    /// To whom, sorted.
    pub recipients: Vec<String>,
    /// The subject.
    pub subject: String,
    /// The text part, or the JSON of a webhook call.
    pub plain: String,
    /// The HTML part.
    pub html: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Ids of the notices that it carries.
    pub notices: Vec<String>,
}

/// A message with the recipients that are due.
#[derive(Debug, Clone)]
pub struct Due {
    /// The message; its notices are not read.
    pub message: NewMessage,
    /// Recipient and attempts so far.
    pub waiting: Vec<(String, u32)>,
}

impl Store {
    /// Notices that wait for a message of this channel, the oldest first.
    pub async fn waiting_notices(&self, channel: Channel) -> Result<Vec<Notice>, StoreError> {
        let rows = sqlx::query(channel.mark().1).fetch_all(self.pools.reader()).await?;
        rows.iter().map(notice).collect()
    }

    /// Commits a message before its first attempt. Its notices are in no other message of the channel:
    /// when one of them is by now, nothing is written and the answer is `false`.
    pub async fn post(&self, lease: &Lease, message: &NewMessage) -> Result<bool, StoreError> {
        let mut tx = self.pools.begin().await?;
        leases::hold(&mut tx, lease).await?;
        insert_message(&mut tx, message).await?;
        for notice in &message.notices {
            let query = sqlx::query(message.channel.mark().0).bind(1_i64).bind(notice);
            if query.execute(&mut *tx.inner).await?.rows_affected() == 0 {
                return Ok(false);
            }
            sqlx::query("INSERT INTO message_notices (message, notice) VALUES ($1, $2)")
                .bind(&message.id)
                .bind(notice)
                .execute(&mut *tx.inner)
                .await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Commits a digest and the moment of the next one; without a message, only the moment.
    pub async fn post_digest(
        &self,
        lease: &Lease,
        message: Option<&NewMessage>,
        next: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        leases::hold(&mut tx, lease).await?;
        if let Some(message) = message {
            insert_message(&mut tx, message).await?;
        }
        sqlx::query(
            "INSERT INTO meta (name, value) VALUES ('digest_due', $1)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(next.0.to_string())
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }

    /// When the next digest is due, if one was ever planned.
    pub async fn digest_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let text = self.fact("digest_due").await?;
        text.map(|text| text.parse().map(Timestamp).map_err(|_| StoreError::Corrupt("meta.digest_due")))
            .transpose()
    }

    /// Nobody is to be told by this channel: it is not configured.
    pub async fn leave_out(&self, lease: &Lease, channel: Channel, ids: &[String]) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        leases::hold(&mut tx, lease).await?;
        for id in ids {
            sqlx::query(channel.mark().0).bind(2_i64).bind(id).execute(&mut *tx.inner).await?;
        }
        tx.commit().await
    }

    /// `Message-ID` and recipients of the mails that carried notices of this alert, the first one first.
    pub async fn mails_about(&self, alert: &str) -> Result<Vec<(String, Vec<String>)>, StoreError> {
        let rows = sqlx::query(
            "SELECT m.message_id, m.recipients FROM messages m
             JOIN message_notices c ON c.message = m.id
             JOIN notices n ON n.id = c.notice
             WHERE n.alert = $1 AND m.channel = 'mail' ORDER BY m.created_at, m.id",
        )
        .bind(alert)
        .fetch_all(self.pools.reader())
        .await?;
        rows.iter()
            .map(|row| {
                let recipients: String = row.try_get("recipients")?;
                Ok((row.try_get("message_id")?, from_json(&recipients, "messages.recipients")?))
            })
            .collect()
    }

    /// Messages with recipients whose time has come, in the order of their making. What was put off before the
    /// clock went back is due too (R18). A reply waits for the first mail.
    pub async fn due_messages(&self) -> Result<Vec<Due>, StoreError> {
        let now = self.now().await?;
        let due = sqlx::query(DUE).bind(now.0).bind(now.plus(CLOCK_SLACK).0);
        let rows = due.fetch_all(self.pools.reader()).await?;
        let mut due: Vec<Due> = Vec::new();
        for row in &rows {
            let attempts = u32::try_from(row.try_get::<i64, _>("attempts")?).unwrap_or(u32::MAX);
            let waiting = (row.try_get("recipient")?, attempts);
            let message = message(row)?;
            match due.iter_mut().find(|due| due.message.id == message.id) {
                Some(due) => due.waiting.push(waiting),
                None => due.push(Due { message, waiting: vec![waiting] }),
            }
        }
        Ok(due)
    }

    /// It arrived. All recipients of one attempt in one transaction.
    pub async fn delivered(
        &self,
        message: &str,
        recipients: &[String],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        for recipient in recipients {
            sqlx::query(
                "UPDATE deliveries SET sent_at = $1, error = NULL, refused = 0
                 WHERE message = $2 AND recipient = $3 AND sent_at IS NULL",
            )
            .bind(at.0)
            .bind(message)
            .bind(recipient)
            .execute(&mut *tx.inner)
            .await?;
        }
        tx.commit().await
    }

    /// It did not, as far as is known: it is tried again after `wait`.
    pub async fn undelivered(
        &self,
        message: &str,
        recipients: &[String],
        (error, refused): (&str, bool),
        wait: Span,
    ) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        for recipient in recipients {
            sqlx::query(
                "UPDATE deliveries SET attempts = attempts + 1, error = $1, refused = $2, not_before = $3,
                   wait_set_at = $4 WHERE message = $5 AND recipient = $6 AND sent_at IS NULL",
            )
            .bind(error)
            .bind(i64::from(refused))
            .bind(tx.now.plus(wait).0)
            .bind(tx.now.0)
            .bind(message)
            .bind(recipient)
            .execute(&mut *tx.inner)
            .await?;
        }
        tx.commit().await
    }
}

const DUE: &str = "SELECT m.*, d.recipient, d.attempts
     FROM deliveries d JOIN messages m ON m.id = d.message
     WHERE d.sent_at IS NULL AND (d.not_before <= $1 OR d.wait_set_at > $2)
       AND NOT EXISTS (SELECT 1 FROM messages f JOIN deliveries e ON e.message = f.id
                       WHERE f.message_id = m.in_reply_to AND e.recipient = d.recipient
                         AND e.sent_at IS NULL AND e.refused = 0)
     ORDER BY m.created_at, m.id, d.recipient LIMIT 500";

async fn insert_message(tx: &mut super::pool::Tx, message: &NewMessage) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO messages
             (id, channel, message_id, in_reply_to, thread, recipients, subject, plain, html, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(&message.id)
    .bind(message.channel.word())
    .bind(&message.message_id)
    .bind(&message.in_reply_to)
    .bind(to_json(&message.thread))
    .bind(to_json(&message.recipients))
    .bind(&message.subject)
    .bind(&message.plain)
    .bind(&message.html)
    .bind(message.created_at.0)
    .execute(&mut *tx.inner)
    .await?;
    for recipient in &message.recipients {
        sqlx::query(
            "INSERT INTO deliveries (message, recipient, attempts, not_before, refused) VALUES ($1, $2, 0, 0, 0)",
        )
        .bind(&message.id)
        .bind(recipient)
        .execute(&mut *tx.inner)
        .await?;
    }
    Ok(())
}

fn notice(row: &AnyRow) -> Result<Notice, StoreError> {
    let word = |column: &str| row.try_get::<String, _>(column);
    Ok(Notice {
        id: word("id")?,
        alert: word("alert")?,
        event: Event::parse(&word("event")?).ok_or(StoreError::Corrupt("notices.event"))?,
        kind: Kind::parse(&word("kind")?).ok_or(StoreError::Corrupt("alerts.kind"))?,
        severity: Severity::parse(&word("severity")?).ok_or(StoreError::Corrupt("notices.severity"))?,
        subject: Subject::parse(&word("subject")?),
        account: row.try_get("account")?,
        rotation: row.try_get("rotation")?,
        detail: word("detail")?,
        opened_at: Timestamp(row.try_get("opened_at")?),
        at: Timestamp(row.try_get("at")?),
    })
}

fn message(row: &AnyRow) -> Result<NewMessage, StoreError> {
    let word = |column: &str| row.try_get::<String, _>(column);
    let channel = match word("channel")?.as_str() {
        "mail" => Channel::Mail,
        "webhook" => Channel::Webhook,
        _ => return Err(StoreError::Corrupt("messages.channel")),
    };
    Ok(NewMessage {
        id: word("id")?,
        channel,
        message_id: word("message_id")?,
        in_reply_to: row.try_get("in_reply_to")?,
        thread: from_json(&word("thread")?, "messages.thread")?,
        recipients: from_json(&word("recipients")?, "messages.recipients")?,
        subject: word("subject")?,
        plain: word("plain")?,
        html: word("html")?,
        created_at: Timestamp(row.try_get("created_at")?),
        notices: Vec::new(),
    })
}
