//! Keys whose next look is noted for later than the schedule can mean: the schedule was changed, or a clock went back.

use crate::domain::schedule::rhythm;
use crate::domain::schedule::rhythm::Turn;
use crate::domain::time::{Span, Timestamp};
use crate::engine::EngineError;
use crate::engine::passes::tester::Tester;
use crate::store::Waiting;

/// So many at a time.
const STEP: i64 = 500;

/// Notes the next look of a few keys of the lane anew, each at its own moment.
pub(crate) async fn look(
    tester: &mut Tester<'_>,
    waiting: &Waiting,
    now: Timestamp,
) -> Result<(), EngineError> {
    let (parts, lane) = (&tester.engine.parts, &waiting.lane);
    let kind = tester.providers.get(&lane.provider).map_or("", |row| row.kind.as_str());
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
    let turn = |id: String| {
        let turn = Turn { offset: rhythm::offset(&id), floor, ..Turn::default() };
        let next = parts.tests.rhythm.next(turn, now);
        (id, next)
    };
    let turns: Vec<(String, Timestamp)> = ids.into_iter().map(turn).collect();
    tracing::info!(provider = %lane.provider, keys = turns.len(), "looks are scheduled anew");
    Ok(parts.store.look_at(&turns).await?)
}
