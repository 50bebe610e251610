//! One look at the whole account: what lives there, what is ours, what should not be there.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::alert::{Kind, Subject};
use crate::domain::key::RemoteKey;
use crate::domain::outcome::{Failure, FailureKind};
use crate::engine::EngineError;
use crate::engine::session::whose::{self, WithoutRow};
use crate::engine::session::{Listing, Session, reading};
use crate::store::Change;

/// Lists the account, freezes it when it shows keys of this instance that the journal does not know (R9),
/// and finds strays. Removes nothing.
pub(crate) async fn list(session: &mut Session<'_>) -> Result<Result<(), Failure>, EngineError> {
    let (at, keys) = match reading::settled(session).await? {
        Ok(reading) => (reading.began, reading.into_keys()),
        Err(failure) => return Ok(Err(failure)),
    };
    note_specs(session, &keys).await?;
    see_again(session, &keys).await?;
    let found = whose::without_row(session, &keys).await?;
    let mut unsure = unsure(session).await?;
    if !found.is_empty() && is_damaged(session).await? {
        let WithoutRow { strays, unknown, strangers } = &found;
        unsure.extend(strays.iter().chain(unknown).chain(strangers).map(|key| key.hash.clone()));
        session.listing = Some(Listing { at, strays: Vec::new(), unsure, keys, strays_left: 0, close: None });
        return Ok(Ok(()));
    }
    tell_of_strangers(session, &found.strangers).await?;
    let WithoutRow { strays, unknown, .. } = found;
    if !unknown.is_empty() {
        freeze(session, &names_of(&unknown)).await?;
    }
    let strays_left = strays.len();
    session.listing = Some(Listing { at, strays, unsure, keys, strays_left, close: None });
    Ok(Ok(()))
}

/// A key as the account shows it now; `None` when it is gone. A 404 alone does not say so: a complete listing must lack
/// the key, too (a provider in trouble answers 404 for keys that live).
pub(crate) async fn look_up(
    session: &mut Session<'_>,
    hash: &str,
) -> Result<Result<Option<RemoteKey>, Failure>, EngineError> {
    let shown = match session.read_key(hash).await? {
        Ok(None) => None,
        shown => return Ok(shown),
    };
    let text = "the provider answers 404 for a key that it lists";
    let failure = match list(session).await? {
        Err(failure) => failure,
        Ok(()) if session.listing.as_ref().is_some_and(|listing| listing.key(hash).is_some()) => {
            Failure::new(FailureKind::Unclear, text)
        }
        Ok(()) => return Ok(Ok(shown)),
    };
    // No decision of this session may look at that 404.
    session.forget(hash);
    Ok(Err(failure))
}

fn names_of(keys: &[RemoteKey]) -> String {
    keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Once, until they are gone: strangers may make as many as they like.
async fn tell_of_strangers(session: &Session<'_>, strangers: &[RemoteKey]) -> Result<(), EngineError> {
    let kind = Kind::NameImitated;
    let subject = Subject::Account(session.account.name.clone());
    let told = session.engine.parts.store.open_subjects(kind).await?.contains(&subject);
    match (strangers, told) {
        ([], true) => session.commit(&[Change::Resolve { kind, subject }]).await,
        ([first, ..], false) => {
            let detail = format!(
                "{} key(s) of account {} carry names that begin like those of this database, and that it did not \
                 give them: the first is {} ({}). Somebody else named them so. They are left alone.",
                strangers.len(),
                session.account.name,
                first.name,
                first.label
            );
            session.commit(&[Change::Alert(session.account_alert(kind, detail))]).await
        }
        _ => Ok(()),
    }
}

/// Hashes of living keys whose rows cannot be read or opened.
async fn unsure(session: &Session<'_>) -> Result<BTreeSet<String>, EngineError> {
    let provider = &session.account.provider;
    let living = session.engine.parts.store.living_keys_of(&session.identity, provider).await?;
    let doubtful = living.into_iter().filter(|(row, sound)| !sound || session.engine.open(row).is_err());
    Ok(doubtful.filter_map(|(row, _)| row.hash).collect())
}

/// R21: while a row of the account cannot be read, nothing there is called stray or foreign.
async fn is_damaged(session: &Session<'_>) -> Result<bool, EngineError> {
    let provider = &session.account.provider;
    let damaged = session.engine.parts.store.damaged_of(&session.identity, provider).await?;
    if !damaged.is_empty() {
        let rows = damaged.len();
        tracing::warn!(account = %session.account.name, rows, "rows cannot be read: no key is called stray");
    }
    Ok(!damaged.is_empty())
}

/// Remembers what current keys are allowed, for the day when one is gone and a successor must inherit it (R10).
async fn note_specs(session: &Session<'_>, listed: &[RemoteKey]) -> Result<(), EngineError> {
    let known = session.engine.parts.store.current_specs(&session.identity).await?;
    let shown: BTreeMap<&str, &RemoteKey> = listed.iter().map(|key| (key.hash.as_str(), key)).collect();
    let mut changes = Vec::new();
    for key in known {
        let Some(spec) = shown.get(key.hash.as_str()).map(|shown| shown.spec()) else { continue };
        if key.spec.as_ref() != Some(&spec) {
            changes.push(Change::SpecSeen { rotation: key.rotation, spec });
        }
    }
    if changes.is_empty() { Ok(()) } else { session.commit(&changes).await }
}

/// Keys that were found gone and are listed: the provider forgot them for a while.
async fn see_again(session: &Session<'_>, listed: &[RemoteKey]) -> Result<(), EngineError> {
    let mut changes = Vec::new();
    for (id, hash) in session.engine.parts.store.gone(&session.identity).await? {
        let Some(shown) = listed.iter().find(|key| key.hash == hash) else { continue };
        let subject = format!("key {} of account {}", shown.label, session.account.name);
        let detail = "it was found gone, and the provider lists it again";
        changes.push(Change::SeenAgain { id });
        changes.push(Change::Audit(session.engine.entry("key.seen_again", subject, detail)));
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
    if usable == 0 && !session.engine.parts.store.has_keys(&session.identity).await? {
        return Ok(0);
    }
    // One of those that we are not sure of may be usable: nobody is told that production is dark.
    if usable == 0 && !listing.unsure.is_empty() {
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
