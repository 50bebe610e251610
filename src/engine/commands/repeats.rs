//! Requests that may be repeated: whoever asks the same again under the same key gets the answer of the first.

use crate::domain::secret::Secret;
use crate::engine::{Engine, EngineError};
use crate::store::{Before, Repeatable};

/// A request of this caller, by their id and the key that they gave it.
pub fn repeatable(engine: &Engine, caller: String, key: &str, request: &str) -> Repeatable {
    Repeatable { caller, key: key.to_owned(), request: engine.parts.fingerprints.of(&Secret::new(request)) }
}

/// Begins it. Answers what the first one was answered, if there was one.
///
/// # Errors
/// A conflict while the first is at work, a usage error when it asked for something else.
pub async fn begin(engine: &Engine, asked: &Repeatable) -> Result<Option<(i64, String)>, EngineError> {
    match engine.parts.store.begin_repeatable(asked).await? {
        Before::Nothing => Ok(None),
        Before::Answered(status, body) => Ok(Some((status, body))),
        Before::AtWork => Err(EngineError::Conflict {
            text: "the first request of this Idempotency-Key is at work, or it is not known what came of it"
                .to_owned(),
            hint: Some(
                "ask again in a moment; if that goes on, look at what is there and take another key"
                    .to_owned(),
            ),
        }),
        Before::Another => Err(EngineError::usage(
            "this Idempotency-Key was used for another request",
            "take a new one for each thing that is asked for",
        )),
    }
}

/// What came of it. A failure is not kept: it may be asked for again.
pub async fn end(
    engine: &Engine,
    asked: &Repeatable,
    answer: Option<(u16, &str)>,
) -> Result<(), EngineError> {
    Ok(engine.parts.store.end_repeatable(asked, answer).await?)
}
