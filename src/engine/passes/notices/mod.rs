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

pub(crate) mod build;
pub(crate) mod limits;
pub(crate) mod send;

use tokio_util::sync::CancellationToken;

use crate::domain::alert::{Kind, Severity, Subject};
use crate::domain::time::{Span, Timestamp};
use crate::engine::{Engine, EngineError};
use crate::store::{AlertRow, Channel, Lease};

/// The lease of the outbox.
const QUEUE: &str = "queue:notices";

/// A required destination that fails for this long is critical (interface.md §5).
const DESTINATION_PATIENCE: Span = Span::hours(24);

/// What one pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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

/// Tells what there is to tell. Does nothing when another process is at it. A failing server is no error of
/// the pass: what could not be told waits and is told later. Asked to stop, it ends with the message in hand.
pub async fn deliver_notices(engine: &Engine, stop: &CancellationToken) -> Result<NoticeReport, EngineError> {
    if !anything_to_tell(engine).await? {
        return Ok(NoticeReport::default());
    }
    let span = engine.parts.lease.max(Span(limits::send_patience(engine).0 + send::MARGIN.0 * 2));
    let Some(mut lease) = engine.parts.store.acquire(QUEUE, &engine.parts.owner, span).await? else {
        return Ok(NoticeReport::default());
    };
    let done = notices_pass(engine, &mut lease, span, stop).await;
    engine.parts.store.release(&lease).await?;
    done
}

/// Looks without the lease, so that an idle second writes nothing.
async fn anything_to_tell(engine: &Engine) -> Result<bool, EngineError> {
    let store = &engine.parts.store;
    Ok(!store.waiting_notices(Channel::Mail).await?.is_empty()
        || !store.waiting_notices(Channel::Webhook).await?.is_empty()
        || !limits::due_messages(engine).await?.is_empty()
        || build::digest_is_due(engine).await?
        || something_is_old(engine).await?)
}

/// Reminders and overdue destinations.
async fn something_is_old(engine: &Engine) -> Result<bool, EngineError> {
    let open = engine.parts.store.alerts(false).await?;
    let remind = engine.parts.notifier.mail.as_ref().map(|room| room.remind_every);
    let now = engine.clock().now();
    let told = |row: &AlertRow| row.reminded_at.as_ref().unwrap_or(&row.opened_at).clone();
    let old = |at: &str, span: Span| Timestamp::parse_rfc3339(at).is_some_and(|at| now.since(at) >= span);
    let to_remind = |row: &AlertRow| {
        row.acked_at.is_none()
            && row.severity != Severity::Info.word()
            && remind.is_some_and(|every| old(&told(row), every))
    };
    Ok(open.iter().any(|row| to_remind(row) || is_overdue(engine, row, now)))
}

/// A required destination that has failed for a day.
fn is_overdue(engine: &Engine, row: &AlertRow, now: Timestamp) -> bool {
    let Subject::Destination(name) = Subject::parse(&row.subject) else { return false };
    let since = Timestamp::parse_rfc3339(&row.opened_at);
    row.kind == Kind::DestinationFailed.word()
        && row.severity == Severity::Warning.word()
        && since.is_some_and(|since| now.since(since) >= DESTINATION_PATIENCE)
        && engine.parts.destinations.get(&name).is_some_and(|place| place.target.required)
}

async fn notices_pass(
    engine: &Engine,
    lease: &mut Lease,
    span: Span,
    stop: &CancellationToken,
) -> Result<NoticeReport, EngineError> {
    let mut report = NoticeReport::default();
    let now = engine.clock().now();
    for row in engine.parts.store.alerts(false).await? {
        if is_overdue(engine, &row, now) {
            engine.parts.store.escalate(lease, &row.id, Severity::Critical).await?;
        }
    }
    if let Some(room) = &engine.parts.notifier.mail {
        report.reminded = engine.parts.store.remind(lease, now, room.remind_every).await?;
    }
    report.built = build::build_messages(engine, lease).await?;
    send::send_messages(engine, lease, span, stop, &mut report).await?;
    Ok(report)
}
