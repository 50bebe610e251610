//! One look at the whole account: what lives there, what is ours, what should not be there.

use std::collections::BTreeSet;

use crate::domain::alert::{Kind, Subject};
use crate::domain::key::RemoteKey;
use crate::domain::outcome::Failure;
use crate::engine::EngineError;
use crate::engine::session::{Listing, Session};
use crate::store::{Change, Damaged, KeyRow, Role, StoreError};

/// Nobody has a stray's secret. One that was used belongs to another copy of this database (R9): the journal was
/// copied while that create was in doubt.
pub(crate) fn was_used(key: &RemoteKey) -> bool {
    key.last_used_at.is_some() || key.usage.0 > 0 || key.byok_usage.0 > 0
}

/// The beginning of every name that this database gives out (R6).
pub(crate) fn prefix(session: &Session<'_>) -> String {
    format!("rekeyd/{}/", session.engine.parts.instance)
}

/// Lists the account, freezes it when it shows keys of this instance that the journal does not know (R9),
/// and finds strays. Removes nothing.
pub(crate) async fn list(session: &mut Session<'_>) -> Result<Result<(), Failure>, EngineError> {
    let deadline = session.deadline().await?;
    let called = session.account.issuer.list(deadline).await;
    let keys = match session.noting(called) {
        Ok(keys) => keys,
        Err(failure) => return Ok(Err(failure)),
    };
    let store = &session.engine.parts.store;
    // Read after the listing: a key that is listed was journalled before it was made.
    let journalled: BTreeSet<String> = store.created_names().await?.into_iter().collect();
    let rows = store.keys().await?;
    note_specs(session, &rows, &keys).await?;
    let damaged = store.damaged_of(&session.identity, &session.account.provider).await?;
    let mut unsure = unsure(session, &rows, &damaged);
    let read = rows.into_iter().filter_map(|key| key.hash);
    let stored: BTreeSet<String> = read.chain(unsure.iter().cloned()).collect();
    let foreign = store.foreign_hashes(&session.identity).await?;
    let prefix = prefix(session);
    let ours_by_name = |key: &&RemoteKey| key.name.starts_with(&prefix) && !stored.contains(&key.hash);
    let (strays, unknown): (Vec<&RemoteKey>, Vec<&RemoteKey>) = keys
        .iter()
        .filter(ours_by_name)
        .filter(|key| !foreign.contains(&key.hash))
        .partition(|key| journalled.contains(&key.name) && !was_used(key));
    if !damaged.is_empty() {
        // R21: while a row cannot be read nothing is called stray or foreign.
        unsure.extend(strays.iter().chain(&unknown).map(|key| key.hash.clone()));
        let keys = keys.clone();
        let strays = Vec::new();
        session.listing = Some(Listing { at: session.now(), strays, unsure, keys, strays_left: 0 });
        tracing::warn!(account = %session.account.name, rows = damaged.len(), "rows cannot be read: no key is called stray");
        return Ok(Ok(()));
    }
    if !unknown.is_empty() {
        let names = unknown.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ");
        freeze(session, &names).await?;
    }
    let strays: Vec<RemoteKey> = strays.into_iter().cloned().collect();
    let strays_left = strays.len();
    session.listing = Some(Listing { at: session.now(), strays, unsure, keys, strays_left });
    Ok(Ok(()))
}

/// Hashes of keys whose rows cannot be read or opened.
fn unsure(session: &Session<'_>, rows: &[KeyRow], damaged: &[Damaged]) -> BTreeSet<String> {
    let mine = rows.iter().filter(|row| row.account.as_deref() == Some(&session.identity));
    let sealed = mine.filter(|row| row.role != Role::Dead && session.engine.open(row).is_err());
    let sealed = sealed.filter_map(|row| row.hash.clone());
    let unread = damaged.iter().filter_map(|row| row.key.as_ref()?.hash.clone());
    sealed.chain(unread).collect()
}

/// Remembers what current keys are allowed, for the day when one is gone and a successor must inherit it (R10).
async fn note_specs(session: &Session<'_>, rows: &[KeyRow], listed: &[RemoteKey]) -> Result<(), EngineError> {
    let mine = rows.iter().filter(|row| row.role == Role::Current);
    let mine = mine.filter(|row| row.account.as_deref() == Some(&session.identity));
    let mut changes = Vec::new();
    for row in mine {
        let shown = listed.iter().find(|key| row.hash.as_deref() == Some(&key.hash));
        let (Some(rotation), Some(shown)) = (&row.rotation, shown) else { continue };
        let known = match session.engine.parts.store.rotation(rotation).await {
            Err(StoreError::Corrupt(_)) => continue,
            read => read?.and_then(|row| row.spec),
        };
        if known.as_ref() != Some(&shown.spec()) {
            changes.push(Change::SpecSeen { rotation: rotation.clone(), spec: shown.spec() });
        }
    }
    if changes.is_empty() { Ok(()) } else { session.commit(&changes).await }
}

async fn freeze(session: &Session<'_>, names: &str) -> Result<(), EngineError> {
    if session.engine.parts.store.freeze_of(&session.identity).await?.is_some() {
        return Ok(());
    }
    let reason = format!(
        "the provider shows keys of this instance that the journal does not know ({names}): this database was \
         restored, failed over or cloned"
    );
    let alert = session.account_alert(
        Kind::AccountFrozen,
        format!(
            "{reason}. Nothing is created, published, disabled or deleted; tests go on. Find out which copy of the \
             database is the real one, stop the other, then run `rekeyd accounts thaw {}`.",
            session.account.name
        ),
    );
    let entry =
        session.engine.entry("account.frozen", format!("account {}", session.account.name), reason.clone());
    session
        .commit(&[
            Change::Freeze { account: session.identity.clone(), reason },
            Change::Alert(alert),
            Change::Audit(entry),
        ])
        .await
}

/// Usable keys in the last listing, and an alert when there are none.
pub(crate) async fn count_usable(session: &Session<'_>) -> Result<usize, EngineError> {
    let Some(listing) = &session.listing else { return Ok(0) };
    let now = session.now();
    let provisioning = session.account.issuer.provisioning_hash();
    let known = listing.but_strays("");
    let usable =
        known.iter().filter(|key| key.hash != provisioning && key.is_live(now.theirs.unwrap_or(now.ours)));
    let usable = usable.count();
    let subject = Subject::Account(session.account.name.clone());
    // An account that no key of ours ever lived on has nobody who could miss one.
    let keys = session.engine.parts.store.keys().await?;
    let depended_on = keys.iter().any(|key| key.account.as_deref() == Some(&session.identity));
    // One of those that we are not sure of may be usable: nobody is told that production is dark.
    if usable == 0 && (!depended_on || !listing.unsure.is_empty()) {
        return Ok(0);
    }
    if usable == 0 {
        let detail = format!(
            "No usable regular key is left on account {}. Production that depends on it is dark.",
            session.account.name
        );
        session.commit(&[Change::Alert(session.account_alert(Kind::AccountWithoutKeys, detail))]).await?;
    } else {
        let mut over = vec![Change::Resolve { kind: Kind::AccountWithoutKeys, subject: subject.clone() }];
        if usable > 1 {
            over.push(Change::Resolve { kind: Kind::LastKeyRefused, subject });
        }
        session.commit(&over).await?;
    }
    Ok(usable)
}
