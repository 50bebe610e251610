//! The row of one key at one address: how it begins, what was seen there, how it failed.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::rotation::facts::Holding;
use crate::domain::rotation::{Level, Run, Target};
use crate::engine::publish::{drift, writer};
use crate::engine::session::Session;
use crate::engine::{ConfiguredDestination, EngineError};
use crate::store::{Change, HoldingRow, KeyRow};

/// The failure and how to mend it, in one sentence.
pub(crate) fn with_hint(failure: &Failure) -> String {
    failure.hint.as_ref().map_or_else(|| failure.to_string(), |hint| format!("{failure} ({hint})"))
}

/// True when the write is proved and running consumers have not been told yet.
pub(crate) fn proved_for_rollout(row: &HoldingRow, place: &ConfiguredDestination) -> bool {
    let proved = row.fact.level >= Level::Confirmed && row.fact.drift.is_none() && row.fact.error.is_none();
    proved && place.adapter.rollout().is_some_and(|rollout| rollout.due(&row.evidence))
}

/// What a look changes: the row, an alert, or the end of one when everything that the destination needs is proved.
pub(crate) fn looked(
    row: &HoldingRow,
    place: &ConfiguredDestination,
    alert: Option<NewAlert>,
) -> Vec<Change> {
    let mut changes = vec![Change::Seen(Box::new(row.clone()))];
    changes.extend(alert.map(Change::Alert));
    let clean = row.fact.drift.is_none() && row.fact.error.is_none();
    if clean && row.fact.level >= place.target.needs {
        let subject = Subject::Destination(place.target.name.clone());
        let over = [Kind::DestinationFailed, Kind::DestinationDrift];
        changes.extend(over.map(|kind| Change::Resolve { kind, subject: subject.clone() }));
    }
    changes
}

/// A row for a key that this address has not seen.
pub(crate) fn blank(address: &str, key: &str, name: &str, writer: &str) -> HoldingRow {
    HoldingRow {
        fact: Holding::pending(address, name, key),
        writer: writer.to_owned(),
        fingerprint: None,
        seq: 0,
        evidence: Value::Null,
        released: false,
        damaged: false,
    }
}

/// People are told of what cannot pass by itself, and of what has not passed after a few attempts. Of an exceeded budget
/// its own alert tells.
pub(crate) fn is_told(failure: &Failure, attempts: u32) -> bool {
    failure.kind != FailureKind::OverBudget && (failure.is_permanent() || attempts >= 3)
}

pub(crate) fn destination_failed(
    written_by: &str,
    run: Option<&str>,
    name: &str,
    failure: &Failure,
) -> NewAlert {
    let hint = failure.hint.as_ref().map(|hint| format!(" {hint}.")).unwrap_or_default();
    let next = run.map(|id| format!(" When it is mended: `rekeyd runs resume {id}`.")).unwrap_or_default();
    let old =
        if writer::account_of(written_by).is_none() { " The old key stays alive until it does." } else { "" };
    let what = writer::whose(written_by);
    let detail = format!("Destination {name} does not take or prove {what}: {failure}.{hint}{old}{next}");
    failed(name, written_by, detail)
}

/// An open one that is critical says more: what a person can do about a leaked key.
fn failed(name: &str, written_by: &str, detail: String) -> NewAlert {
    let alert = NewAlert::new(Kind::DestinationFailed, Subject::Destination(name.to_owned()), detail);
    writer::about(NewAlert { yields: true, ..alert }, written_by)
}

/// It took the key, and consumers do not run with it before somebody else does something.
pub(crate) fn held_up(rotation: &str, name: &str, why: &str) -> NewAlert {
    let detail = format!(
        "Destination {name} holds the key of rotation {rotation}, but consumers do not run with it yet: {why}. The old \
         key stays alive until they do; it is looked at again and again."
    );
    failed(name, rotation, detail)
}

/// Drift that was seen before a write: on the address, by the row that waits, and the alert. Nothing was written: what
/// the last write proved is what the next writer compares with, too.
pub(crate) fn noted(
    mut row: HoldingRow,
    how: &str,
    rotation: &str,
    place: &ConfiguredDestination,
) -> Vec<Change> {
    row.fact.drift = Some(how.to_owned());
    vec![
        Change::Holding { row: Box::new(row), fresh_write: false },
        Change::Alert(drift::alert(rotation, place, how)),
    ]
}

/// R20: why this run must not write there. Each configuration gives an address to one rotation; processes with different
/// ones, or a reload, may give it to a second one while a run of the first is open.
pub(crate) async fn claimed(
    session: &Session<'_>,
    run: &Run,
    target: &Target,
) -> Result<Option<String>, EngineError> {
    let store = &session.engine.parts.store;
    let rows = store.holdings_at(&target.address).await?;
    let written = rows.into_iter().filter(|row| row.fact.level > Level::Pending);
    let others: BTreeSet<String> =
        written.map(|row| row.writer).filter(|rotation| *rotation != run.rotation).collect();
    for rotation in others {
        let Some(open) = store.open_run(&rotation).await? else { continue };
        if open.run.policy.targets.iter().any(|theirs| theirs.address == target.address) {
            return Ok(Some(format!(
                "destination {} ({}) belongs to run {} of rotation {rotation} as well: two rotations would write over \
                 each other. Bring that run to its end, or take the destination from one of the two",
                target.name, target.address, open.run.id
            )));
        }
    }
    Ok(None)
}

/// What is known of this key at this place.
pub(crate) async fn row_of(
    session: &Session<'_>,
    place: &ConfiguredDestination,
    key: &KeyRow,
    rotation: &str,
) -> Result<HoldingRow, EngineError> {
    let address = &place.target.address;
    let rows = session.engine.parts.store.holdings_at(address).await?;
    let found = rows.into_iter().find(|row| row.fact.key == key.id);
    Ok(found.unwrap_or_else(|| blank(address, &key.id, &place.target.name, rotation)))
}
