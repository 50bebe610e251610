//! How long a message may take, and which are due.

use crate::domain::time::Span;
use crate::engine::{Engine, EngineError};
use crate::store::Due;

pub(crate) async fn due_messages(engine: &Engine) -> Result<Vec<Due>, EngineError> {
    let due = engine.parts.store.due_messages().await?;
    Ok(due.into_iter().filter(|due| engine.parts.notifier.has(due.message.channel)).collect())
}

/// Time for one attempt. A mail server may think about a message for a while, and one that is cut off while
/// it thinks may take it and be asked again: three ordinary calls' time.
pub(crate) fn send_patience(engine: &Engine) -> Span {
    Span(engine.parts.call_timeout.0.saturating_mul(3))
}
