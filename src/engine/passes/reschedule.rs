//! Keys whose next look is noted for later than the schedule can mean: the schedule was changed, or a clock went back. And
//! those that were looked at by a version which noted none: not all at once, each at its own moment.

use crate::domain::schedule::rhythm;
use crate::domain::schedule::rhythm::Turn;
use crate::domain::time::{Span, Timestamp};
use crate::engine::{Engine, EngineError};
use crate::store::{Lane, Waiting};

/// So many at a time.
const STEP: i64 = 500;
/// The next look of a key for which none was ever noted.
const NEVER: Timestamp = Timestamp(0);

/// Notes the next look of a few keys of the lane anew, each at its own moment. `kind`: of its provider.
pub(crate) async fn look(
    engine: &Engine,
    kind: &str,
    waiting: &Waiting,
    now: Timestamp,
) -> Result<(), EngineError> {
    let (parts, lane) = (&engine.parts, &waiting.lane);
    let floor = parts.tester.min_interval(kind).unwrap_or(Span::ZERO);
    // Two of the shortest periods are within what any schedule means, and need no calendar.
    if waiting.last <= now.plus(Span(parts.tests.interval.0.saturating_mul(2))) {
        return Ok(());
    }
    let latest = parts.tests.rhythm.latest(floor, now);
    if waiting.last <= latest {
        return Ok(());
    }
    let ids = parts.store.put_off(lane, latest, STEP).await?;
    anew(engine, lane, floor, ids, now).await
}

/// Spreads the keys of the lanes that an older version looked at: their next look was never noted. False when there are none.
pub(crate) async fn spread(
    engine: &Engine,
    waiting: &[Waiting],
    now: Timestamp,
) -> Result<bool, EngineError> {
    let mut is_any = false;
    for lane in waiting.iter().filter(|one| one.first == NEVER).map(|one| &one.lane) {
        loop {
            let ids = engine.parts.store.never_scheduled(lane, STEP).await?;
            if ids.is_empty() {
                break;
            }
            is_any = true;
            anew(engine, lane, Span::ZERO, ids, now).await?;
        }
    }
    Ok(is_any)
}

async fn anew(
    engine: &Engine,
    lane: &Lane,
    floor: Span,
    ids: Vec<String>,
    now: Timestamp,
) -> Result<(), EngineError> {
    let turn = |id: String| {
        let turn = Turn { offset: rhythm::offset(&id), floor, ..Turn::default() };
        let next = engine.parts.tests.rhythm.next(turn, now);
        (id, next)
    };
    let turns: Vec<(String, Timestamp)> = ids.into_iter().map(turn).collect();
    tracing::info!(provider = %lane.provider, keys = turns.len(), "looks are scheduled anew");
    Ok(engine.parts.store.look_at(&turns).await?)
}
