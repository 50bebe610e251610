//! Who may hold a key that is to be disabled or deleted, what proves that they hold another one, and who will stop
//! working because a leaked key waits for nobody (guard, rule 2).

use crate::destination::Delivery;
use crate::domain::alert::{Kind, NewAlert, Severity, Subject};
use crate::domain::guard::{Holder, Proof};
use crate::domain::rotation::facts::TestResult;
use crate::domain::rotation::{Level, Run, TEST_FRESH};
use crate::domain::time::Span;
use crate::engine::publish::{address, deliver};
use crate::engine::session::{Session, keys, test_key};
use crate::engine::{ConfiguredDestination, EngineError};
use crate::store::{Change, HoldingRow, KillRows};

/// A destination that was looked at so recently is not asked again before a kill. Much shorter than what the guard
/// accepts: a person may have put the old key back a moment ago (rotation.md, fault 15).
const LOOKED_JUST_NOW: Span = Span::seconds(3);

/// Fresh proof from every destination that may have received the key: it holds another one, and that one
/// works. What is fresh already is not asked for again.
pub(crate) async fn prove(session: &mut Session<'_>, hash: &str, leaked: bool) -> Result<(), EngineError> {
    let Some(key) = keys::stored_key(session, hash).await? else { return Ok(()) };
    let held = session.engine.parts.store.holdings_of(&key.id).await?;
    let asked = |row: &&HoldingRow| !row.released && (!leaked || is_required(session, &row.fact.address));
    let addresses: Vec<String> = held.iter().filter(asked).map(|row| row.fact.address.clone()).collect();
    for address in addresses {
        let rows = session.engine.parts.store.holdings_at(&address).await?;
        let newest = rows.iter().find(|other| other.fact.key != key.id);
        let Some(newest) = newest.filter(|other| other.fact.level >= Level::Confirmed) else { continue };
        prove_one(session, newest).await?;
    }
    Ok(())
}

async fn prove_one(session: &mut Session<'_>, row: &HoldingRow) -> Result<(), EngineError> {
    let rotation = &row.writer;
    let Some(key) = session.engine.parts.store.key(&row.fact.key).await? else { return Ok(()) };
    let place = session.engine.destinations().find(|place| place.target.address == row.fact.address).cloned();
    let fresh = row.fact.checked.is_some_and(|at| session.now().fresh(at, LOOKED_JUST_NOW));
    if let (false, Some(place), Some(secret)) = (fresh, place, session.engine.open(&key)?) {
        let delivery = Delivery {
            secret,
            rotation: rotation.clone(),
            generation: key.generation.unwrap_or_default(),
            destination: place.target.name.clone(),
        };
        look_and_note(session, &place, row.clone(), &delivery, rotation).await?;
    }
    let tested = key.facts.tested.as_ref().is_some_and(|(result, at)| {
        *result == TestResult::Valid && session.now().fresh(*at, Span(TEST_FRESH.0 / 2))
    });
    if !tested {
        test_key::test_key(session, &key, None, None).await?;
    }
    Ok(())
}

async fn look_and_note(
    session: &mut Session<'_>,
    place: &ConfiguredDestination,
    row: HoldingRow,
    delivery: &Delivery,
    rotation: &str,
) -> Result<(), EngineError> {
    let (row, _, alert) = deliver::look(session, place, row, delivery, rotation, None).await?;
    session.commit(&address::looked(&row, place, alert)).await
}

/// The guard's view of the destinations that may have received the target.
pub(crate) fn of(session: &Session<'_>, rows: &KillRows) -> Vec<Holder> {
    let proof = |other: &HoldingRow| {
        let (_, hash, facts) = rows.tested.iter().find(|(id, ..)| *id == other.fact.key)?;
        let checked = other.fact.checked?;
        if other.fact.level < Level::Confirmed || other.fact.drift.is_some() {
            return None;
        }
        let valid =
            facts.tested.as_ref().filter(|(result, _)| *result == TestResult::Valid).map(|(_, at)| *at);
        Some(Proof { hash: hash.clone(), checked, valid })
    };
    let holder = |(row, newest): &(HoldingRow, Option<HoldingRow>)| Holder {
        destination: row.fact.destination.clone(),
        required: is_required(session, &row.fact.address),
        released: row.released,
        landing: row.fact.landing,
        // A row that cannot be read may be about another key, or another write.
        now_holds: newest.as_ref().filter(|_| !row.damaged).and_then(proof),
    };
    rows.holders.iter().map(holder).collect()
}

/// The present configuration requires this address of some rotation.
fn is_required(session: &Session<'_>, address: &str) -> bool {
    let mut targets = session.engine.rotations().flat_map(|rotation| &rotation.policy.targets);
    targets.any(|target| target.required && target.address == address)
}

/// Destinations that a leaked key is taken from: people hear which will stop working. One that left the configuration has
/// nothing that could mend it, so that is news and no condition.
pub(crate) async fn will_stop(
    session: &Session<'_>,
    run: &Run,
    hash: &str,
) -> Result<Vec<Change>, EngineError> {
    let Some(key) = keys::stored_key(session, hash).await? else { return Ok(Vec::new()) };
    let rows = session.engine.parts.store.holdings(&run.rotation).await?;
    let replaced = |row: &HoldingRow| {
        let newer = |other: &HoldingRow| other.fact.address == row.fact.address && other.seq > row.seq;
        rows.iter().any(|other| newer(other) && other.fact.level >= Level::Confirmed)
    };
    let mine = rows.iter().filter(|row| row.fact.key == key.id && row.fact.may_hold() && !row.released);
    let left = mine.filter(|row| !is_required(session, &row.fact.address) && !replaced(row));
    let mut changes = Vec::new();
    for name in left.map(|row| &row.fact.destination) {
        let detail = format!(
            "Destination {name} will stop working: it may still hold generation {} of rotation {}, which strangers know and \
             which is disabled now. `rekeyd destinations publish {name}` writes the new key there, or do it by hand.",
            key.generation.unwrap_or_default(),
            run.rotation
        );
        let subject = Subject::Destination(name.clone());
        let alert =
            NewAlert::new(Kind::DestinationFailed, subject.clone(), detail).rotation(run.rotation.clone());
        changes.push(Change::Alert(NewAlert { severity: Severity::Critical, ..alert }));
        if session.engine.destination(name).is_err() {
            changes.push(Change::Resolve { kind: Kind::DestinationFailed, subject });
        }
    }
    Ok(changes)
}
