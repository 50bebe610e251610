//! Creates and writes without a run that were left open: by a process that died, or by an answer that said nothing.
//!
//! Nobody comes back for them as a run does for its own. So each session gives an end to those that can no longer land,
//! and whoever looks at their address settles them by what the look proves, also after that end.

use serde_json::json;

use crate::domain::rotation::Level;
use crate::domain::time::Span;
use crate::engine::EngineError;
use crate::engine::session::Session;
use crate::store::{Change, EffectKind, EffectRow, EffectStatus, HoldingRow};

/// What the journal calls a write of a generation to a destination.
pub(crate) fn target(destination: &str, generation: i64) -> String {
    format!("{destination} generation {generation}")
}

/// Gives an end to those that can no longer land.
pub(super) async fn give_up(session: &Session<'_>) -> Result<(), EngineError> {
    let open = session.engine.parts.store.unproved_without_run(&session.identity).await?;
    let now = session.clock();
    let may_land = Span(session.engine.parts.lease.0 + longest_call(session).0);
    let over = open.into_iter().filter(|effect| effect.finished_at.is_none());
    let over = over.filter(|effect| now.since(effect.started_at) >= may_land);
    let changes: Vec<Change> = over.map(|effect| Change::GiveUp { id: effect.id }).collect();
    if changes.is_empty() { Ok(()) } else { session.commit(&changes).await }
}

fn longest_call(session: &Session<'_>) -> Span {
    let patient = session.engine.destinations().filter_map(|place| place.adapter.patience()).max();
    patient.unwrap_or(Span::ZERO).max(session.engine.parts.call_timeout)
}

/// The write of this generation to this address that is still unproved: writing it once more is another attempt of it.
pub(crate) async fn unproved(
    session: &Session<'_>,
    kind: EffectKind,
    address: &str,
    target: &str,
) -> Result<Option<EffectRow>, EngineError> {
    let mut open = session.engine.parts.store.unproved_without_run(&session.identity).await?;
    open.retain(|effect| {
        effect.kind == kind && effect.target == target && effect.evidence["address"] == address
    });
    Ok(open.pop())
}

/// What a look at an address proves of them.
pub(crate) async fn proved(
    session: &Session<'_>,
    row: &HoldingRow,
    generation: i64,
) -> Result<Vec<Change>, EngineError> {
    let target = target(&row.fact.destination, generation);
    let mut changes = Vec::new();
    for (kind, needs) in [(EffectKind::Publish, Level::Confirmed), (EffectKind::Deploy, Level::Effective)] {
        if row.fact.level < needs || row.fact.drift.is_some() || row.fact.error.is_some() {
            continue;
        }
        let found = unproved(session, kind, &row.fact.address, &target).await?;
        changes.extend(found.map(|effect| Change::Settle {
            id: effect.id,
            status: EffectStatus::Done,
            evidence: json!({ "settled_by": "looking", "seen": row.fact.level.word() }),
        }));
    }
    Ok(changes)
}
