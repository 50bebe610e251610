//! `alerts list | ack | test-email`.

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::alert::{Kind, Subject};
use crate::engine::{Engine, EngineError};
use crate::store::{AlertRow, OutboxRow};

/// Lines of the outbox that are shown.
const LINES: i64 = 200;

/// An alert: a row of `alerts list`, and `alerts ack`.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields are those of AlertRow")]
pub struct AlertView {
    pub id: String,
    pub kind: String,
    pub severity: String,
    pub subject: String,
    pub account: Option<String>,
    pub rotation: Option<String>,
    pub detail: String,
    /// What still works, what rekeyd does next, and what a person must do: the words of the mail.
    pub advice: Option<AdviceView>,
    pub opened_at: String,
    pub acked_at: Option<String>,
    pub acked_by: Option<String>,
    pub reminded_at: Option<String>,
    pub resolved_at: Option<String>,
}

/// What people should know of an alert.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[expect(missing_docs, reason = "the fields are those of Advice")]
pub struct AdviceView {
    pub still: &'static str,
    pub next: &'static str,
    pub must: String,
}

/// A row of `alerts list --outbox`.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields are those of OutboxRow")]
pub struct OutboxView {
    pub id: String,
    pub channel: String,
    pub state: String,
    pub recipient: Option<String>,
    pub subject: String,
    pub message_id: Option<String>,
    pub attempts: i64,
    pub error: Option<String>,
    pub created_at: String,
    pub not_before: Option<String>,
    pub sent_at: Option<String>,
}

/// What came of a test mail for one recipient: a row of `alerts test-email`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TrialView {
    /// To whom.
    pub recipient: String,
    /// The server took it.
    pub sent: bool,
    /// What the server said, or why it could not be asked.
    pub answer: String,
}

/// Alerts, newest first; those that are over only when asked for.
pub async fn alert_views(engine: &Engine, with_resolved: bool) -> Result<Vec<AlertView>, EngineError> {
    Ok(engine.store().alerts(with_resolved).await?.into_iter().map(alert_view).collect())
}

/// One alert, and whom it reached: the page of an alert.
#[derive(Debug, Serialize)]
pub struct AlertDetailView {
    /// What is wrong.
    pub alert: AlertView,
    /// Messages about it, for each recipient, the first one first.
    pub told: Vec<OutboxView>,
}

/// One alert, and whom it reached.
pub async fn alert_detail(engine: &Engine, id: &str) -> Result<AlertDetailView, EngineError> {
    let row = engine.store().alert(id).await?.ok_or_else(|| {
        EngineError::not_there(format!("there is no alert {id}"), "`rekeyd alerts list` shows the open ones")
    })?;
    let told = engine.store().outbox_about(id).await?;
    Ok(AlertDetailView { alert: alert_view(row), told: told.into_iter().map(outbox_view).collect() })
}

/// One alert.
pub fn alert_view(row: AlertRow) -> AlertView {
    let advice = Kind::parse(&row.kind).map(Kind::advice).map(|advice| AdviceView {
        still: advice.still,
        next: advice.next,
        must: advice.must_about(&Subject::parse(&row.subject), row.rotation.as_deref()),
    });
    AlertView {
        advice,
        id: row.id,
        kind: row.kind,
        severity: row.severity,
        subject: row.subject,
        account: row.account,
        rotation: row.rotation,
        detail: row.detail,
        opened_at: row.opened_at,
        acked_at: row.acked_at,
        acked_by: row.acked_by,
        reminded_at: row.reminded_at,
        resolved_at: row.resolved_at,
    }
}

/// The outbox, newest first: what waits and the last messages.
pub async fn outbox_views(engine: &Engine) -> Result<Vec<OutboxView>, EngineError> {
    Ok(engine.store().outbox(LINES).await?.into_iter().map(outbox_view).collect())
}

fn outbox_view(row: OutboxRow) -> OutboxView {
    OutboxView {
        id: row.id,
        channel: row.channel,
        state: row.state,
        recipient: row.recipient,
        subject: row.subject,
        message_id: row.message_id,
        attempts: row.attempts,
        error: row.error,
        created_at: row.created_at,
        not_before: row.not_before,
        sent_at: row.sent_at,
    }
}
