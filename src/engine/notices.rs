//! The delivery of notices: what the store says happened, told to people.
//!
//! ```text
//! post     how people are told: routes, times, the adapters
//! build    waiting notices → messages, committed with their ids before anything is sent
//! send     due messages → the servers; what came of it → the store
//! ```
//!
//! One process at a time, under the lease `queue:notices`, so that nothing is told twice. A message that a
//! server took, but whose answer or mark was lost, goes out again under the same `Message-ID`: told twice, if
//! the reader's side does not notice, is better than not told.

mod build;
mod post;
mod send;

use tokio_util::sync::CancellationToken;

use super::{Engine, EngineError};
use crate::domain::alert::{Kind, Severity};
use crate::domain::time::{Span, Timestamp};
use crate::net::Deadline;
use crate::notify::{self, Mail, Undelivered};
use crate::store::{AlertRow, Backlog, Channel, Due, Lease, new_id};

pub use post::{MailRoom, Post, Reach, Route};

/// The lease of the outbox.
const QUEUE: &str = "queue:notices";
/// A required destination that fails for this long is critical (interface.md §5).
const DESTINATION_PATIENCE: Span = Span::hours(24);
/// A message is put off for at most this long; what waits longer does so because a clock went back.
const LONGEST_WAIT: Span = Span::hours(2);

/// What one pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct NoticeReport {
    /// Messages put together.
    pub built: usize,
    /// Deliveries that arrived.
    pub sent: usize,
    /// Deliveries that did not.
    pub failed: usize,
    /// Alerts that people were reminded of.
    pub reminded: usize,
}

/// What came of a test mail for one recipient.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Trial {
    /// To whom.
    pub recipient: String,
    /// The server took it.
    pub sent: bool,
    /// What the server said, or why it could not be asked.
    pub answer: String,
}

impl Engine {
    /// Tells what there is to tell. Does nothing when another process is at it. A failing server is no error of
    /// the pass: what could not be told waits and is told later. Asked to stop, it ends with the message in hand.
    pub async fn deliver_notices(&self, stop: &CancellationToken) -> Result<NoticeReport, EngineError> {
        if !self.anything_to_tell().await? {
            return Ok(NoticeReport::default());
        }
        let span = self.parts.lease.max(Span(self.send_patience().0 + send::MARGIN.0 * 2));
        let Some(mut lease) = self.parts.store.acquire(QUEUE, &self.parts.owner, span).await? else {
            return Ok(NoticeReport::default());
        };
        let done = self.notices_pass(&mut lease, span, stop).await;
        self.parts.store.release(&lease).await?;
        done
    }

    /// How much is still to be told, and since when: for metrics and readiness.
    pub async fn notice_backlog(&self) -> Result<Backlog, EngineError> {
        Ok(self.parts.store.backlog().await?)
    }

    /// A person has seen an alert.
    pub async fn acknowledge(&self, alert: &str) -> Result<AlertRow, EngineError> {
        let find = async || {
            let all = self.parts.store.alerts(true).await?;
            Ok::<_, EngineError>(all.into_iter().find(|row| row.id == alert))
        };
        let Some(row) = find().await? else {
            return Err(EngineError::usage(
                format!("there is no alert {alert}"),
                "`rekeyd alerts list` shows the open ones",
            ));
        };
        if row.resolved_at.is_some() {
            return Err(EngineError::usage(format!("alert {alert} is over"), "there is nothing to do"));
        }
        let entry = self.entry("alert.acknowledged", &row.subject, &row.kind);
        self.parts.store.acknowledge(alert, &entry).await?;
        Ok(find().await?.unwrap_or(row))
    }

    /// Sends a test mail to everybody who may get one, each in an envelope of their own.
    pub async fn test_email(&self) -> Result<Vec<Trial>, EngineError> {
        let Some(room) = &self.parts.post.mail else {
            return Err(EngineError::usage("the configuration has no [email]", "add it, then try again"));
        };
        let mut trials = Vec::new();
        for recipient in room.everybody() {
            let mail = Mail {
                message_id: format!("{}@{}", new_id(), room.mailer.domain()),
                in_reply_to: None,
                references: Vec::new(),
                to: vec![recipient.clone()],
                at: self.clock().now(),
                letter: notify::trial(&self.parts.post.voice()),
            };
            let deadline = Deadline::after(self.send_patience().to_std());
            let said = room.mailer.send(&mail, std::slice::from_ref(&recipient), deadline).await;
            let (sent, answer) = match said {
                Ok(answer) => (true, answer),
                Err(Undelivered { reason, .. }) => (false, reason),
            };
            trials.push(Trial { recipient, sent, answer });
        }
        Ok(trials)
    }

    /// Looks without the lease, so that an idle second writes nothing.
    async fn anything_to_tell(&self) -> Result<bool, EngineError> {
        let store = &self.parts.store;
        Ok(!store.waiting_notices(Channel::Mail).await?.is_empty()
            || !store.waiting_notices(Channel::Webhook).await?.is_empty()
            || !self.due_messages().await?.is_empty()
            || self.digest_is_due().await?
            || self.something_is_old().await?)
    }

    /// Reminders and overdue destinations.
    async fn something_is_old(&self) -> Result<bool, EngineError> {
        let open = self.parts.store.alerts(false).await?;
        let remind = self.parts.post.mail.as_ref().map(|room| room.remind_every);
        let now = self.clock().now();
        let told = |row: &AlertRow| row.reminded_at.as_ref().unwrap_or(&row.opened_at).clone();
        let old = |at: &str, span: Span| Timestamp::parse_rfc3339(at).is_some_and(|at| now.since(at) >= span);
        let to_remind = |row: &AlertRow| {
            row.acked_at.is_none()
                && row.severity != Severity::Info.word()
                && remind.is_some_and(|every| old(&told(row), every))
        };
        Ok(open.iter().any(|row| to_remind(row) || self.is_overdue(row, now)))
    }

    /// A required destination that has failed for a day.
    fn is_overdue(&self, row: &AlertRow, now: Timestamp) -> bool {
        let name = row.subject.strip_prefix("destination ").unwrap_or_default();
        let since = Timestamp::parse_rfc3339(&row.opened_at);
        row.kind == Kind::DestinationFailed.word()
            && row.severity == Severity::Warning.word()
            && since.is_some_and(|since| now.since(since) >= DESTINATION_PATIENCE)
            && self.parts.places.get(name).is_some_and(|place| place.target.required)
    }

    async fn notices_pass(
        &self,
        lease: &mut Lease,
        span: Span,
        stop: &CancellationToken,
    ) -> Result<NoticeReport, EngineError> {
        let mut report = NoticeReport::default();
        let now = self.clock().now();
        for row in self.parts.store.alerts(false).await? {
            if self.is_overdue(&row, now) {
                self.parts.store.escalate(lease, &row.id, Severity::Critical).await?;
            }
        }
        if let Some(room) = &self.parts.post.mail {
            report.reminded = self.parts.store.remind(lease, now, room.remind_every).await?;
        }
        report.built = self.build_messages(lease).await?;
        self.send_messages(lease, span, stop, &mut report).await?;
        Ok(report)
    }

    async fn due_messages(&self) -> Result<Vec<Due>, EngineError> {
        let due = self.parts.store.due_messages(self.clock().now(), LONGEST_WAIT).await?;
        Ok(due.into_iter().filter(|due| self.parts.post.has(due.message.channel)).collect())
    }

    /// Time for one attempt. A mail server may think about a message for a while, and one that is cut off while
    /// it thinks may take it and be asked again: three ordinary calls' time.
    fn send_patience(&self) -> Span {
        Span(self.parts.call_timeout.0.saturating_mul(3))
    }
}
