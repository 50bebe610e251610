//! Due messages go out, and what came of it is noted.
//!
//! | what came of an attempt | then |
//! |---|---|
//! | the server took it | sent, all recipients of the envelope in one transaction |
//! | refused, several recipients | each again at once, alone: one dead mailbox must not keep the others waiting |
//! | refused, one recipient (5xx) | noted as refused, and tried again every hour |
//! | not now (4xx) | full-jitter backoff, 5 s to 15 min |
//! | no whole answer | the same, and the server is left alone for the rest of the pass |

use tokio_util::sync::CancellationToken;

use crate::domain::time::Span;
use crate::engine::passes::notices::{NoticeReport, limits};
use crate::engine::{Engine, EngineError};
use crate::net::Deadline;
use crate::notify::{Letter, Mail, Obstacle, Undelivered};
use crate::store::NewMessage;
use crate::store::{Channel, Due, Lease};

/// An attempt is over this long before the lease is.
pub(crate) const MARGIN: Span = Span::seconds(2);

/// A recipient that was refused for good is tried again so often: somebody may mend the mailbox.
const REFUSED_AGAIN: Span = Span::hours(1);

/// Who is asked to stop waits this long for the answer to what is being sent.
const STOP_PATIENCE: Span = Span::seconds(5);

/// Sends what is due, the oldest first, for about as long as one call may take: whoever wants to stop this
/// process never waits for a long queue. The next pass goes on.
pub(crate) async fn send_messages(
    engine: &Engine,
    lease: &mut Lease,
    span: Span,
    stop: &CancellationToken,
    report: &mut NoticeReport,
) -> Result<(), EngineError> {
    let mut away: Vec<Channel> = Vec::new();
    let until = Span(engine.clock().monotonic().0 + engine.parts.call_timeout.0);
    for due in limits::due_messages(engine).await? {
        let channel = due.message.channel;
        if away.contains(&channel) {
            continue;
        }
        if engine.clock().monotonic() > until || stop.is_cancelled() {
            break;
        }
        // The lease is renewed before every attempt: who lost it sends nothing more.
        *lease = engine.parts.store.renew(lease, span).await?;
        if !send_due(engine, &due, stop, report).await? {
            away.push(channel);
            put_off_others(engine, channel, &due).await?;
        }
    }
    Ok(())
}

/// All due recipients in one envelope; refused ones each in their own. `false` when the server is away.
async fn send_due(
    engine: &Engine,
    due: &Due,
    stop: &CancellationToken,
    report: &mut NoticeReport,
) -> Result<bool, EngineError> {
    let all: Vec<String> = due.waiting.iter().map(|(recipient, _)| recipient.clone()).collect();
    let said = attempt(engine, &due.message, &all, stop).await;
    let split = all.len() > 1 && said.as_ref().is_err_and(|error| error.obstacle != Obstacle::Away);
    if !split {
        return note(engine, due, &due.waiting, said, report).await;
    }
    for one in &due.waiting {
        let said = attempt(engine, &due.message, std::slice::from_ref(&one.0), stop).await;
        if !note(engine, due, std::slice::from_ref(one), said, report).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Asked to stop, it waits a moment for the server's answer: without it the message goes out again.
async fn attempt(
    engine: &Engine,
    message: &NewMessage,
    recipients: &[String],
    stop: &CancellationToken,
) -> Result<String, Undelivered> {
    let hurry = async {
        stop.cancelled().await;
        engine.clock().sleep(STOP_PATIENCE).await;
    };
    tokio::select! {
        said = send(engine, message, recipients) => said,
        () = hurry => Err(Undelivered { obstacle: Obstacle::Away, reason: "rekeyd was stopped".to_owned() }),
    }
}

async fn send(engine: &Engine, message: &NewMessage, recipients: &[String]) -> Result<String, Undelivered> {
    let deadline = Deadline::after(limits::send_patience(engine).to_std());
    let post = &engine.parts.notifier;
    match (message.channel, &post.mail, &post.webhook) {
        (Channel::Mail, Some(room), _) => room.mailer.send(&mail(message), recipients, deadline).await,
        (Channel::Webhook, _, Some(webhook)) => {
            webhook.post(&message.message_id, &message.plain, deadline).await
        }
        _ => Err(Undelivered { obstacle: Obstacle::Away, reason: "not configured".to_owned() }),
    }
}

/// Notes what came of an attempt; `false` when the server is away.
async fn note(
    engine: &Engine,
    due: &Due,
    to: &[(String, u32)],
    said: Result<String, Undelivered>,
    report: &mut NoticeReport,
) -> Result<bool, EngineError> {
    let (id, now) = (&due.message.id, engine.clock().now());
    let recipients: Vec<String> = to.iter().map(|(recipient, _)| recipient.clone()).collect();
    let error = match said {
        Ok(answer) => {
            engine.parts.store.delivered(id, &recipients, now).await?;
            report.sent += recipients.len();
            tracing::info!(message = %due.message.message_id, recipients = recipients.len(), %answer, "told");
            return Ok(true);
        }
        Err(error) => error,
    };
    let refused = error.obstacle == Obstacle::Refused;
    let attempts = to.iter().map(|(_, attempts)| *attempts).max().unwrap_or(0);
    let wait = if refused { REFUSED_AGAIN } else { engine.backoff(attempts) };
    let outcome = (error.reason.as_str(), refused);
    engine.parts.store.undelivered(id, &recipients, outcome, wait).await?;
    report.failed += recipients.len();
    tracing::warn!(message = %due.message.message_id, ?recipients, %error, again_in_ms = wait.0, "not told");
    Ok(error.obstacle != Obstacle::Away)
}

/// The server is away: whatever else is due would only find the same out, one deadline after the other.
async fn put_off_others(engine: &Engine, channel: Channel, tried: &Due) -> Result<(), EngineError> {
    for due in limits::due_messages(engine).await? {
        if due.message.channel != channel || due.message.id == tried.message.id {
            continue;
        }
        let attempts = due.waiting.iter().map(|(_, attempts)| *attempts).max().unwrap_or(0);
        let recipients: Vec<String> = due.waiting.into_iter().map(|(recipient, _)| recipient).collect();
        let outcome = ("the server is away", false);
        let again = engine.backoff(attempts);
        engine.parts.store.undelivered(&due.message.id, &recipients, outcome, again).await?;
    }
    Ok(())
}

fn mail(message: &NewMessage) -> Mail {
    Mail {
        message_id: message.message_id.clone(),
        in_reply_to: message.in_reply_to.clone(),
        references: message.thread.clone(),
        to: message.recipients.clone(),
        at: message.created_at,
        letter: Letter {
            subject: message.subject.clone(),
            text: message.plain.clone(),
            html: message.html.clone(),
        },
    }
}
