//! A person looked at a frozen account (R9): counters rise above every name seen, the unknown keys are foreign
//! for ever, open runs end, and each rotation wants an adopt before its next run.

use std::collections::BTreeMap;

use crate::domain::alert::{Kind, Subject};
use crate::domain::key::RemoteKey;
use crate::domain::rotation::{Event, apply};
use crate::engine::EngineError;
use crate::engine::session::{Session, commit, consequences, listing};
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
    let foreign = unknown_keys(session).await?;
    let counters = generations_seen(session);
    let mut changes = end_open_runs(session).await?;
    changes.push(Change::Thaw { account: session.identity.clone(), foreign: foreign.clone(), counters });
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

async fn unknown_keys(session: &Session<'_>) -> Result<Vec<RemoteKey>, EngineError> {
    let provider = &session.account.provider;
    let damaged = session.engine.parts.store.damaged_of(&session.identity, provider).await?;
    if let Some(row) = damaged.first() {
        return Err(EngineError::Refused(format!(
            "refused: a row of this account cannot be read ({} {}), so nobody can say which keys are foreign",
            row.table, row.id
        )));
    }
    let journalled = session.engine.parts.store.created_names().await?;
    let stored: Vec<String> =
        session.engine.parts.store.keys().await?.into_iter().filter_map(|key| key.hash).collect();
    let prefix = listing::prefix(session);
    let keys = session.listing.iter().flat_map(|listing| &listing.keys);
    let unknown = keys.filter(|key| {
        let stray = journalled.contains(&key.name) && !listing::was_used(key);
        key.name.starts_with(&prefix) && !stray && !stored.contains(&key.hash)
    });
    Ok(unknown.cloned().collect())
}

/// The highest generation that any name of this instance shows, by rotation.
fn generations_seen(session: &Session<'_>) -> Vec<(String, i64)> {
    let prefix = listing::prefix(session);
    let mut highest: BTreeMap<String, i64> = BTreeMap::new();
    for key in session.listing.iter().flat_map(|listing| &listing.keys) {
        let Some((rotation, rest)) = key.name.strip_prefix(&prefix).and_then(|rest| rest.split_once('/'))
        else {
            continue;
        };
        let Some(generation) = rest.split('-').next().and_then(|n| n.parse::<i64>().ok()) else {
            continue;
        };
        let entry = highest.entry(rotation.to_owned()).or_default();
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
