//! A person looked at a frozen account (R9): counters rise above every name seen, the unknown keys are foreign
//! for ever, open runs end, and each rotation wants an adopt before its next run: also one that is younger than the
//! backup, of which the restored store knows nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::alert::{Kind, Subject};
use crate::domain::key::RemoteKey;
use crate::domain::rotation::{Event, apply};
use crate::engine::EngineError;
use crate::engine::session::{Session, commit, consequences, listing, whose};
use crate::store::Change;

/// Ends the freeze. Answers the keys that are foreign from now on.
pub async fn thaw(session: &mut Session<'_>) -> Result<Vec<RemoteKey>, EngineError> {
    let frozen = session.engine.parts.store.freeze_of(&session.identity).await?;
    if frozen.is_none() {
        return Err(EngineError::Usage {
            text: format!("account {} is not frozen", session.account.name),
            hint: None,
        });
    }
    let listed = listing::list(session).await?;
    listed.map_err(|failure| EngineError::outside("the account could not be listed", failure))?;
    can_be_read(session).await?;
    let keys = session.listing.as_ref().map(|listing| listing.keys.clone()).unwrap_or_default();
    let foreign = whose::without_row(session, &keys).await?.unknown;
    let counters = generations_seen(session);
    let mut changes = end_open_runs(session).await?;
    let rotations = rotations_of(session).await?;
    let account = session.identity.clone();
    changes.push(Change::Thaw { account, foreign: foreign.clone(), counters, rotations });
    let subject = Subject::Account(session.account.name.clone());
    changes.push(Change::Resolve { kind: Kind::AccountFrozen, subject: subject.clone() });
    changes.push(Change::Audit(session.engine.entry(
        "account.thawed",
        &subject,
        format!("{} foreign keys", foreign.len()),
    )));
    session.commit(&changes).await?;
    Ok(foreign)
}

/// R21: what cannot be read speaks against calling anything foreign for ever.
async fn can_be_read(session: &Session<'_>) -> Result<(), EngineError> {
    let provider = &session.account.provider;
    let damaged = session.engine.parts.store.damaged_of(&session.identity, provider).await?;
    let Some(row) = damaged.first() else { return Ok(()) };
    Err(EngineError::Refused(format!(
        "refused: a row of this account cannot be read ({} {}), so nobody can say which keys are foreign",
        row.table, row.id
    )))
}

/// Every rotation that the configuration has on this account, by whichever of its entries (R8).
async fn rotations_of(session: &Session<'_>) -> Result<Vec<String>, EngineError> {
    let mut entries: BTreeSet<String> =
        session.engine.parts.store.entries_of(&session.identity).await?.into_iter().collect();
    entries.insert(session.account.name.clone());
    let mine = session.engine.rotations().filter(|rotation| entries.contains(&rotation.account));
    Ok(mine.map(|rotation| rotation.name.clone()).collect())
}

/// The highest generation that any name shows which this database or a copy of it gave, by rotation.
fn generations_seen(session: &Session<'_>) -> Vec<(String, i64)> {
    let mut highest: BTreeMap<String, i64> = BTreeMap::new();
    let listed = session.listing.iter().flat_map(|listing| &listing.keys);
    let given = listed.filter(|key| session.names().gave(key));
    for (rotation, generation) in given.filter_map(|key| session.names().generation(&key.name)) {
        let entry = highest.entry(rotation).or_default();
        *entry = (*entry).max(generation);
    }
    highest.into_iter().collect()
}

/// The runs of a restored database are memories of another time: they end without touching anything.
async fn end_open_runs(session: &mut Session<'_>) -> Result<Vec<Change>, EngineError> {
    let mut changes = Vec::new();
    for row in session.engine.parts.store.open_runs().await? {
        if row.run.account != session.identity {
            continue;
        }
        session.engine.parts.store.claim_run(&session.lease, &row.run.id).await?;
        let event = Event::Superseded { by: "thaw".to_owned() };
        let after = apply(&row.run, &event)?;
        changes.push(commit::run_change(&after, Some("ended by a thaw".to_owned())));
        changes.extend(consequences::consequences(session, &row.run, &event, &after));
        changes.extend(commit::closing(session, &row.run.id).await?);
    }
    Ok(changes)
}
