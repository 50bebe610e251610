//! Which runs are awake.

use std::collections::BTreeSet;

use crate::domain::time::{Span, Timestamp};
use crate::engine::{Engine, EngineError};
use crate::store::RunRow;

/// No wait of a run is set further ahead.
const LONGEST_SLEEP: Span = Span::hours(2);

/// Names of accounts with a run that is awake.
pub async fn accounts_awake(engine: &Engine) -> Result<BTreeSet<String>, EngineError> {
    let now = engine.clock().now();
    let mut accounts = BTreeSet::new();
    for row in engine.store().open_runs().await?.iter().filter(|row| is_awake(row, now)) {
        accounts.extend(account_of(engine, row).await?);
    }
    Ok(accounts)
}

/// Runs of an account that are awake, the one that woke first at the front.
pub async fn runs_awake(engine: &Engine, account: &str) -> Result<Vec<String>, EngineError> {
    let now = engine.clock().now();
    let mut mine = Vec::new();
    for row in engine.store().open_runs().await?.iter().filter(|row| is_awake(row, now)) {
        if account_of(engine, row).await?.as_deref() == Some(account) {
            mine.push(row.run.id.clone());
        }
    }
    Ok(mine)
}

/// The entry that works a run: its rotation's; when the configuration dropped the rotation, one that showed the
/// run's identity, so that the run is parked (R14) and not forgotten.
async fn account_of(engine: &Engine, row: &RunRow) -> Result<Option<String>, EngineError> {
    if let Some(rotation) = engine.parts.rotations.get(&row.run.rotation) {
        return Ok(Some(rotation.account.clone()));
    }
    let entries = engine.store().entries_of(&row.run.account).await?;
    Ok(entries.into_iter().find(|entry| engine.parts.accounts.contains_key(entry)))
}

/// Awake now, or asleep until a moment that only a jumped clock could have set.
fn is_awake(row: &RunRow, now: Timestamp) -> bool {
    let left = row.wake_at.since(now);
    left <= Span::ZERO || left > LONGEST_SLEEP
}
