//! Keys that the store has replaced and that a table still hands out, because their successor is not tested valid yet.
//! Production goes on with them as long as they work; nobody else tests them any more, so each look at the table does. One
//! that is refused twice is handed out no longer.

use super::plan::{Plan, Seen, inactive};
use super::{Memory, ask};
use crate::domain::time::Timestamp;
use crate::domain::verdict::Outcome;
use crate::engine::{Engine, EngineError};
use crate::store::{Lease, StoreError};

/// Tests them, and adds to the plan what takes those out that are refused.
pub(super) async fn test(
    engine: &Engine,
    plan: &mut Plan,
    rows: &[Seen],
    memory: &mut Memory,
    (lease, now): (&Lease, Timestamp),
) -> Result<(), EngineError> {
    let before = std::mem::take(&mut memory.refused);
    for (number, successor) in std::mem::take(&mut plan.replaced) {
        let Some((entry, print)) = rows.iter().find(|(entry, _)| entry.number == number) else { continue };
        let row = match engine.parts.store.key(&successor).await {
            Ok(Some(row)) => row,
            Ok(None) | Err(StoreError::Corrupt(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        let seen = ask(engine, &row, &entry.secret, lease).await?.map(|(_, seen, _)| seen.outcome());
        let since = match (seen, before.get(print)) {
            (Some(Outcome::Invalid), since) => *since.unwrap_or(&now),
            (None, Some(since)) => *since,
            (Some(outcome), Some(since)) if !outcome.is_conclusive() => *since,
            _ => continue,
        };
        memory.refused.insert(print.clone(), since);
        if seen == Some(Outcome::Invalid) && now.since(since) >= engine.parts.confirm_after {
            plan.writes.extend(inactive(entry));
        }
    }
    Ok(())
}
