//! What is over is forgotten after a while, and the history of tests is rolled up: in steps so short that they hold up
//! nobody. One process at a time does so.

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::domain::time::{Span, Timestamp};
use crate::domain::verdict::tally::Sheet;
use crate::engine::{Engine, EngineError, lease};
use crate::store::{Change, Lease};

const QUEUE: &str = "queue:retention";
/// When it was done last.
const MEMORY: &str = "retention";
/// Between two times.
const RHYTHM: Span = Span::minutes(1);
/// So much leaves in one transaction.
const STEP: i64 = 200;
/// So many transactions at one time; what is left then goes the next time.
const STEPS: usize = 50;
/// Looks are kept one by one for so many periods of the schedule, and at least for [`AT_LEAST`].
const PERIODS: i64 = 16;
const AT_LEAST: Span = Span::hours(4);
/// Pages of hours that began longer ago are forgotten, and pages of days: they tell of the last day, and of the last year.
const HOURS: Span = Span::hours(2 * 24);
const DAYS: Span = Span::hours((365 + 32) * 24);

/// What leaves.
#[derive(Debug, Clone, Copy)]
enum Over {
    Looks,
    History,
    Hours,
    Days,
    Runs,
    Tombstones,
    Messages,
    Alerts,
    Audit,
    HandOuts,
}

/// Messages leave before the alerts that they are about.
const ALL: [Over; 10] = [
    Over::Looks,
    Over::History,
    Over::Hours,
    Over::Days,
    Over::Runs,
    Over::Tombstones,
    Over::Messages,
    Over::Alerts,
    Over::Audit,
    Over::HandOuts,
];

/// Forgets what is over, once a minute.
pub async fn forget(engine: &Engine, stop: &CancellationToken) -> Result<(), EngineError> {
    if !is_due(engine).await? {
        return Ok(());
    }
    let lease = engine.parts.store.acquire(QUEUE, &engine.parts.owner, engine.parts.lease).await?;
    let Some(lease) = lease else { return Ok(()) };
    lease::while_held(engine, &lease, forget_all(engine, &lease, stop)).await
}

async fn is_due(engine: &Engine) -> Result<bool, EngineError> {
    let last: Option<Timestamp> = engine.parts.store.memory_or_anew(MEMORY).await?;
    let age = last.map(|at| engine.clock().now().since(at));
    Ok(age.is_none_or(|age| age >= RHYTHM || age < Span::ZERO))
}

async fn forget_all(engine: &Engine, lease: &Lease, stop: &CancellationToken) -> Result<(), EngineError> {
    if !is_due(engine).await? {
        return Ok(());
    }
    // By the earlier of two clocks: one that is a year ahead makes nothing old.
    let now = engine.clock().now().min(engine.parts.store.now().await?);
    for over in ALL {
        for _ in 0..STEPS {
            if stop.is_cancelled() {
                return Ok(());
            }
            let gone = step(engine, lease, over, now).await?;
            if gone < STEP.unsigned_abs() {
                break;
            }
        }
    }
    let mark = Change::Remember { subject: MEMORY.to_owned(), doc: json!(Some(now)) };
    Ok(engine.parts.store.commit(lease, &[mark]).await?)
}

/// One transaction. Answers how much of it is gone.
async fn step(engine: &Engine, lease: &Lease, over: Over, now: Timestamp) -> Result<u64, EngineError> {
    let (store, tests, kept) = (&engine.parts.store, &engine.parts.tests, &engine.parts.retention);
    let before = |span: Span| now.plus(Span(-span.0));
    let gone = match over {
        // Counted before it is forgotten.
        Over::Looks => {
            store.roll_up(lease, before(one_by_one(tests.interval).min(tests.history)), STEP).await?
        }
        Over::History => store.prune_observations(before(tests.history), STEP).await?,
        Over::Hours => store.prune_tallies(Sheet::Hours, before(HOURS), STEP).await?,
        Over::Days => store.prune_tallies(Sheet::Days, before(DAYS), STEP).await?,
        Over::Runs => store.prune_runs(before(kept.runs), STEP).await?,
        Over::Tombstones => store.prune_tombstones(before(kept.runs), STEP).await?,
        Over::Messages => store.prune_messages(before(kept.messages), STEP).await?,
        Over::Alerts => store.prune_alerts(before(kept.alerts), STEP).await?,
        Over::Audit => store.prune_audit(before(kept.audit), STEP).await?,
        Over::HandOuts => store.prune_hand_outs(before(kept.audit), STEP).await?,
    };
    Ok(gone)
}

/// How long looks are kept one by one.
fn one_by_one(period: Span) -> Span {
    Span(period.0.saturating_mul(PERIODS)).max(AT_LEAST)
}
