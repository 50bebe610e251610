//! A look at one table because a person said so.

use crate::destination::Ledger;
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::time::Span;
use crate::engine::passes::mirror;
use crate::engine::passes::mirror::Memory;
use crate::engine::{Engine, EngineError};
use crate::store::Lease;

/// Between two attempts to get a table that another process looks at.
const AGAIN: Span = Span(200);

/// True when stored keys are mirrored there.
pub fn mirrors(engine: &Engine, name: &str) -> bool {
    let ledger = engine.destination(name).ok().and_then(|place| place.adapter.ledger());
    ledger.and_then(Ledger::mirrors).is_some()
}

/// Brings every stored key that a destination mirrors there now, although nothing may have changed here.
///
/// # Errors
/// What was left undone, e.g. a key that somebody else put there: refused, unless `on_drift` says otherwise.
pub async fn mirror_by_hand(engine: &Engine, name: &str, patience: Span) -> Result<String, EngineError> {
    let place = engine.destination(name)?;
    let mirror = place.adapter.ledger().and_then(|ledger| Some((ledger, ledger.mirrors()?)));
    let (ledger, provider) = mirror.ok_or_else(|| {
        EngineError::usage(
            format!("nothing is published to {name}: no rotation names it, and it mirrors no stored keys"),
            "name it in the `destinations` of a rotation; type = \"postgres\" also has mirror = true",
        )
    })?;
    let lease = table_for_ourselves(engine, &mirror::subject(place), patience).await?;
    let memory: Memory = engine.parts.store.memory(&mirror::subject(place)).await?;
    let done = mirror::mirror_now(engine, place, ledger, memory, &lease).await;
    engine.parts.store.release(&lease).await?;
    done?;
    let memory: Memory = engine.parts.store.memory(&mirror::subject(place)).await?;
    match memory.error {
        None => Ok(format!("{name} has every stored key of {provider} that is active and tested valid")),
        Some(why) if memory.attempts == 0 => Err(EngineError::Refused(format!("refused: {why}"))),
        Some(why) => Err(unfinished(name, &why)),
    }
}

async fn table_for_ourselves(engine: &Engine, subject: &str, patience: Span) -> Result<Lease, EngineError> {
    let until = engine.clock().monotonic().0 + patience.0;
    loop {
        let held = engine.parts.store.acquire(subject, &engine.parts.owner, engine.parts.lease).await?;
        match held {
            Some(lease) => return Ok(lease),
            None if engine.clock().monotonic().0 >= until => {
                return Err(unfinished(subject, "another rekeyd process looks at it"));
            }
            None => engine.clock().sleep(AGAIN).await,
        }
    }
}

fn unfinished(what: &str, why: &str) -> EngineError {
    EngineError::outside(
        format!("{what} was not brought up to date"),
        Failure::new(FailureKind::Unclear, why),
    )
}
