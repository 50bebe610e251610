//! One event of a run, committed with all that follows from it.

use serde_json::json;

use crate::domain::rotation::{ASKED, Directive, Event, Run, State, Trigger, apply};
use crate::domain::schedule::Schedule;
use crate::domain::time::{Span, Until};
use crate::engine::session::{Session, consequences};
use crate::engine::{EngineError, Rotation};
use crate::store::{Change, EffectKind, EffectRow, EffectStatus};

/// What a performed directive says of itself, and the run after it.
pub(crate) struct Performed {
    pub(crate) run: Run,
    pub(crate) did: String,
}

/// A vendor may ask for no more (R18).
pub(crate) const LONGEST_WAIT: Span = Span::hours(25);

/// Failures in a row that lengthen the wait before the next try.
const COUNTED_FAILURES: i64 = 10;

/// The due time after the one that a run starts for. `every` counts from the key that this run will issue, so
/// that is settled at its end.
pub(crate) fn next_due_at_start(session: &Session<'_>, rotation: &Rotation) -> Change {
    let now = session.engine.parts.clock.now();
    let fraction = session.engine.parts.clock.fraction();
    let at = rotation.schedule.next_due(now, Some(now), fraction);
    Change::Due { rotation: rotation.name.clone(), at }
}

/// The due time after a run that ends: regular when it is done or a person ended it; soon when a scheduled one
/// failed. Another run that failed leaves the schedule as it is.
async fn next_due_at_end(session: &Session<'_>, after: &Run) -> Result<Option<Change>, EngineError> {
    let superseded = matches!(after.state, State::Superseded { .. });
    let rotation = session.engine.parts.rotations.get(&after.rotation);
    let (Some(rotation), true, false) = (rotation, after.state.is_terminal(), superseded) else {
        return Ok(None);
    };
    let store = &session.engine.parts.store;
    let now = session.engine.parts.clock.now();
    let fraction = session.engine.parts.clock.fraction();
    let at = if after.state == State::Done {
        let issued = store.issued().await?.get(&after.rotation).copied();
        rotation.schedule.next_due(now, Some(issued.unwrap_or(now)), fraction)
    } else if !has_failed(after) {
        rotation.schedule.next_due(now, Some(now), fraction)
    } else if after.trigger == Trigger::Schedule {
        let ended = store.ended_runs(&after.rotation, COUNTED_FAILURES).await?;
        let before = ended.iter().take_while(|row| has_failed(&row.run)).count();
        Some(Schedule::retry(now, u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1), fraction))
    } else {
        return Ok(None);
    };
    Ok(Some(Change::Due { rotation: after.rotation.clone(), at }))
}

/// Ended without a new key, and no person wanted that.
pub(crate) fn has_failed(run: &Run) -> bool {
    let ended = matches!(run.state, State::Aborted { .. } | State::RolledBack { .. });
    ended && run.state.reason() != Some(ASKED)
}

/// Commits an event with all that follows from it and whatever else belongs to the same fact.
pub(crate) async fn record(
    session: &Session<'_>,
    run: &Run,
    event: &Event,
    mut extra: Vec<Change>,
) -> Result<Run, EngineError> {
    let after = apply(run, event)?;
    let error = match event {
        Event::Postponed { reason, .. } | Event::Parked { reason } => Some(reason.clone()),
        _ => after.state.reason().map(str::to_owned),
    };
    extra.push(run_change(&after, error));
    extra.extend(consequences::consequences(session, run, event, &after));
    if after.state.is_terminal() {
        extra.extend(closing(session, &run.id).await?);
    }
    extra.extend(next_due_at_end(session, &after).await?);
    session.commit(&extra).await?;
    tracing::info!(
        run = %run.id, rotation = %run.rotation, from = run.state.word(), to = after.state.word(),
        event = event_name(event), "run"
    );
    Ok(after)
}

/// Nobody repeats or looks up what a run left in doubt once it is over. What a destination may hold stays in its
/// rows, a created name stays in the journal for ever; toggles are settled by looking, see `session`.
pub(crate) async fn closing(session: &Session<'_>, run: &str) -> Result<Vec<Change>, EngineError> {
    let effects = session.engine.parts.store.effects(run).await?;
    let open = effects.into_iter().filter(|effect| {
        matches!(effect.status, EffectStatus::Intended | EffectStatus::Unknown)
            && matches!(effect.kind, EffectKind::Create | EffectKind::Publish | EffectKind::Deploy)
    });
    let settle = |effect: EffectRow| Change::Settle {
        id: effect.id,
        status: EffectStatus::Failed,
        evidence: json!({ "settled_by": "the end of the run", "before": effect.evidence }),
    };
    Ok(open.map(settle).collect())
}

/// "Not now": this call is tried again with backoff, and the run says why.
pub(crate) async fn postpone(
    session: &Session<'_>,
    run: &Run,
    call: &Directive,
    reason: String,
    at_least: Option<Span>,
    extra: Vec<Change>,
) -> Result<Performed, EngineError> {
    let event = postponed(session, run, call, reason.clone(), at_least, false);
    Ok(Performed { run: record(session, run, &event, extra).await?, did: reason })
}

/// The same, when the policy itself says "not now": nobody is told of that as of a failure.
pub(crate) async fn hold_back(
    session: &Session<'_>,
    run: &Run,
    call: &Directive,
    reason: String,
    extra: Vec<Change>,
) -> Result<Performed, EngineError> {
    let event = postponed(session, run, call, reason.clone(), None, true);
    Ok(Performed { run: record(session, run, &event, extra).await?, did: reason })
}

fn postponed(
    session: &Session<'_>,
    run: &Run,
    call: &Directive,
    reason: String,
    at_least: Option<Span>,
    by_policy: bool,
) -> Event {
    let call = call.call();
    let wait = session.engine.backoff(run.attempts(&call)).max(at_least.unwrap_or(Span::ZERO));
    Event::Postponed { call, reason, until: session.until(wait.min(LONGEST_WAIT)), by_policy }
}

/// A call worked: the next failure of it is a first one again.
pub(crate) async fn forget_wait(session: &Session<'_>, run: &Run, call: &str) -> Result<Run, EngineError> {
    let mut after = run.clone();
    if !run.state.is_terminal() && after.waits.remove(call).is_some() {
        session.commit(&[run_change(&after, None)]).await?;
    }
    Ok(after)
}

/// The run as it is now, awake.
pub(crate) fn run_change(run: &Run, error: Option<String>) -> Change {
    Change::Run { run: Box::new(run.clone()), wake: Until::OVER, blockers: Vec::new(), error }
}

fn event_name(event: &Event) -> String {
    format!("{event:?}").split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}

pub(crate) fn kind_of(directive: &Directive) -> String {
    format!("{directive:?}").split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}
